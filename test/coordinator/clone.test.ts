import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  BackupCoordinator,
  Lifecycle,
  openLsm,
  RestoreCoordinator,
  restoreSnapshot,
  verifySnapshot,
} from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { readManifest } from '../../src/snapshot/store/manifest-file.ts';
import { extentsOf, mountedImage } from '../support/file-systems.ts';
import { PLAIN_FILES, plainDirectory, readTree, setOldTime, writeTree } from '../support/folders.ts';
import { BUSY } from '../support/lsm-workload.ts';
import { rot } from '../support/rot.ts';

const TABLE = 'deep/er/b.bin';
const holdTable = () => ({ plan: { items: [{ kind: 'immutable' as const, path: TABLE }] }, release() {} });
const isShared = (file: string): boolean => extentsOf(file).includes('shared');

test('files that never change become clones on btrfs, if asked for, and are read back', async (context) => {
  const disk = await mountedImage(context, 'btrfs');
  const dir = join(disk, 'data');
  writeTree(dir, { [TABLE]: Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) & 0xff)) });
  chmodSync(join(dir, TABLE), 0o644);
  setOldTime(join(dir, TABLE));
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files', checkpoint: holdTable });
  const place = ({ location }: { location: string }) => join(location, TABLE);

  const copied = await backup.backup();
  expect([copied.copiedBytes, copied.clonedBytes]).toEqual([300_000, 0]);
  expect(isShared(place(copied))).toBe(false);

  const cloned = await backup.backup({ clone: 'auto', reuse: false });
  expect([cloned.copiedBytes, cloned.clonedBytes]).toEqual([0, 300_000]);
  expect(isShared(place(cloned))).toBe(true);
  const { ino, mode } = statSync(place(cloned));
  expect([ino === statSync(join(dir, TABLE)).ino, mode & 0o777]).toEqual([false, 0o600]);
  expect(cloned.report).toMatchObject({ ok: true, counts: { bytes: 300_000 } });
  const entriesOf = async ({ location }: { location: string }) =>
    (await readManifest(systemEnvironment, location))!.entries;
  const [entry] = await entriesOf(cloned);
  const [whole] = await entriesOf(copied);
  expect(entry).toEqual({ ...whole, cloned: true });
  expect((await verifySnapshot(cloned.location)).ok).toBe(true);

  // Shared with the last snapshot it is a clone still; and whoever wants a copy does not get the clone.
  const again = await backup.backup({ clone: 'auto' });
  expect([again.reusedBytes, (await entriesOf(again))[0]?.cloned]).toEqual([300_000, true]);
  const own = await backup.backup();
  expect([own.copiedBytes, own.reusedBytes, isShared(place(own))]).toEqual([300_000, 0, false]);

  // Writing into the one does not change the other.
  const before = readTree(cloned.location, []);
  const bytes = readFileSync(join(dir, TABLE)).fill(1);
  writeTree(dir, { [TABLE]: bytes });
  expect(readTree(cloned.location, [])).toEqual(before);
});

test('a database under way and a probe work on clones', async (context) => {
  const disk = await mountedImage(context, 'btrfs');
  const dir = join(disk, 'data');
  const database = await openLsm(dir, BUSY);
  await database.put('a', Buffer.alloc(50_000, 'x'));
  await database.checkpoint();
  await database.put('b', 'in the log');
  const backup = new BackupCoordinator({ dataDir: dir, checkpoint: () => database.hold() });
  const probe = async (folder: string) => {
    const clone = await openLsm(folder, BUSY);
    expect((await clone.get('b'))?.toString()).toBe('in the log');
    await clone.put('c', 'written by the probe');
    await clone.close();
  };
  const taken = await backup.backup({ clone: 'auto', probe });
  await database.close();
  expect(taken.clonedBytes).toBeGreaterThan(40_000);
  expect(taken.copiedBytes).toBeGreaterThan(0);
  expect((await verifySnapshot(taken.location)).ok).toBe(true);
});

test('a restore works on clones too, elsewhere and in place, and each copy is proven', async (context) => {
  const disk = await mountedImage(context, 'btrfs');
  const dir = join(disk, 'data');
  writeTree(dir, { ...PLAIN_FILES, [TABLE]: randomBytes(300_000) });
  const { location, totalBytes } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  const state = readTree(dir);
  writeTree(dir, { 'a.txt': 'changed' });
  const into = join(disk, 'new');
  const elsewhere = await restoreSnapshot(location, { into, clone: 'auto' });
  expect([elsewhere.clonedBytes, elsewhere.report.ok]).toEqual([totalBytes, true]);
  expect(readTree(into, ['snapshot.manifest'])).toEqual(state);
  expect(isShared(join(into, TABLE))).toBe(true);
  const restore = new RestoreCoordinator({ dataDir: dir, engine: 'files' });
  expect((await restore.restore({ clone: 'auto' })).clonedBytes).toBe(totalBytes);
  expect(readTree(dir)).toEqual(state);
  expect((await restore.restore()).clonedBytes).toBe(0);
  // The snapshot is another file, and stays what it was.
  writeTree(dir, { [TABLE]: 'overwritten' });
  expect((await verifySnapshot(location)).ok).toBe(true);
  // Damage of the snapshot is found in the clone.
  rot(join(location, TABLE), 4711);
  const refused = { code: 'RESTORE_INTEGRITY_MISMATCH' };
  await expect(restore.restore({ clone: 'auto' })).rejects.toMatchObject(refused);
  await expect(restoreSnapshot(location, { into: `${into}2`, clone: 'auto' })).rejects.toMatchObject(refused);
  expect(existsSync(`${into}2`)).toBe(false);
});

test('where there are no clones, one attempt is made and everything is copied', async () => {
  const dir = await plainDirectory();
  const items = [TABLE, 'a.txt', 'zeros.bin'].map((path) => ({ kind: 'immutable' as const, path }));
  for (const code of ['EOPNOTSUPP', 'EXDEV', 'EINVAL']) {
    let attempts = 0;
    const fs = {
      ...systemEnvironment.fs,
      async clone(path: string): Promise<void> {
        attempts++;
        throw Object.assign(new Error(`${code}: no clones`), { code, path });
      },
    };
    const lifecycle = new Lifecycle({ dataDir: dir, environment: { ...systemEnvironment, fs } });
    const checkpoint = () => ({ plan: { items }, release() {} });
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files', lifecycle, checkpoint });
    const taken = await backup.backup({ clone: 'auto', reuse: false });
    // Long runs of zeros are no bytes that were copied.
    const copied = taken.totalBytes - statSync(join(dir, 'zeros.bin')).size;
    expect([attempts, taken.clonedBytes, taken.copiedBytes >= copied]).toEqual([1, 0, true]);
    await backup.backup({ reuse: false });
    expect(attempts).toBe(1);
  }
});

test('a clone that fails for another reason fails the snapshot', async () => {
  const dir = await plainDirectory();
  const fs = {
    ...systemEnvironment.fs,
    async clone(path: string): Promise<void> {
      throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO', path });
    },
  };
  const lifecycle = new Lifecycle({ dataDir: dir, environment: { ...systemEnvironment, fs } });
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files', lifecycle, checkpoint: holdTable });
  await expect(backup.backup({ clone: 'auto' })).rejects.toMatchObject({ code: 'IO_ERROR' });
  await expect(backup.backup({ clone: 'always' as never })).rejects.toThrow(
    'clone must be one of auto, never',
  );
});
