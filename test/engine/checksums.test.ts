import { randomFillSync } from 'node:crypto';
import { expect, test } from 'vitest';
import type { EngineName } from '../../src/engine/engine.ts';
import { engineByName } from '../../src/engine/index.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { crc32InScript } from '../../src/format/crc32.ts';
import { crc32cInScript } from '../../src/format/crc32c.ts';
import { type Craft, craftTable, entry } from '../support/leveldb-table.ts';
import { buildTable, entry as lsmEntry } from '../support/lsm-table.ts';
import { MemoryFile } from '../support/memory-file.ts';

// An engine may put a file's checksums together from those of its parts. Whatever stands in the file, they are those of its bytes.

async function expectSums(engine: EngineName, path: string, bytes: Buffer): Promise<void> {
  for (const level of ['files', 'open', 'full'] as const) {
    const request = { path, level, live: false };
    const check = await engineByName(engine).checkFile(new MemoryFile(bytes), request, new RunControl());
    const sums = { sizeBytes: bytes.length, crc32: crc32InScript(bytes), crc32c: crc32cInScript(bytes) };
    expect(check, `${path} of ${bytes.length} bytes at ${level}`).toMatchObject(sums);
  }
}

const random = (length: number): Buffer => randomFillSync(Buffer.alloc(length));

/** Blocks of 3 KB, so many that they cross the border between two reads. */
const large: Craft = {
  blocks: Array.from({ length: 800 }, (_, i) => [
    entry(`key${String(i).padStart(6, '0')}`, i + 1, 1, random(1500).toString('hex')),
  ]),
};

test('of a LevelDB table: honest, with gaps, overlaps, handles beyond the file, cut, flipped, or no table at all', async () => {
  const honest = craftTable(large);
  expect(honest.length).toBeGreaterThan(2 * 1024 * 1024);
  const crafts: Craft[] = [
    large,
    { ...large, gap: 1_100_000 },
    {
      ...large,
      indexHandle: (handle, i) => (i % 7 === 3 ? { ...handle, offset: handle.offset + 5 } : handle),
    },
    {
      ...large,
      indexHandle: (handle, i) => ({ ...handle, sizeBytes: i === 5 ? 2 ** 40 : handle.sizeBytes }),
    },
    { ...large, indexHandle: (handle, i) => (i === 400 ? { offset: 0, sizeBytes: 1_500_000 } : handle) },
  ];
  for (const craft of crafts) await expectSums('leveldb', '000005.ldb', craftTable(craft));
  for (const cut of [0, 1, 47, 48, 1000, honest.length - 1]) {
    await expectSums('leveldb', '000005.ldb', honest.subarray(0, cut));
  }
  for (const at of [10, 1_048_570, honest.length - 60, honest.length - 20]) {
    const flipped = Buffer.from(honest);
    flipped[at]! ^= 4;
    await expectSums('leveldb', '000005.ldb', flipped);
  }
});

test('of a table of our own: honest, cut, flipped, with an index that lies', async () => {
  const blocks = Array.from({ length: 800 }, (_, i) => [
    lsmEntry(`key${String(i).padStart(6, '0')}`, i + 1, random(1500).toString('hex')),
  ]);
  const honest = buildTable(blocks);
  const lies = buildTable(blocks, {
    editIndex: (index) => index.map((one, i) => (i % 5 === 2 ? { ...one, offset: one.offset + 9 } : one)),
  });
  for (const bytes of [honest, lies]) await expectSums('lsm', 'sst/1.sst', bytes);
  for (const cut of [1, 1000, 1_048_576, honest.length - 1]) {
    await expectSums('lsm', 'sst/1.sst', honest.subarray(0, cut));
  }
  for (const at of [3, 40, 1_048_570, honest.length - 60, honest.length - 2]) {
    const flipped = Buffer.from(honest);
    flipped[at]! ^= 4;
    await expectSums('lsm', 'sst/1.sst', flipped);
  }
});

test('of anything under the name of any file of any engine', async () => {
  const contents = [random(0), random(1), random(3_000_001), Buffer.alloc(2_500_000)];
  for (const bytes of contents) {
    for (const path of ['CURRENT', 'MANIFEST-000002', '000003.log', '000005.ldb', 'LOG']) {
      await expectSums('leveldb', path, bytes);
    }
    for (const path of ['lsm.wal', 'checkpoint.meta', 'sst/1.sst', 'other']) {
      await expectSums('lsm', path, bytes);
    }
    await expectSums('files', 'any', bytes);
  }
});
