import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { deleteBackup } from '../../src/backup/keep-backups.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { BackupCoordinator, openLsm, RestoreCoordinator } from '../../src/index.ts';
import { entriesBelow } from '../support/folders.ts';
import { rot } from '../support/rot.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

// A database that was begun anew, or of which an older state was put in place, must not roll its backups out.

interface Open {
  put(key: string, value: string): Promise<unknown>;
  close(): Promise<unknown>;
}

async function openLeveldb(dir: string): Promise<Open> {
  const database = new ClassicLevel(dir);
  await database.open();
  return database;
}

test.each([
  { engine: 'lsm', local: true, within: '.' },
  { engine: 'leveldb', local: false, within: '.' },
  { engine: 'parts', local: true, within: 'db' },
])('$engine: the last backup before it was begun anew stays, and a warning says so', async (kind) => {
  const { engine, local, within } = kind;
  const root = await temporaryFolder();
  const [dataDir, to] = [join(root, 'data'), join(root, 'repository')];
  await initRepository(to);
  const dir = join(dataDir, within);
  const fill = async (count: number): Promise<void> => {
    const database: Open = engine === 'lsm' ? await openLsm(dir, SMALL_LOG) : await openLeveldb(dir);
    for (let i = 0; i < count; i++) await database.put(`key${i}`, `value ${i}`);
    await database.close();
  };
  const coordinator = new BackupCoordinator({ dataDir, engine });
  const backup = async () => {
    const result = await backUp(dataDir, { to, local, coordinator, retention: { keepLast: 1 } });
    const told = result.warnings.filter((one) => /begun anew/.test(one));
    return { id: result.backupId, removed: result.pruned!.removed, told };
  };
  await fill(200);
  const first = await backup();
  await fill(10);
  const good = await backup();
  expect(good).toMatchObject({ removed: [first.id], told: [] });

  for (const entry of readdirSync(dir))
    if (entry !== '.lifecycle') rmSync(join(dir, entry), { recursive: true });
  await fill(5);
  const anew = await backup();
  expect(anew).toMatchObject({ removed: [], told: [expect.stringContaining(good.id)] });
  await fill(500); // further than it had come before
  expect(await backup()).toMatchObject({ removed: [anew.id], told: [] });
  await fill(5);
  expect((await backup()).removed).toHaveLength(1); // once the backup that first told of it is gone, too
  // Until somebody says that it may go.
  expect((await deleteBackup(good.id, { from: to })).existed).toBe(true);
});

test('after a restore of an older state the last backup stays, however far the database has come since', async () => {
  const root = await temporaryFolder();
  const [dataDir, to] = [join(root, 'data'), join(root, 'repository')];
  await initRepository(to);
  const fill = async (count: number): Promise<void> => {
    const database = await openLsm(dataDir, SMALL_LOG);
    for (let i = 0; i < count; i++) await database.put(`key${i}`, `value ${i}`);
    await database.close();
  };
  const backup = () => backUp(dataDir, { to, retention: { keepLast: 1 } });
  await fill(20);
  const { name: old } = await new BackupCoordinator({ dataDir }).backup();
  await fill(20);
  const { backupId: before } = await backup();
  await new RestoreCoordinator({ dataDir }).restore({ source: old });
  await fill(100);
  const passed = await backup();
  expect(passed.pruned!.removed).toEqual([]);
  expect(passed.warnings).toContainEqual(expect.stringContaining(`than that of backup ${before}`));
  await fill(5);
  const next = await backup();
  expect(next.pruned!.removed).toEqual([passed.backupId]);
  expect(next.warnings).not.toContainEqual(expect.stringContaining('begun anew'));
});

test('after damage to the backup that told of it, the last one before it was begun anew stays all the same', async () => {
  const root = await temporaryFolder();
  const [dataDir, to] = [join(root, 'data'), join(root, 'repository')];
  await initRepository(to);
  const fill = async (count: number): Promise<void> => {
    const database = await openLeveldb(dataDir);
    for (let i = 0; i < count; i++) await database.put(`key${i}`, `value ${i}`);
    await database.close();
  };
  const backup = (keepLast: number) => backUp(dataDir, { to, retention: { keepLast } });
  await fill(200);
  const { backupId: before } = await backup(5);
  for (const entry of readdirSync(dataDir))
    if (entry !== '.lifecycle') rmSync(join(dataDir, entry), { recursive: true });
  await fill(5);
  const { backupId: told } = await backup(5);
  const [manifest] = entriesBelow(to).filter(
    (entry) => entry.isFile() && entry.name === 'manifest' && entry.parentPath.includes(told),
  );
  rot(join(manifest!.parentPath, manifest!.name), 40);
  await fill(500);
  for (let i = 0; i < 2; i++) {
    await fill(5);
    await backup(1);
  }
  const { stores } = await listBackups({ from: to });
  expect(stores[0]!.backups.map(({ backupId }) => backupId)).toContain(before);
});
