import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { openBackup, restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { BackupCoordinator, RestoreCoordinator, verifySnapshot } from '../../src/index.ts';
import { entriesBelow, plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { fill, namesOf, writeFolder } from '../support/leveldb-folders.ts';
import { rot } from '../support/rot.ts';
import { temporaryFolder } from '../support/temp.ts';

/** A repository with one backup, whose objects are an object and a pack. */
async function backedUp() {
  const repository = join(await temporaryFolder(), 'repository');
  await initRepository(repository);
  const dataDir = await plainDirectory();
  const run = () =>
    backUp(dataDir, {
      to: repository,
      coordinator: new BackupCoordinator({ dataDir, engine: 'files' }),
      compress: false, // damage to compressed objects: test/repository/compressed-objects.test.ts
    });
  await run();
  const objects = entriesBelow(repository)
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path.includes('/objects/') || path.includes('/small-'));
  return { repository, dataDir, run, objects };
}

function flip(path: string): void {
  const content = readFileSync(path);
  content[100] = content[100]! ^ 1;
  writeFileSync(path, content);
}

/** The newest backup is what is in the data directory. */
async function expectWhole(from: string, dataDir: string): Promise<void> {
  expect(await verifyBackup('latest', { from })).toMatchObject({ ok: true, findings: [] });
  const into = join(await temporaryFolder(), 'out');
  await restoreBackup('latest', { from, into });
  expect(readTree(into)).toEqual(readTree(dataDir));
}

const OBJECTS = [
  ['an object', '/objects/', 1],
  ['a pack', '/small-', 4],
] as const;

describe.each(OBJECTS)('after damage to %s, the next backup is whole again', (_, part, filesOfIt) => {
  test.each([
    ['is missing', (path: string) => rmSync(path)],
    ['has another size', (path: string) => truncateSync(path, 10)],
  ])('without a verification, when it %s', async (_, damage) => {
    const { repository, dataDir, run, objects } = await backedUp();
    damage(objects.find((path) => path.includes(part))!);
    const { filesUploadedAgain, objectsUploaded } = await run();
    expect(filesUploadedAgain).toBeGreaterThan(0);
    expect(filesUploadedAgain).toBeLessThanOrEqual(filesOfIt);
    expect(objectsUploaded).toBe(1);
    await expectWhole(repository, dataDir);
    expect(await run()).toMatchObject({ filesUploadedAgain: 0, objectsUploaded: 0 });
  });

  test.each([
    ['verify', async (from: string) => void (await verifyBackup('latest', { from }))],
    [
      'restore',
      async (from: string) => {
        const into = join(await temporaryFolder(), 'out');
        await expect(restoreBackup('latest', { from, into })).rejects.toThrow('does not hold');
      },
    ],
    [
      'restore in place',
      async (from: string) => {
        const dataDir = await plainDirectory();
        const { source } = await openBackup('latest', { from });
        const restoring = new RestoreCoordinator({ dataDir }).restore({ source: async () => source });
        await expect(restoring).rejects.toThrow('does not hold');
      },
    ],
  ])('once a %s has read bytes that changed', async (_, read) => {
    const { repository, dataDir, run, objects } = await backedUp();
    flip(objects.find((path) => path.includes(part))!);
    await read(repository);
    const { filesUploadedAgain } = await run();
    expect(filesUploadedAgain).toBeGreaterThan(0);
    await expectWhole(repository, dataDir);
    expect(await run()).toMatchObject({ filesUploadedAgain: 0, objectsUploaded: 0 });
  });
});

test('several lost objects and new files in one run: all of it is there afterwards', async () => {
  const { repository, dataDir, run, objects } = await backedUp();
  for (const path of objects) rmSync(path);
  writeTree(dataDir, { new: 'small', 'new-too': Buffer.alloc(300_000, 'new ') });
  expect(await run()).toMatchObject({ reusedBytes: 0, objectsReused: 0 });
  await expectWhole(repository, dataDir);
});

test('damage that cannot be put on record is told', async () => {
  const { repository, run, objects } = await backedUp();
  await run();
  flip(objects[0]!);
  const stores = join(repository, 'stores');
  const [store] = entriesBelow(stores).filter((entry) => entry.parentPath === stores);
  // Not a mode: whoever runs the tests as root may write anywhere.
  writeFileSync(join(stores, store!.name, 'damaged'), 'in the way');
  const report = await verifyBackup('latest', { from: repository });
  expect(report).toMatchObject({ ok: false, verdict: 'copy-damaged', unrecorded: expect.any(String) });
});

test('level manifest says that the bytes are unread', async () => {
  const { repository } = await backedUp();
  expect(await verifyBackup('latest', { from: repository, level: 'manifest' })).toMatchObject({
    ok: false,
    verdict: 'unread',
    findings: [],
    counts: { bytes: 0 },
  });
});

describe('a snapshot that stands is not backed up', () => {
  const withDamage = async () => {
    const dir = await writeFolder(join(await temporaryFolder(), 'db'), (db) => fill(db, 700));
    await writeFolder(dir, (db) => fill(db, 1)); // what was in the log is in a table now
    const [table] = await namesOf(dir, /\.ldb$/);
    rot(join(dir, table!), 100); // a proof of the files alone does not see it
    const to = join(await temporaryFolder(), 'repository');
    await initRepository(to);
    const coordinator = new BackupCoordinator({ dataDir: dir, engine: 'leveldb' });
    const { name, location } = await coordinator.backup({ level: 'files' });
    const run = (snapshot = name) => backUp(dir, { to, coordinator, snapshot });
    const newer = async () => (await coordinator.backup({ level: 'files', reuse: false })).name;
    const count = async () => (await listBackups({ from: to })).stores.flatMap((one) => one.backups).length;
    return { to, run, location, newer, count };
  };

  test('once a verification found its content damaged', async () => {
    const { run, location, count } = await withDamage();
    expect(await verifySnapshot(location)).toMatchObject({ verdict: 'source-damaged' });
    await expect(run()).rejects.toMatchObject({
      code: 'COPY_DAMAGED',
      hint: expect.stringContaining('list'),
    });
    expect(await count()).toBe(0);
  });

  test('once the content of an earlier backup of it was found damaged, whatever was backed up since', async () => {
    const { to, run, newer, count } = await withDamage();
    const { backupId } = await run();
    const other = await newer();
    await run(other);
    const full = verifyBackup(backupId, { from: to, level: 'full' });
    await expect(full).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH' });
    await expect(run()).rejects.toMatchObject({
      code: 'BACKUP_DAMAGED',
      hint: expect.stringContaining('new snapshot'),
    });
    await run(other); // nobody knows of that one
    expect(await count()).toBe(3);
  });
});
