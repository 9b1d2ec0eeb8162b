import { execFileSync } from 'node:child_process';
import { ftruncateSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, restoreSnapshot, verifySnapshot } from '../../src/index.ts';
import { needsPrograms } from '../support/needs.ts';
import { diskFolder } from '../support/temp.ts';

const MiB = 1024 * 1024;
const SIZE = 640 * MiB + 12_345;
/** Where the file has data; all else is hole. Not one of them lies on a page's edge. */
const PLACES = [0, 100 * MiB + 1, SIZE - 700];
const WORDS = Buffer.from('what was written');

/** Nothing is synced: what is read past the page cache must have all the same what others have there. */
function writeSparse(path: string): void {
  const fd = openSync(path, 'w');
  for (const at of PLACES) writeSync(fd, WORDS, 0, WORDS.length, at);
  ftruncateSync(fd, SIZE);
}

function dataOf(path: string): string[] {
  const fd = openSync(path, 'r');
  return PLACES.map((at) => {
    const bytes = Buffer.alloc(WORDS.length);
    readSync(fd, bytes, 0, bytes.length, at);
    return bytes.toString();
  });
}

test('a hole costs no disk, no memory and none of the rate limit, and stays a hole in the copy and in what is restored', async (context) => {
  needsPrograms(context, 'fincore');
  const dir = await diskFolder();
  const source = join(dir, 'sparse');
  writeSparse(source);
  const limits = { maxBytesPerSecond: 8 * MiB }; // with its holes the file would take five minutes
  const { location, copiedBytes, totalBytes } = await new BackupCoordinator({
    dataDir: dir,
    engine: 'files',
  }).backup(limits);
  const copy = join(location, 'sparse');
  const restored = join(await diskFolder(), 'restored');
  expect(totalBytes).toBe(SIZE);
  expect(copiedBytes).toBeLessThanOrEqual(PLACES.length * 64 * 1024);
  expect((await verifySnapshot(location, limits)).ok).toBe(true);
  await restoreSnapshot(location, { into: restored, ...limits });

  for (const path of [source, copy, join(restored, 'sparse')]) {
    expect(dataOf(path)).toEqual(PLACES.map(() => WORDS.toString()));
    expect(statSync(path)).toMatchObject({ size: SIZE });
    expect(statSync(path).blocks * 512).toBeLessThanOrEqual(MiB);
    const cached = execFileSync('fincore', ['--bytes', '--noheadings', '--output', 'res', path]);
    expect(Number(cached)).toBeLessThan(16 * MiB);
  }
});

test('a byte that changes in a hole of a snapshot is found', async () => {
  const dir = await diskFolder();
  writeSparse(join(dir, 'sparse'));
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  writeSync(openSync(join(location, 'sparse'), 'r+'), Buffer.of(1), 0, 1, 300 * MiB);
  const { ok, findings } = await verifySnapshot(location);
  expect([ok, findings.map(({ code }) => code)]).toEqual([false, ['FILE_CRC']]);
});
