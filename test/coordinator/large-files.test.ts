import { randomBytes } from 'node:crypto';
import { open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, restoreSnapshot, verifySnapshot } from '../../src/index.ts';
import { temporaryFolder } from '../support/temp.ts';

const MB = 1024 * 1024;
// More than two parts of the proof and four ranges of a copy, and no multiple of anything.
const SIZE = 150 * MB + 12_345;

/** Bytes across every border between ranges and parts, holes elsewhere. */
async function writeLargeFile(path: string): Promise<Buffer> {
  const content = Buffer.alloc(SIZE);
  for (let at = 0; at < SIZE; at += Math.floor(SIZE / 5)) {
    randomBytes(2 * MB + 7).copy(content, Math.max(0, at - MB));
  }
  for (let at = 32 * MB; at < SIZE; at += 32 * MB) randomBytes(MB + 1).copy(content, at - MB / 2);
  const file = await open(path, 'w');
  for (let at = 0; at < SIZE; at += MB) {
    const piece = content.subarray(at, at + MB);
    if (!piece.equals(Buffer.alloc(piece.length))) await file.write(piece, 0, piece.length, at);
  }
  await file.truncate(SIZE);
  await file.close();
  return content;
}

test('a file that several threads copy and read back is the same, holes and all, and one changed byte anywhere is found (invariant 10)', async () => {
  const dir = await temporaryFolder();
  const content = await writeLargeFile(join(dir, 'large'));
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();

  const copy = join(location, 'large');
  expect((await readFile(copy)).equals(content)).toBe(true);
  expect((await stat(copy)).blocks).toBeLessThanOrEqual((await stat(join(dir, 'large'))).blocks + 64);
  const into = join(await temporaryFolder(), 'restored');
  await restoreSnapshot(location, { into });
  expect((await readFile(join(into, 'large'))).equals(content)).toBe(true);

  for (const at of [0, 50 * MB, 100 * MB + 1, SIZE - 1]) {
    const file = await open(copy, 'r+');
    await file.write(Buffer.of(content[at]! ^ 1), 0, 1, at);
    const report = await verifySnapshot(location);
    expect(report.findings).toMatchObject([{ path: 'large', code: 'FILE_CRC', verdict: 'copy-damaged' }]);
    await file.write(Buffer.of(content[at]!), 0, 1, at);
    await file.close();
  }
  expect(await verifySnapshot(location)).toMatchObject({ ok: true, verdict: 'faithful' });
});

test('a snapshot whose large file has grown behind its end is not restored', async () => {
  const dir = await temporaryFolder();
  await writeLargeFile(join(dir, 'large'));
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  const file = await open(join(location, 'large'), 'a');
  await file.write('more');
  await file.close();
  const restore = restoreSnapshot(location, { into: join(await temporaryFolder(), 'restored') });
  await expect(restore).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH' });
});
