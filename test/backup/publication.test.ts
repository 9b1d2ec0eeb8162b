import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { openSqliteJobStore } from '../../src/backup/jobs/sqlite-job-store.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { listJobs } from '../../src/backup/list-jobs.ts';
import { initRepository, showRepository } from '../../src/backup/repositories.ts';
import type { Destination } from '../../src/destination/destination.ts';
import { openFolder } from '../../src/destination/folder.ts';
import { newUlidAfter } from '../../src/env/ulid.ts';
import { StillpointError } from '../../src/errors.ts';
import { BackupCoordinator, Lifecycle } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { bound } from '../support/bound-destination.ts';
import { plainDirectory, writeTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const LAST_ID = `7${'Z'.repeat(25)}`;

async function stage() {
  const repository = join(await temporaryFolder(), 'repository');
  await initRepository(repository);
  const dataDir = await plainDirectory({ a: 'b', c: 'd' });
  return { repository, dataDir, inner: await openFolder(repository) };
}

const backUpFiles = (dataDir: string, to: string | Destination, options: object = {}) =>
  backUp(dataDir, { to, coordinator: new BackupCoordinator({ dataDir, engine: 'files' }), ...options });

const isManifest = (key: string): boolean => key.endsWith('/manifest');

/** The destination as it is, but for the put of a manifest. */
const withPut = (inner: Destination, put: Destination['put']): Destination => ({
  ...bound(inner),
  put: (key, body, options) => (isManifest(key) ? put : inner.put.bind(inner))(key, body, options),
});

const idsIn = async (from: string) =>
  (await listBackups({ from })).stores.flatMap(({ backups }) => backups.map(({ backupId }) => backupId));

const lifecycleFile = (dataDir: string, name: string): string =>
  readFileSync(join(dataDir, '.lifecycle', name), 'utf8');

describe('a manifest', () => {
  test.each<[string, (inner: Destination) => Destination['put']]>([
    ['is not there although the destination said so', () => async () => 'written'],
    [
      'holds other bytes than were sent',
      (inner) => async (key, _, options) =>
        inner.put(key, { sizeBytes: 5, open: () => [Buffer.from('login')] }, options),
    ],
    [
      'may have arrived when the connection broke',
      () => async () => {
        throw new StillpointError('DESTINATION_UNREACHABLE', 'connection reset');
      },
    ],
    [
      'was refused by an error of unknown cause',
      () => async () => {
        throw new Error('no');
      },
    ],
  ])('%s: nobody says that there is a backup, or that there is none', async (_, put) => {
    const { repository, dataDir, inner } = await stage();
    const failed = backUpFiles(dataDir, withPut(inner, put(inner)));
    await expect(failed).rejects.toMatchObject({ code: 'PUBLICATION_UNKNOWN' });
    expect((await listJobs(dataDir)).jobs).toMatchObject([
      { status: 'failed', errorCode: 'PUBLICATION_UNKNOWN', backupRecordId: null },
    ]);
    expect(await backUpFiles(dataDir, repository)).toMatchObject({ state: 'succeeded' });
  });

  test('that the destination refused and does not have is no backup, and the error says why', async () => {
    const { repository, dataDir, inner } = await stage();
    const full = withPut(inner, async () => {
      throw new StillpointError('DESTINATION_NO_SPACE', 'no room');
    });
    await expect(backUpFiles(dataDir, full)).rejects.toMatchObject({ code: 'DESTINATION_NO_SPACE' });
    expect(await backUpFiles(dataDir, repository)).toMatchObject({ state: 'succeeded' });
    expect(await idsIn(repository)).toHaveLength(1);
  });

  test('that arrives after two failed runs is known for our own, and gets its record', async () => {
    const { repository, dataDir, inner } = await stage();
    await backUpFiles(dataDir, repository);
    const late: (() => Promise<unknown>)[] = [];
    const slow = withPut(inner, async (key, body, options) => {
      late.push(() => inner.put(key, body, options));
      throw new StillpointError('DESTINATION_UNREACHABLE', 'timeout');
    });
    for (let run = 0; run < 2; run++)
      await expect(backUpFiles(dataDir, slow)).rejects.toMatchObject({ code: 'PUBLICATION_UNKNOWN' });
    await late[0]!();
    await backUpFiles(dataDir, repository);
    const ids = await idsIn(repository);
    expect(ids).toHaveLength(3);
    const jobs = await openSqliteJobStore(systemEnvironment, layoutOf(dataDir));
    const { repositoryId } = await showRepository(repository);
    expect((await jobs.listRecords(repositoryId)).map(({ id }) => id).sort()).toEqual(ids);
    await jobs.close();
  });
});

describe('a backup that was published and never confirmed', () => {
  /** The process dies right after the manifest; what the manifest names is gone by then, as after a sleep of days. */
  async function unconfirmed() {
    const { repository, dataDir, inner } = await stage();
    const { backupId } = await backUpFiles(dataDir, repository);
    writeTree(dataDir, { a: 'another' });
    const dies = withPut(inner, async (key, body, options) => {
      await inner.put(key, body, options);
      throw new StillpointError('DESTINATION_UNREACHABLE', 'connection reset');
    });
    await expect(backUpFiles(dataDir, dies)).rejects.toMatchObject({ code: 'PUBLICATION_UNKNOWN' });
    const [, second] = await idsIn(repository);
    const { stores } = await listBackups({ from: repository });
    const folder = join(repository, 'stores', stores[0]!.storeId, 'backups', second!);
    return { repository, dataDir, first: backupId, second: second!, folder };
  }

  test('and is not whole is withdrawn by the next run, which goes on from the one before', async () => {
    const { repository, dataDir, first, second, folder } = await unconfirmed();
    rmSync(join(folder, 'small-0'));
    const { backupId, objectsReused } = await backUpFiles(dataDir, repository);
    expect(await idsIn(repository)).toEqual([first, backupId]);
    expect(backupId > second).toBe(true);
    expect(objectsReused).toBeGreaterThan(0);
  });

  test('and is whole stays, and gets its record', async () => {
    const { repository, dataDir, first, second } = await unconfirmed();
    const { backupId } = await backUpFiles(dataDir, repository);
    expect(await idsIn(repository)).toEqual([first, second, backupId]);
  });
});

describe('a foreign object in the place of the newest manifest', () => {
  test('is passed over with a warning that names it, and stops neither a run nor a claim', async () => {
    const { repository, dataDir } = await stage();
    const { storeId } = await backUpFiles(dataDir, repository);
    const folder = join(repository, 'stores', storeId, 'backups', LAST_ID);
    mkdirSync(folder);
    writeFileSync(join(folder, 'manifest'), '');
    const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
    await backUpFiles(dataDir, repository);
    expect((await warned).message).toContain(LAST_ID);
    await backUpFiles(dataDir, repository, { claim: true });
    await backUpFiles(dataDir, repository);
    const ids = await idsIn(repository);
    expect(ids).toHaveLength(5);
    expect(ids.at(-1)).toBe(LAST_ID);
  });

  test('no id is made after the last one there is', () => {
    expect(() => newUlidAfter(5, LAST_ID)).toThrow(expect.objectContaining({ code: 'REPOSITORY_INVALID' }));
  });

  test('a backup more than a day ahead of the clock is not claimed', async () => {
    const { repository, dataDir } = await stage();
    const ahead = 2 * DAY_MS;
    const { clock } = systemEnvironment;
    const environment = {
      ...systemEnvironment,
      clock: Object.assign(Object.create(clock), { nowMs: () => clock.nowMs() + ahead }),
    };
    const lifecycle = new Lifecycle({ dataDir, environment });
    const coordinator = new BackupCoordinator({ dataDir, engine: 'files', lifecycle });
    await backUp(dataDir, { to: repository, coordinator, environment });
    const clone = join(await temporaryFolder(), 'clone');
    cpSync(dataDir, clone, { recursive: true });
    rmSync(join(clone, '.lifecycle/lineage.json'));
    await expect(backUpFiles(clone, repository, { claim: true })).rejects.toMatchObject({
      code: 'REPOSITORY_INVALID',
      message: expect.stringContaining('ahead of the clock'),
    });
    // Its own directory goes on, and its ids still sort.
    await backUpFiles(dataDir, repository);
    expect(await idsIn(repository)).toHaveLength(2);
  });
});

/** A backup that stands still once it reaches a put of such a key, until `go` is called. */
async function held(dataDir: string, inner: Destination, where: (key: string) => boolean) {
  let reach = () => {};
  let go = () => {};
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  const wait = new Promise<void>((resolve) => {
    go = resolve;
  });
  const slow: Destination = {
    ...bound(inner),
    async put(key, body, options) {
      if (where(key)) {
        reach();
        await wait;
      }
      return inner.put(key, body, options);
    },
  };
  const run = backUpFiles(dataDir, slow);
  run.catch(() => undefined);
  await Promise.race([reached, run]);
  return { run, go };
}

describe('while a backup runs', () => {
  test('neither claim nor a new store has any effect', async () => {
    const { repository, dataDir, inner } = await stage();
    await backUpFiles(dataDir, repository);
    writeTree(dataDir, { new: 'file' });
    const { run, go } = await held(dataDir, inner, isManifest);
    const before = [lifecycleFile(dataDir, 'lineage.json'), lifecycleFile(dataDir, 'store.json')];
    for (const options of [{ claim: true }, { newStore: true }])
      await expect(backUpFiles(dataDir, repository, options)).rejects.toMatchObject({
        code: 'BACKUP_ALREADY_RUNNING',
      });
    expect([lifecycleFile(dataDir, 'lineage.json'), lifecycleFile(dataDir, 'store.json')]).toEqual(before);
    go();
    await run;
    expect(await backUpFiles(dataDir, repository)).toMatchObject({ state: 'succeeded' });
    expect((await showRepository(repository)).stores).toMatchObject([{ backups: 3 }]);
  });

  test('whoever takes it for dead goes first: it stops, and its backup never exists', async () => {
    const { repository, dataDir, inner } = await stage();
    await backUpFiles(dataDir, repository);
    writeTree(dataDir, { new: 'file' });
    const { run, go } = await held(dataDir, inner, (key) => key.includes('/small-'));
    rmSync(join(dataDir, '.lifecycle/jobs'), { recursive: true });
    await backUpFiles(dataDir, repository);
    go();
    await expect(run).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(await idsIn(repository)).toHaveLength(2);
    expect(await backUpFiles(dataDir, repository)).toMatchObject({ state: 'succeeded' });
  });
});

test('a directory keeps its identity when the backup of a new store fails before its first upload', async () => {
  const { repository, dataDir } = await stage();
  const { storeId } = await backUpFiles(dataDir, repository);
  const failed = backUpFiles(dataDir, repository, { newStore: true, snapshot: 'no-such' });
  await expect(failed).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(await backUpFiles(dataDir, repository)).toMatchObject({ storeId });
  const renewed = await backUpFiles(dataDir, repository, { newStore: true });
  expect(renewed.storeId).not.toBe(storeId);
  expect(await backUpFiles(dataDir, repository)).toMatchObject({ storeId: renewed.storeId });
});
