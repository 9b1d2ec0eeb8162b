import {
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, onTestFinished, test } from 'vitest';
import {
  BackupCoordinator,
  openLsm,
  RestoreCoordinator,
  restoreSnapshot,
  Snapshots,
  snapshotClassicLevel,
  verifySnapshot,
} from '../../src/index.ts';
import { plainDirectory, readTree } from '../support/folders.ts';
import { BUSY } from '../support/lsm-workload.ts';
import { temporaryFolder } from '../support/temp.ts';

// Invariant 15: the data directory is resolved once; a snapshot is of the database that was meant then, or fails.

const REPLACED = { code: 'FOLDER_REPLACED' };

function turn(link: string, to: string): void {
  rmSync(link, { force: true });
  symlinkSync(to, link);
}

test('a link that was turned after the coordinator was made is noticed, before its first use and later (invariant 15)', async () => {
  const [meant, other] = [await plainDirectory(), await plainDirectory({ 'a.txt': 'another database' })];
  const link = join(await temporaryFolder(), 'data');
  turn(link, meant);
  const backup = new BackupCoordinator({ dataDir: link, engine: 'files' });
  const snapshots = new Snapshots({ dataDir: link });
  turn(link, other);
  const before = readTree(other, []);
  await expect(backup.backup()).rejects.toMatchObject(REPLACED);
  await expect(snapshots.list()).rejects.toMatchObject(REPLACED);
  await expect(snapshots.prune({ keep: 1 })).rejects.toMatchObject(REPLACED);
  expect(readTree(other, [])).toEqual(before);
  turn(link, meant);
  expect((await backup.backup()).state.status).toBe('completed');
  turn(link, other);
  await expect(backup.backup()).rejects.toMatchObject(REPLACED);
});

test('a folder that was replaced is noticed, also while a snapshot is taken', async () => {
  const dir = await plainDirectory();
  const aside = join(await temporaryFolder(), 'aside');
  const swap = () => {
    renameSync(dir, aside);
    cpSync(aside, dir, { recursive: true });
  };
  const hold = { release: swap };
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files', checkpoint: () => hold });
  await expect(backup.backup()).rejects.toMatchObject(REPLACED);
  await expect(backup.startBackup()).rejects.toMatchObject(REPLACED);
});

test('a change of the working directory does not matter', async () => {
  const meant = await plainDirectory();
  const before = process.cwd();
  onTestFinished(() => process.chdir(before));
  process.chdir(join(meant, '..'));
  const backup = new BackupCoordinator({
    dataDir: meant.slice(join(meant, '..').length + 1),
    engine: 'files',
  });
  const elsewhere = await temporaryFolder();
  mkdirSync(join(elsewhere, 'data'));
  process.chdir(elsewhere);
  const { location } = await backup.backup();
  expect(location.startsWith(meant)).toBe(true);
  expect(readTree(location, [])).toMatchObject(readTree(meant));
});

test('an open LevelDB that is not the one at its path any more is noticed', async () => {
  const root = await temporaryFolder();
  const link = join(root, 'link');
  for (const name of ['other', 'meant']) {
    mkdirSync(join(root, name));
    turn(link, join(root, name));
    const db = new ClassicLevel(link);
    await db.put('name', name);
    if (name === 'other') await db.close();
    else {
      expect((await snapshotClassicLevel(db)).state.status).toBe('completed');
      turn(link, join(root, 'other'));
      await expect(snapshotClassicLevel(db)).rejects.toMatchObject(REPLACED);
      await db.close();
    }
  }
  expect(readdirSync(join(root, 'other'))).not.toContain('.lifecycle');
});

test('a copy in the place of an open LevelDB is noticed, also where its LOCK is a hard link of the open one', async () => {
  const root = await temporaryFolder();
  const [dir, aside] = [join(root, 'db'), join(root, 'aside')];
  const db = new ClassicLevel(dir);
  await db.put('a', 'in the copy');
  cpSync(dir, join(root, 'copy'), { recursive: true });
  rmSync(join(root, 'copy/LOCK'));
  linkSync(join(dir, 'LOCK'), join(root, 'copy/LOCK'));
  renameSync(dir, aside);
  renameSync(join(root, 'copy'), dir);
  await db.put('a', 'acknowledged');
  await expect(snapshotClassicLevel(db)).rejects.toMatchObject(REPLACED);
  renameSync(dir, join(root, 'copy'));
  renameSync(aside, dir);
  const { location } = await snapshotClassicLevel(db);
  await db.close();
  await restoreSnapshot(location, { into: join(root, 'restored') });
  const restored = new ClassicLevel(join(root, 'restored'));
  expect(await restored.get('a')).toBe('acknowledged');
  await restored.close();
});

test('a hold of an lsm database in another folder is noticed', async () => {
  const root = await temporaryFolder();
  const [meant, other] = [await openLsm(join(root, 'meant'), BUSY), await openLsm(join(root, 'other'), BUSY)];
  await meant.put('a', 'b');
  const backupOf = (name: string) =>
    new BackupCoordinator({ dataDir: join(root, name), engine: 'lsm', checkpoint: () => meant.hold() });
  await expect(backupOf('other').backup()).rejects.toMatchObject(REPLACED);
  expect((await backupOf('meant').backup()).state.status).toBe('completed');
  expect(meant.stats().state).toBe('open');
  await meant.close(); // no hold is left
  await other.close();
});

test('a snapshot is known by its manifest wherever it lies, and is never taken for a data directory', async () => {
  const dir = await plainDirectory();
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  const root = await temporaryFolder();
  const copy = join(root, 'copy');
  cpSync(location, copy, { recursive: true });
  const before = readTree(copy, []);
  const refused = { code: 'INVALID_REQUEST', hint: expect.stringContaining('stillpoint restore') };
  await expect(new BackupCoordinator({ dataDir: copy, engine: 'files' }).backup()).rejects.toMatchObject(
    refused,
  );
  await expect(new RestoreCoordinator({ dataDir: copy, engine: 'files' }).restore()).rejects.toMatchObject(
    refused,
  );
  await expect(new Snapshots({ dataDir: copy }).prune({ keep: 1 })).rejects.toMatchObject(refused);
  expect(readTree(copy, [])).toEqual(before);
  expect((await verifySnapshot(copy)).ok).toBe(true);

  const into = join(root, 'restored');
  await restoreSnapshot(copy, { into });
  expect(readdirSync(into)).not.toContain('snapshot.manifest');
  expect((await new BackupCoordinator({ dataDir: into, engine: 'files' }).backup()).state.status).toBe(
    'completed',
  );
});

test('a copied snapshot with a file beside it that no engine writes is a snapshot; with a file of the engine it is a database', async () => {
  const dir = join(await temporaryFolder(), 'db');
  const database = new ClassicLevel(dir);
  await database.put('key', 'value');
  await database.close();
  const { location } = await new BackupCoordinator({ dataDir: dir }).backup();
  const copy = join(await temporaryFolder(), 'copy');
  cpSync(location, copy, { recursive: true });
  mkdirSync(join(copy, 'lost+found'));
  writeFileSync(join(copy, '.DS_Store'), '');
  await expect(new BackupCoordinator({ dataDir: copy }).backup()).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
  });
  expect(readdirSync(copy)).not.toContain('.lifecycle');
  writeFileSync(join(copy, 'LOCK'), '');
  expect((await new BackupCoordinator({ dataDir: copy }).backup()).report.ok).toBe(true);
});
