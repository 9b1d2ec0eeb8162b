import { closeSync, fsyncSync, ftruncateSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { expect, type TestContext, test } from 'vitest';
import { lsmEngine } from '../../src/engine/lsm/index.ts';
import { blockingFileSystem } from '../../src/env/blocking-file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { segmentHeaderOffset, DEFAULT_GEOMETRY as USUAL } from '../../src/format/lsm/wal.ts';
import { BackupCoordinator, openLsm } from '../../src/index.ts';
import { mountedImage, mountInMemory } from '../support/file-systems.ts';
import { diskFolder, temporaryFolder } from '../support/temp.ts';
import { isLong } from '../support/tier.ts';

const BLOCK = 4096;

/** The log of a snapshot: half a gigabyte with a few hundred kilobytes in it. */
async function copiedLog(disk: string): Promise<string> {
  const dir = join(disk, 'data');
  const database = await openLsm(dir);
  for (let i = 0; i < 100; i++) await database.put(`key${i}`, Buffer.alloc(3000, i + 1));
  const coordinator = new BackupCoordinator({ dataDir: dir, checkpoint: () => database.hold() });
  const { location } = await coordinator.backup();
  await database.close();
  return join(location, 'lsm.wal');
}

function sumOf(path: string): number {
  const buffer = Buffer.alloc(1 << 20);
  const fd = openSync(path, 'r');
  let sum = 0;
  for (let at = 0, count = 1; count > 0; at += count) {
    count = readSync(fd, buffer, 0, buffer.length, at);
    sum = crc32(buffer.subarray(0, count), sum);
  }
  closeSync(fd);
  return sum;
}

function copySparsely(from: string, to: string): void {
  const [source, target] = [openSync(from, 'r'), openSync(to, 'w')];
  const { size } = statSync(from);
  ftruncateSync(target, size);
  const [buffer, zeros] = [Buffer.alloc(1 << 20), Buffer.alloc(BLOCK)];
  for (let start = 0; start < size; start += buffer.length) {
    const bytes = buffer.subarray(0, readSync(source, buffer, 0, buffer.length, start));
    for (let at = 0; at < bytes.length; at += BLOCK) {
      const block = bytes.subarray(at, at + BLOCK);
      if (!block.equals(zeros)) writeSync(target, block, 0, block.length, start + at);
    }
  }
  closeSync(source);
  closeSync(target);
}

async function check(
  path: string,
  live = false,
): Promise<{ sum: number; bytesRead: number; findings: number }> {
  const inner = await blockingFileSystem.open(path, 'read');
  let bytesRead = 0;
  const file = {
    ...inner,
    read: async (target: Uint8Array, position: number) => {
      const count = await inner.read(target, position);
      bytesRead += count;
      return count;
    },
  };
  const request = { path: 'lsm.wal', level: 'full', live } as const;
  const result = await lsmEngine.checkFile(file, request, new RunControl());
  await inner.close();
  return { sum: result.crc32, bytesRead, findings: result.findings.length };
}

/** Whether the file system tells what a file occupies, in blocks of 4 KiB: ext4, XFS and that in memory do. */
async function tellsBlocks(dir: string): Promise<boolean> {
  await writeFile(join(dir, 'probe'), 'x');
  const file = await blockingFileSystem.open(join(dir, 'probe'), 'read');
  const use = await file.blockUse?.();
  await file.close();
  return use?.blockBytes === BLOCK;
}

async function inMemory(context: TestContext): Promise<string> {
  const folder = join(await temporaryFolder(), 'memory');
  mountInMemory(context, folder, 64 * 1024 * 1024);
  return folder;
}

test.for(['disk', 'memory'])(
  'a log that is almost all hole, on %s, is hardly read, and whatever is written into a hole changes its checksum',
  async (where, context) => {
    const folder = where === 'disk' ? await diskFolder() : await inMemory(context);
    const path = await copiedLog((await tellsBlocks(folder)) ? folder : await mountedImage(context, 'ext4'));
    const before = await check(path);
    expect(before).toMatchObject({ sum: sumOf(path), findings: 0 });
    expect(before.bytesRead).toBeLessThan(2 * 1024 * 1024);

    const size = statSync(path).size;
    const fourth = segmentHeaderOffset(USUAL, 4);
    // In the middle of nowhere, in the blocks right beside known ones, one block away from them, and in the last one.
    const places = [300 << 20, fourth + BLOCK, fourth - 100, size - 1];
    if (isLong) places.push(fourth + 2 * BLOCK, fourth - 2 * BLOCK, 1 << 20);
    const fd = openSync(path, 'r+');
    for (const at of places) {
      writeSync(fd, Buffer.of(7), 0, 1, at);
      fsyncSync(fd);
      expect((await check(path)).sum, `a byte at ${at}`).toBe(sumOf(path));
      expect((await check(path)).sum).not.toBe(before.sum);
      writeSync(fd, Buffer.of(0), 0, 1, at); // no hole any more, and zero
      expect((await check(path)).sum).toBe(before.sum);
    }
    closeSync(fd);
  },
);

test('a byte in a hole changes the checksum of a copy that is not on disk yet, whose blocks are not all counted', async () => {
  const path = await copiedLog(await diskFolder());
  const copy = `${path}-copy`;
  copySparsely(path, copy);
  const before = await check(path);
  const fd = openSync(copy, 'r+');
  writeSync(fd, Buffer.of(7), 0, 1, 300 << 20);
  closeSync(fd);
  const { sum } = await check(copy);
  expect(sum).not.toBe(before.sum);
  expect(sum).toBe(sumOf(copy));
});

test('of a live directory the holes are not read, and what is in the log is', async () => {
  const path = await copiedLog(await diskFolder());
  const { bytesRead, findings } = await check(path, true);
  expect(findings).toBe(0);
  expect(bytesRead).toBeGreaterThan(100 * 3000);
  expect(bytesRead).toBeLessThan(4 << 20);
});
