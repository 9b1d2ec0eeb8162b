import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { listBackups, showBackup } from '../../src/backup/list-backups.ts';
import { listJobs } from '../../src/backup/list-jobs.ts';
import { initRepository, showRepository } from '../../src/backup/repositories.ts';
import { openBackup, restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import type { Destination } from '../../src/destination/destination.ts';
import { openFolder } from '../../src/destination/folder.ts';
import { BackupCoordinator, Lifecycle, openLsm, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { readManifest, writeManifest } from '../../src/snapshot/store/manifest-file.ts';
import { bound } from '../support/bound-destination.ts';
import { counting } from '../support/counting-destination.ts';
import { entriesBelow, plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { dumpLsm } from '../support/lsm.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

const newRepository = async (): Promise<string> => {
  const folder = join(await temporaryFolder(), 'repository');
  await initRepository(folder);
  return folder;
};

/** Of plain files, which the engine has to be told. */
const backUpFiles = (dataDir: string, to: string | Destination, options: object = {}) =>
  backUp(dataDir, { to, coordinator: new BackupCoordinator({ dataDir, engine: 'files' }), ...options });

const backupsIn = async (from: string) =>
  (await listBackups({ from })).stores.flatMap(({ backups }) => backups);

/** All objects of a repository, by their key's last parts. */
const objectsIn = (repository: string): string[] =>
  entriesBelow(repository)
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path.includes('/objects/') || path.includes('/small-'));

describe('a backup', () => {
  test('comes back on a machine that has nothing but the repository', async () => {
    const repository = await newRepository();
    const dataDir = await plainDirectory();
    const before = readTree(dataDir);
    const result = await backUpFiles(dataDir, repository);
    expect(result).toMatchObject({
      state: 'succeeded',
      reusedBytes: 0,
      report: { ok: true, verdict: 'faithful' },
    });
    rmSync(dataDir, { recursive: true });
    const into = join(await temporaryFolder(), 'elsewhere');
    const restored = await restoreBackup('latest', { from: repository, into });
    expect(restored).toMatchObject({ backupId: result.backupId, into, files: 5, report: { ok: true } });
    expect(readTree(into)).toEqual(before);
    expect(readdirSync(into)).not.toContain('.lifecycle');
  });

  test('of a database under writes holds every write that was acknowledged before', async () => {
    const repository = await newRepository();
    const dataDir = join(await temporaryFolder(), 'db');
    const lifecycle = new Lifecycle({ dataDir });
    const db = await openLsm(dataDir, { ...SMALL_LOG, memtableBytes: 200_000 });
    const acknowledged = new Map<string, string>();
    let isDone = false;
    const writing = (async () => {
      for (let i = 0; !isDone; i++) {
        const [key, value] = [`key ${i % 3000}`, `value ${i} `.repeat(20)];
        await db.put(key, value);
        acknowledged.set(key, value);
      }
    })();
    while (acknowledged.size < 2000) await db.put('wait', 'a moment');
    const promised = new Map(acknowledged);
    const coordinator = new BackupCoordinator({
      dataDir,
      lifecycle,
      engine: 'lsm',
      checkpoint: () => db.hold(),
    });
    const { backupId } = await backUp(dataDir, { to: repository, coordinator });
    isDone = true;
    await writing;
    await db.close();
    const into = join(await temporaryFolder(), 'restored');
    await restoreBackup(backupId, { from: repository, into });
    const copy = await openLsm(into, { createIfMissing: false });
    const rows = await dumpLsm(copy);
    await copy.close();
    const numberIn = (value: string | undefined) => Number(/\d+/.exec(value ?? '')?.[0]);
    for (const [key, value] of promised) {
      const restored = Buffer.from(rows[Buffer.from(key).toString('hex')] ?? '', 'hex').toString();
      expect(numberIn(restored), key).toBeGreaterThanOrEqual(numberIn(value));
    }
  });

  test('sends and reads only what is new', async () => {
    const folder = await newRepository();
    const repository = counting(await openFolder(folder));
    const dataDir = join(await temporaryFolder(), 'data');
    const files: Record<string, Buffer> = {};
    for (let i = 0; i < 20; i++) files[`table-${i}`] = Buffer.alloc(400_000, `${i} and more `);
    for (let i = 0; i < 20; i++) files[`small-${i}`] = Buffer.alloc(3_000, `small ${i} `);
    writeTree(dataDir, files);
    const asItIs = { compress: false };
    const first = await backUpFiles(dataDir, repository.destination, asItIs);
    expect(first).toMatchObject({ uploadedBytes: 8_060_000, objectsUploaded: 21 });
    writeFileSync(join(dataDir, 'table-7'), Buffer.alloc(400_000, 'changed '));
    repository.reset();
    const second = await backUpFiles(dataDir, repository.destination, asItIs);
    expect(second).toMatchObject({
      totalBytes: 8_060_000,
      uploadedBytes: 400_000,
      reusedBytes: 7_660_000,
      objectsUploaded: 1,
      objectsReused: 20,
    });
    // One object and one manifest.
    expect(repository.calls.put).toBe(2);
    expect(repository.putBytes).toBeLessThan(420_000);
    expect(repository.calls.head).toBe(43); // each of the 21 before and after the manifest, and the manifest
    const into = join(await temporaryFolder(), 'out');
    await restoreBackup('latest', { from: folder, into });
    expect(readTree(into)).toEqual(readTree(dataDir));
  });

  test('hashes a file that two snapshots share once in its life', async () => {
    const repository = await newRepository();
    const dataDir = await plainDirectory();
    const ran: string[] = [];
    const pool: typeof systemEnvironment.pool = {
      ...systemEnvironment.pool,
      run: (name, args, ...rest) => {
        if (name === 'digestFiles')
          ran.push(...(args as unknown as { path: string }[]).map(({ path }) => path));
        return systemEnvironment.pool.run(name, args, ...rest);
      },
    };
    const environment = { ...systemEnvironment, pool };
    const lifecycle = new Lifecycle({ dataDir, environment });
    const coordinator = new BackupCoordinator({ dataDir, engine: 'files', lifecycle });
    await backUp(dataDir, { to: repository, coordinator, environment });
    expect(ran).toHaveLength(5);
    writeFileSync(join(dataDir, 'a.txt'), 'second');
    ran.length = 0;
    await backUp(dataDir, { to: repository, coordinator, environment });
    expect(ran.map((path) => path.split('/').at(-1))).toEqual(['a.txt']);
  });

  test('stores equal files once, and holes not at all', async () => {
    const repository = await newRepository();
    const dataDir = join(await temporaryFolder(), 'data');
    const content = Buffer.alloc(500_000, 'the same everywhere ');
    writeTree(dataDir, { a: content, b: content, 'c/d': content, x: 'small', y: 'small', sparse: 'begin' });
    truncateSync(join(dataDir, 'sparse'), 100_000_000);
    const { uploadedBytes, totalBytes } = await backUpFiles(dataDir, repository);
    expect(totalBytes).toBe(101_500_010);
    expect(uploadedBytes).toBeLessThan(600_000);
    const into = join(await temporaryFolder(), 'out');
    await restoreBackup('latest', { from: repository, into });
    expect(readTree(into)).toEqual(readTree(dataDir));
    const { allocatedBytes } = (await systemEnvironment.fs.inspect(join(into, 'sparse')))!;
    expect(allocatedBytes).toBeLessThan(1_000_000);
    // The room for holes is not asked for.
    let free = 2_000_000;
    const fs = { ...systemEnvironment.fs, freeBytes: async () => free };
    const environment = { ...systemEnvironment, fs };
    await restoreBackup('latest', { from: repository, into: `${into}-2`, environment });
    const { source } = await openBackup('latest', { from: repository, environment });
    const lifecycle = new Lifecycle({ dataDir, environment });
    await new RestoreCoordinator({ dataDir, lifecycle }).restore({ source: async () => source });
    free = 400_000;
    const short = restoreBackup('latest', { from: repository, into: `${into}-3`, environment });
    await expect(short).rejects.toMatchObject({
      code: 'NO_SPACE',
      message: expect.stringMatching(/needs 1\.\d MiB, and 391 KiB are free on the disk of \//),
    });
  });

  test('removes what uploads that died left behind, once it is old', async () => {
    const repository = await newRepository();
    const [old, young] = [join(repository, '.put-old'), join(repository, '.put-young')];
    for (const path of [old, young]) writeFileSync(path, 'left');
    const tenDaysAgo = Date.now() / 1000 - 10 * 24 * 60 * 60;
    utimesSync(old, tenDaysAgo, tenDaysAgo);
    await backUpFiles(await plainDirectory(), repository);
    expect([existsSync(old), existsSync(young)]).toEqual([false, true]);
  });

  test('can be one of a snapshot that stands', async () => {
    const repository = await newRepository();
    const dataDir = await plainDirectory();
    const { name } = await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
    const before = readTree(dataDir);
    writeFileSync(join(dataDir, 'a.txt'), 'changed since');
    const { report, backupId } = await backUpFiles(dataDir, repository, { snapshot: name });
    expect(report).toBeNull();
    expect((await new Snapshots({ dataDir }).list()).snapshots).toHaveLength(1);
    const into = join(await temporaryFolder(), 'out');
    await restoreBackup(backupId, { from: repository, into });
    expect(readTree(into)).toEqual(before);
  });

  test('keeps its snapshot from being pruned until it is whole', async () => {
    const folder = await newRepository();
    const inner = await openFolder(folder);
    const dataDir = await plainDirectory();
    const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
    const { name } = await coordinator.backup();
    await coordinator.backup();
    let busy: readonly { name: string }[] = [];
    const slow: Destination = {
      ...bound(inner),
      async put(key, body, options) {
        if (busy.length === 0) ({ busy } = await new Snapshots({ dataDir }).prune({ keep: 1 }));
        return inner.put(key, body, options);
      },
    };
    await backUpFiles(dataDir, slow, { snapshot: name });
    expect(busy.map((snapshot) => snapshot.name)).toEqual([name]);
  });
});

function flip(path: string, at = 1000): void {
  const content = readFileSync(path);
  content[at] = content[at]! ^ 1;
  writeFileSync(path, content);
}

describe('what goes wrong', () => {
  test('without a repository nothing is made, neither there nor in the data directory', async () => {
    const empty = await temporaryFolder();
    const dataDir = await plainDirectory();
    await expect(backUpFiles(dataDir, empty)).rejects.toMatchObject({
      code: 'DESTINATION_NOT_FOUND',
      hint: expect.stringContaining('repo init'),
    });
    expect(readdirSync(empty)).toEqual([]);
    expect(existsSync(join(dataDir, '.lifecycle'))).toBe(false);
  });

  test('a repository that is gone: the attempt is on record where there was a backup before', async () => {
    const repository = await newRepository();
    const dataDir = await plainDirectory();
    await backUpFiles(dataDir, repository);
    rmSync(repository, { recursive: true });
    await expect(backUpFiles(dataDir, repository)).rejects.toMatchObject({ code: 'DESTINATION_NOT_FOUND' });
    expect((await listJobs(dataDir, { limit: 1 })).jobs).toMatchObject([
      {
        status: 'failed',
        errorCode: 'DESTINATION_NOT_FOUND',
        error: expect.stringContaining(repository),
        repositoryId: null,
        backupId: null,
        finishedAtMs: expect.any(Number),
      },
    ]);
  });

  test('a snapshot that changed since its proof is not uploaded', async () => {
    const repository = await newRepository();
    const dataDir = await plainDirectory();
    const { location } = await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
    const path = join(location, 'deep/er/b.bin');
    const content = readFileSync(path);
    content[1000] = content[1000]! ^ 1;
    writeFileSync(path, content);
    const failed = backUpFiles(dataDir, repository, { snapshot: 'latest' });
    await expect(failed).rejects.toMatchObject({ code: 'COPY_DAMAGED', path });
    expect((await showRepository(repository)).stores.map(({ backups }) => backups)).toEqual([0]);
    const { jobs } = await listJobs(dataDir);
    expect(jobs).toMatchObject([{ status: 'failed', errorCode: 'COPY_DAMAGED', backupRecordId: null }]);
  });

  test('one that changes between its digest and its upload is not uploaded either', async () => {
    const folder = await newRepository();
    const inner = await openFolder(folder);
    const dataDir = await plainDirectory();
    const { location } = await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
    const spoiling: Destination = {
      ...bound(inner),
      async put(key, body, options) {
        const path = join(location, 'deep/er/b.bin');
        const content = readFileSync(path);
        content[1000] = content[1000]! ^ 0xff;
        writeFileSync(path, content);
        return inner.put(key, body, options);
      },
    };
    const failed = backUpFiles(dataDir, spoiling, { snapshot: 'latest' });
    await expect(failed).rejects.toMatchObject({ code: 'COPY_DAMAGED' });
    expect(await backupsIn(folder)).toEqual([]);
  });

  test('an object that vanishes before the manifest is written: there is no backup', async () => {
    const folder = await newRepository();
    const inner = await openFolder(folder);
    const losing: Destination = {
      ...bound(inner),
      async put(key, body, options) {
        const answer = await inner.put(key, body, options);
        if (key.includes('/objects/')) await inner.delete([key]);
        return answer;
      },
    };
    await expect(backUpFiles(await plainDirectory(), losing)).rejects.toMatchObject({
      code: 'BACKUP_DAMAGED',
      message: expect.stringContaining('is missing'),
    });
    expect(await backupsIn(folder)).toEqual([]);
  });

  test('the answer to the manifest is lost: the next run adopts the backup', async () => {
    const folder = await newRepository();
    const inner = await openFolder(folder);
    const dataDir = await plainDirectory();
    const deaf: Destination = {
      ...bound(inner),
      async put(key, body, options) {
        const answer = await inner.put(key, body, options);
        if (key.endsWith('/manifest')) throw new Error('connection reset');
        return answer;
      },
    };
    await expect(backUpFiles(dataDir, deaf)).rejects.toMatchObject({ code: 'PUBLICATION_UNKNOWN' });
    const backups = await backupsIn(folder);
    expect(backups).toHaveLength(1);
    // Only a put makes sure that the name is durable: a record must not outlive the backup.
    const put: string[] = [];
    const watched: Destination = {
      ...bound(inner),
      put(key, body, options) {
        put.push(key);
        return inner.put(key, body, options);
      },
    };
    await backUpFiles(dataDir, watched);
    expect(put.find((key) => key.endsWith('/manifest'))).toContain(backups[0]!.backupId);
    const { openSqliteJobStore } = await import('../../src/backup/jobs/sqlite-job-store.ts');
    const jobs = await openSqliteJobStore(systemEnvironment, layoutOf(dataDir));
    const { repositoryId } = await showRepository(folder);
    expect((await jobs.listRecords(repositoryId)).map(({ id }) => id)).toContain(backups[0]!.backupId);
    await jobs.close();
  });

  test('cancelled in the middle of the upload: interrupted, and there is no backup', async () => {
    const folder = await newRepository();
    const inner = await openFolder(folder);
    const dataDir = await plainDirectory();
    const abort = new AbortController();
    const watched: Destination = {
      ...bound(inner),
      put(key, body, options) {
        if (key.includes('/objects/')) abort.abort();
        return inner.put(key, body, options);
      },
    };
    const cancelled = backUpFiles(dataDir, watched, { signal: abort.signal });
    await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' });
    const [{ name }] = (await new Snapshots({ dataDir }).list()).snapshots as unknown as [{ name: string }];
    await expect(cancelled).rejects.toMatchObject({
      message: expect.stringContaining('no new backup'),
      hint: expect.stringContaining(`snapshot ${name} stands`),
      data: { snapshot: name },
    });
    expect((await listJobs(dataDir)).jobs).toMatchObject([{ status: 'interrupted', errorCode: 'CANCELLED' }]);
    expect(await backupsIn(folder)).toEqual([]);
  });
});

test('a snapshot of an engine that this process does not know is backed up, also after another one', async () => {
  const repository = await newRepository();
  const dataDir = await plainDirectory();
  const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
  for (let i = 0; i < 2; i++) {
    const { location, name } = await coordinator.backup();
    const manifest = (await readManifest(systemEnvironment, location))!;
    const snapshot = { ...manifest.snapshot!, engine: 'of-somebody' };
    rmSync(join(location, 'snapshot.manifest'));
    await writeManifest(systemEnvironment, location, { ...manifest, snapshot });
    await backUp(dataDir, { to: repository, coordinator, snapshot: name });
  }
  const backups = await backupsIn(repository);
  expect(backups.map(({ engine }) => engine)).toEqual(['of-somebody', 'of-somebody']);
});

describe('two directories with one store id', () => {
  test('are told apart: the clone is refused, until it is said which one goes on', async () => {
    const repository = await newRepository();
    const original = await plainDirectory();
    await backUpFiles(original, repository);
    const clone = join(await temporaryFolder(), 'clone');
    cpSync(original, clone, { recursive: true });
    await backUpFiles(original, repository);
    await expect(backUpFiles(clone, repository)).rejects.toMatchObject({ code: 'STORE_DIVERGED' });
    const own = await backUpFiles(clone, repository, { newStore: true });
    expect((await showRepository(repository)).stores.map(({ backups }) => backups).sort()).toEqual([1, 2]);
    expect(own.state).toBe('succeeded');
    await backUpFiles(original, repository);
  });

  test('at the same time: both backups are whole, and the next run of one of them is refused', async () => {
    const repository = await newRepository();
    const original = await plainDirectory();
    await backUpFiles(original, repository);
    const clone = join(await temporaryFolder(), 'clone');
    cpSync(original, clone, { recursive: true });
    writeFileSync(join(clone, 'only here'), 'x'.repeat(300_000));
    const inner = await openFolder(repository);
    let isSent = false;
    const meanwhile: Destination = {
      ...bound(inner),
      async put(key, body, options) {
        if (key.endsWith('/manifest') && !isSent) {
          isSent = true;
          await backUpFiles(original, repository);
        }
        return inner.put(key, body, options);
      },
    };
    await backUpFiles(clone, meanwhile);
    const backups = await backupsIn(repository);
    expect(backups).toHaveLength(3);
    for (const { backupId } of backups)
      expect(await verifyBackup(backupId, { from: repository })).toMatchObject({ ok: true });
    const next = await Promise.allSettled([original, clone].map((dir) => backUpFiles(dir, repository)));
    expect(next.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(next.find((one) => one.status === 'rejected')?.reason).toMatchObject({ code: 'STORE_DIVERGED' });
  });

  test('with claim, a directory goes on with backups that came from elsewhere', async () => {
    const repository = await newRepository();
    const original = await plainDirectory();
    const { storeId } = await backUpFiles(original, repository);
    rmSync(join(original, '.lifecycle/lineage.json'));
    await expect(backUpFiles(original, repository)).rejects.toMatchObject({ code: 'STORE_DIVERGED' });
    expect(await backUpFiles(original, repository, { claim: true })).toMatchObject({ storeId });
    await backUpFiles(original, repository);
    expect(await backupsIn(repository)).toHaveLength(3);
  });
});

describe('a damaged repository', () => {
  async function damaged(damage: (paths: string[]) => void) {
    const repository = await newRepository();
    await backUpFiles(await plainDirectory(), repository, { compress: false });
    damage(objectsIn(repository));
    return repository;
  }

  test.each([
    ['an object of the same length', (path: string) => flip(path), 'OBJECT_DAMAGED', 'unread'],
    ['a shorter object', (path: string) => truncateSync(path, 10), 'OBJECT_SIZE', 'copy-damaged'],
    ['a missing object', (path: string) => rmSync(path), 'OBJECT_MISSING', 'copy-damaged'],
  ])('%s is found when it is read, and nothing is restored', async (_, damage, code, atManifest) => {
    const from = await damaged((paths) => damage(paths.find((path) => path.includes('/objects/'))!));
    const report = await verifyBackup('latest', { from });
    expect(report).toMatchObject({ ok: false, verdict: 'copy-damaged', level: 'data' });
    expect(report.findings).toMatchObject([{ path: 'deep/er/b.bin', code, severity: 'error' }]);
    expect(await verifyBackup('latest', { from, level: 'manifest' })).toMatchObject({ verdict: atManifest });
    const into = join(await temporaryFolder(), 'out');
    await expect(restoreBackup('latest', { from, into })).rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
    expect(existsSync(into)).toBe(false);
  });

  test('damage in a pack is told of the very file', async () => {
    const from = await damaged((paths) => flip(paths.find((path) => path.endsWith('/small-0'))!, 100));
    const { findings } = await verifyBackup('latest', { from });
    expect(findings.map(({ code }) => code)).toEqual(['OBJECT_DAMAGED']);
    expect(findings.map(({ path }) => path)).toEqual(['zeros.bin']);
  });

  test('a changed byte of a manifest is found, wherever it is', async () => {
    const repository = await newRepository();
    await backUpFiles(await plainDirectory({ a: 'b' }), repository);
    const path = entriesBelow(repository)
      .filter(({ name }) => name === 'manifest')
      .map((entry) => join(entry.parentPath, entry.name))[0]!;
    const content = readFileSync(path);
    for (let i = 0; i < content.byteLength; i += perTier(5, 1)) {
      const changed = Buffer.from(content);
      changed[i] = changed[i]! ^ 1;
      writeFileSync(path, changed);
      await expect(showBackup('latest', { from: repository }), `byte ${i}`).rejects.toMatchObject({
        code: 'BACKUP_DAMAGED',
      });
    }
    const backups = await backupsIn(repository);
    expect(backups).toMatchObject([{ engine: null, problem: expect.stringContaining('manifest') }]);
  });

  test('level full restores into a scratch folder, proves it there, and leaves nothing', async () => {
    const from = await newRepository();
    await backUpFiles(await plainDirectory(), from);
    const scratch = await temporaryFolder();
    const report = await verifyBackup('latest', { from, level: 'full', scratch });
    expect(report).toMatchObject({ ok: true, verdict: 'faithful', level: 'full', counts: { files: 5 } });
    expect(readdirSync(scratch)).toEqual([]);
  });
});

describe('a restore', () => {
  test('in place goes around the host, and can be undone', async () => {
    const from = await newRepository();
    const dataDir = await plainDirectory();
    const before = readTree(dataDir);
    await backUpFiles(dataDir, from);
    writeFileSync(join(dataDir, 'a.txt'), 'spoiled');
    const restore = new RestoreCoordinator({ dataDir });
    const { source } = await openBackup('latest', { from, dataDir });
    await restore.restore({ source: async () => source });
    expect(readTree(dataDir)).toEqual(before);
    await backUpFiles(dataDir, from); // it is still the same store
    await restore.undo();
    expect(readFileSync(join(dataDir, 'a.txt'), 'utf8')).toBe('spoiled');
  });

  test('in place of a backup of another store is refused, unless it is wanted', async () => {
    const from = await newRepository();
    await backUpFiles(await plainDirectory(), from);
    const other = await plainDirectory({ mine: 'and not yours' });
    await expect(openBackup('latest', { from, dataDir: other })).rejects.toMatchObject({
      code: 'RESTORE_PRECONDITION_FAILED',
    });
    await expect(openBackup('latest', { from })).resolves.toHaveProperty('source');
  });

  test('into a folder that is not empty is refused, and the folder stays', async () => {
    const from = await newRepository();
    await backUpFiles(await plainDirectory(), from);
    const into = await plainDirectory({ mine: 'stays' });
    await expect(restoreBackup('latest', { from, into })).rejects.toMatchObject({ code: 'TARGET_NOT_EMPTY' });
    expect(readTree(into)).toHaveProperty('mine');
  });

  test('that is cancelled leaves nothing', async () => {
    const from = await newRepository();
    await backUpFiles(await plainDirectory(), from);
    const parent = await temporaryFolder();
    const restoring = restoreBackup('latest', {
      from,
      into: join(parent, 'out'),
      signal: AbortSignal.abort(),
    });
    await expect(restoring).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(readdirSync(parent)).toEqual([]);
  });

  test('of what does not exist is told', async () => {
    const from = await newRepository();
    const into = join(await temporaryFolder(), 'out');
    await expect(restoreBackup('latest', { from, into })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await backUpFiles(await plainDirectory(), from);
    for (const backup of ['../../x', '01ARZ3NDEKTSV4RRFFQ69G5FAV'])
      await expect(restoreBackup(backup, { from, into })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await backUpFiles(await plainDirectory(), from);
    await expect(restoreBackup('latest', { from, into })).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      hint: expect.stringContaining('--store'),
    });
  });
});

test('a second repository in the same place is refused', async () => {
  const repository = await newRepository();
  const before = readTree(repository);
  const keyFile = join(await temporaryFolder(), 'key');
  await expect(initRepository(repository, { encryption: { keyFile } })).rejects.toMatchObject({
    code: 'REPOSITORY_EXISTS',
  });
  expect(existsSync(keyFile)).toBe(false); // it would open nothing
  expect(readTree(repository)).toEqual(before);
});
