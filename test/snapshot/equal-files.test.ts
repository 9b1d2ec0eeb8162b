import { mkdirSync, readFileSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, pruneSnapshots, verifySnapshot } from '../../src/index.ts';
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
  expect([second.copied_bytes, second.reused_bytes]).toEqual([0, BYTES]);
  expect(inodes(second.location)).toEqual(inodes(first.location));
  expect(statSync(join(dir, 'large')).nlink).toBe(1); // with the snapshot, never with the source
  await pruneSnapshots(dir, { keep: 1 });
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
  expect([second.copied_bytes, second.reused_bytes]).toEqual([3 * MiB + 17, 2 * MiB]);
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
  expect([second.copied_bytes, second.reused_bytes]).toEqual([2 * MiB, bytes.length]);
  expect(statSync(join(second.location, 'large')).ino).toBe(inodes(first.location)[0]);
  expect((await verifySnapshot(second.location)).ok).toBe(true);
});

test('a copy that rotted is not shared: it is not what the source is', async () => {
  const { backup, first } = await threeFiles();
  rot(join(first.location, 'large'), 2 * MiB + 5);
  const second = await backup.backup();
  expect([second.copied_bytes, second.reused_bytes]).toEqual([3 * MiB + 17, 2 * MiB]);
  expect((await verifySnapshot(second.location)).ok).toBe(true);
  expect((await verifySnapshot(first.location)).verdict).toBe('copy-damaged');
});

test('`reuse: false` copies all, and a snapshot that nobody has proven lends nothing', async () => {
  const { backup, first } = await threeFiles();
  expect((await backup.backup({ reuse: false })).copied_bytes).toBe(BYTES);
  const newest = await backup.backup({ level: 'files' });
  const touched = join(newest.location, 'sub/even');
  utimesSync(touched, new Date(0), new Date(0)); // somebody wrote there since
  const next = await backup.backup();
  expect(next.copied_bytes).toBe(2 * MiB);
  expect(statSync(join(next.location, 'large')).ino).not.toBe(inodes(first.location)[0]);
});
