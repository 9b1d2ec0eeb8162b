import {
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { filesEngine } from '../../src/engine/files/index.ts';
import { BackupCoordinator, type CapturePlan, Snapshots, verifySnapshot } from '../../src/index.ts';
import { rot } from '../support/rot.ts';
import { temporaryFolder } from '../support/temp.ts';

// The engine `files` knows of no file that it never changes: what a snapshot shares with the one before was compared with it.

const MiB = 1024 * 1024;

async function threeFiles() {
  const dir = await temporaryFolder();
  mkdirSync(join(dir, 'sub'));
  const content = (seed: number, size: number) => Buffer.alloc(size, `content ${seed} `);
  writeFileSync(join(dir, 'large'), content(1, 3 * MiB + 17)); // no multiple of what is read at once
  writeFileSync(join(dir, 'sub/even'), content(2, 2 * MiB));
  writeFileSync(join(dir, 'empty'), '');
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  return { dir, backup, first: await backup.backup() };
}

const BYTES = 5 * MiB + 17;

/** Where each file of a snapshot has its bytes. */
const inodes = (location: string) =>
  ['large', 'sub/even', 'empty'].map((path) => statSync(join(location, path)).ino);

test('what is the same is shared with the snapshot before, and stands when that one goes', async () => {
  const { dir, backup, first } = await threeFiles();
  const second = await backup.backup();
  expect([second.copiedBytes, second.reusedBytes]).toEqual([0, BYTES]);
  expect(inodes(second.location)).toEqual(inodes(first.location));
  expect(statSync(join(dir, 'large')).nlink).toBe(1); // with the snapshot, never with the source
  await new Snapshots({ dataDir: dir }).prune({ keep: 1 });
  expect(await verifySnapshot(second.location)).toMatchObject({ ok: true, counts: { bytes: BYTES } });
});

test.each([
  ['the first byte', 0],
  ['a byte in a later piece', 2 * MiB + 3],
  ['the last byte', 3 * MiB + 16],
])('%s that changed is seen, whatever the times say', async (_, at) => {
  const { dir, backup, first } = await threeFiles();
  const path = join(dir, 'large');
  const { atime, mtime } = statSync(path);
  const bytes = readFileSync(path);
  bytes[at]! ^= 1;
  writeFileSync(path, bytes);
  utimesSync(path, atime, mtime);
  const second = await backup.backup();
  expect([second.copiedBytes, second.reusedBytes]).toEqual([3 * MiB + 17, 2 * MiB]);
  expect(readFileSync(join(second.location, 'large')).equals(bytes)).toBe(true);
  expect(readFileSync(join(first.location, 'large'))[at]).toBe(bytes[at]! ^ 1);
  expect((await verifySnapshot(first.location)).ok).toBe(true);
});

test('a file that was replaced by an equal one, or moved, is found by its bytes and its place', async () => {
  const { dir, backup, first } = await threeFiles();
  const bytes = readFileSync(join(dir, 'large'));
  writeFileSync(join(dir, 'other'), bytes);
  renameSync(join(dir, 'other'), join(dir, 'large'));
  renameSync(join(dir, 'sub/even'), join(dir, 'sub/odd'));
  const second = await backup.backup();
  expect([second.copiedBytes, second.reusedBytes]).toEqual([2 * MiB, bytes.length]);
  expect(statSync(join(second.location, 'large')).ino).toBe(inodes(first.location)[0]);
  expect((await verifySnapshot(second.location)).ok).toBe(true);
});

test('a copy that rotted is not shared: it is not what the source is', async () => {
  const { backup, first } = await threeFiles();
  rot(join(first.location, 'large'), 2 * MiB + 5);
  const second = await backup.backup();
  expect([second.copiedBytes, second.reusedBytes]).toEqual([3 * MiB + 17, 2 * MiB]);
  expect((await verifySnapshot(second.location)).ok).toBe(true);
  expect((await verifySnapshot(first.location)).verdict).toBe('copy-damaged');
});

test('`reuse: false` copies all, and a snapshot that nobody has proven lends nothing', async () => {
  const { backup, first } = await threeFiles();
  expect((await backup.backup({ reuse: false })).copiedBytes).toBe(BYTES);
  const newest = await backup.backup({ level: 'files' });
  const touched = join(newest.location, 'sub/even');
  utimesSync(touched, new Date(0), new Date(0)); // somebody wrote there since
  const next = await backup.backup();
  expect(next.copiedBytes).toBe(2 * MiB);
  expect(statSync(join(next.location, 'large')).ino).not.toBe(inodes(first.location)[0]);
});

test.each([
  ['gone', () => {}],
  ['a link', (file: string) => symlinkSync('/etc/hostname', file)],
  ['a folder', (file: string) => mkdirSync(file)],
  ['short', (file: string) => writeFileSync(file, 'short')],
])('what is %s in the snapshot before is no obstacle: it is copied', async (_, spoil) => {
  const { backup, first } = await threeFiles();
  rmSync(join(first.location, 'sub/even'));
  spoil(join(first.location, 'sub/even'));
  const second = await backup.backup();
  expect([second.copiedBytes, second.reusedBytes]).toEqual([2 * MiB, 3 * MiB + 17]);
  expect((await verifySnapshot(second.location)).ok).toBe(true);
});

test('what the source itself shares with the snapshot before is copied', async () => {
  const { dir, backup, first } = await threeFiles();
  rmSync(join(dir, 'large'));
  linkSync(join(first.location, 'large'), join(dir, 'large'));
  const second = await backup.backup();
  expect([second.copiedBytes, second.reusedBytes]).toEqual([3 * MiB + 17, 2 * MiB]);
  expect(statSync(join(dir, 'large')).ino).not.toBe(inodes(second.location)[0]);
});

test('an image that is not its file is not compared with it', async () => {
  const dir = await temporaryFolder();
  writeFileSync(join(dir, 'ten'), '0123456789');
  const image = { kind: 'image' as const, path: 'ten', sizeBytes: 10 };
  const plans: CapturePlan['items'] = [
    { ...image, extents: [{ offset: 0, length: 10 }], patches: [] },
    { ...image, extents: [{ offset: 0, length: 10 }], patches: [] },
    { ...image, extents: [{ offset: 0, length: 10 }], patches: [{ offset: 2, bytes: Buffer.from('XY') }] },
    { ...image, extents: [{ offset: 0, length: 5 }], patches: [] },
  ];
  const bytes: string[] = [];
  const reused: number[] = [];
  for (const item of plans) {
    const checkpoint = () => ({ plan: { items: [item] }, release() {} });
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files', checkpoint });
    const { location, reusedBytes } = await backup.backup();
    bytes.push(readFileSync(join(location, 'ten'), 'latin1'));
    reused.push(reusedBytes);
  }
  expect(bytes).toEqual(['0123456789', '0123456789', '01XY456789', '01234\0\0\0\0\0']);
  expect(reused).toEqual([0, 10, 0, 0]);
});

test('a plan that was not confirmed counts for nothing', async () => {
  const { dir, first } = await threeFiles();
  let rounds = 0;
  const engine = {
    ...filesEngine,
    plan: async (context: Parameters<typeof filesEngine.plan>[0]) => {
      const plan = await filesEngine.plan(context);
      return { ...plan, confirm: async () => (++rounds < 3 ? 'not yet' : undefined) };
    },
  };
  const result = await new BackupCoordinator({ dataDir: dir, engine }).backup({ reprove: true });
  expect([rounds, result.reusedBytes, result.reprovenBytes, result.totalBytes]).toEqual([
    3,
    BYTES,
    BYTES,
    BYTES,
  ]);
  expect(inodes(result.location)).toEqual(inodes(first.location));
});

test('a file with large holes is copied: its holes are then read once', async () => {
  const dir = await temporaryFolder();
  writeFileSync(join(dir, 'sparse'), 'begin');
  truncateSync(join(dir, 'sparse'), 8 * MiB);
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  await backup.backup();
  const second = await backup.backup();
  expect([second.reusedBytes, statSync(join(second.location, 'sparse')).blocks < 1000]).toEqual([0, true]);
});
