import { describe, expect, it } from 'vitest';
import { lsmEngine } from '../../src/engine/lsm/index.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { crc32 } from '../../src/format/crc32.ts';
import type { TableEntry } from '../../src/format/lsm/table-block.ts';
import { buildTable, entry, resealBlock, resealTable } from '../support/lsm-table.ts';
import { MemoryFile } from '../support/memory-file.ts';

const PATH = 'sst/1.sst';

const check = (file: MemoryFile, live = false, level: 'open' | 'full' = 'full') =>
  lsmEngine.checkFile(file, { path: PATH, level, live }, new RunControl());

async function codesOf(bytes: Buffer): Promise<string[]> {
  const { findings, crc32: sum } = await check(new MemoryFile(bytes));
  expect(sum).toBe(crc32(bytes));
  return findings.map(({ code }) => code);
}

const many = (blocks: number) =>
  Array.from({ length: blocks }, (_, i) => [entry(`key${String(i).padStart(5, '0')}`, i + 1)]);

describe('the entries of a table', () => {
  it('hold with several versions of a key, across blocks too, tombstones and empty keys', async () => {
    const table = buildTable([
      [entry('', 3), entry('a', 9), entry('a', 8, undefined)],
      [entry('a', 7), entry('a\0b', 2), entry('b', 4, '')],
    ]);
    expect(await codesOf(table)).toEqual([]);
    const { counts, facts } = await check(new MemoryFile(table));
    expect(counts).toEqual({ tables: 1, blocks: 2, entries: 6 });
    expect(facts).toEqual({ kind: 'table', id: '1', entries: '6', minTimestamp: '2', maxTimestamp: '9' });
  });

  it.each([
    ['a key below the one before', [[entry('b', 1), entry('a', 2), entry('c', 3)]]],
    ['an older version first', [[entry('a', 1), entry('a', 2)]]],
    ['the same entry twice', [[entry('a', 1), entry('a', 1)]]],
    ['an older version first, in the next block', [[entry('a', 1)], [entry('a', 2)]]],
  ])('are out of order: %s', async (_what, blocks) => {
    expect(await codesOf(buildTable(blocks))).toEqual(['LSM_TABLE_ORDER']);
  });

  it('are compared by the whole key across blocks, however long it is', async () => {
    // Each key longer than all before, and in two blocks.
    const versions = (...times: [number, number]) =>
      [255, 256, 257, 600, 5000].flatMap((bytes) =>
        times.map((time) => [entry(`${'x'.repeat(bytes)}a`, time)]),
      );
    expect(await codesOf(buildTable(versions(2, 1)))).toEqual([]);
    expect(await codesOf(buildTable(versions(1, 2)))).toEqual(Array(5).fill('LSM_TABLE_ORDER'));
  });

  it('of one key are ordered by all 64 bits of timestamp and sequence, across blocks too', async () => {
    const version = (timestamp: bigint, sequence: bigint): TableEntry => ({
      ...entry('a', 1),
      timestamp,
      sequence,
    });
    const above32 = (1n << 32n) | 1n;
    for (const [older, newer] of [
      [version(1n, 5n), version(1n, above32)],
      [version(5n, 9n), version(above32, 1n)],
    ] as const) {
      for (const blocks of [[[newer, older]], [[newer], [older]]])
        expect(await codesOf(buildTable(blocks))).toEqual([]);
      for (const blocks of [[[older, newer]], [[older], [newer]], [[newer, newer]]])
        expect(await codesOf(buildTable(blocks))).toEqual(['LSM_TABLE_ORDER']);
    }
  });

  it('are looked into where only the checksum of the block is right', async () => {
    const blocks = [[entry('a', 1), entry('b', 2)]];
    const edited = (at: number, value: number) =>
      codesOf(
        buildTable(blocks, {
          editBlock: (block) => {
            block[at] = value;
            return block;
          },
        }),
      );
    expect(await edited(0, 3)).toEqual(['LSM_TABLE_BLOCK']); // more entries than there are
    expect(await edited(0, 1)).toEqual(['LSM_TABLE_BLOCK']); // fewer
    expect(await edited(4, 9)).toEqual(['LSM_TABLE_BLOCK']); // another length
    expect(await edited(8, 7)).toEqual(['LSM_TABLE_BLOCK']); // an unknown type
    expect(await edited(8, 1)).toEqual(['LSM_TABLE_BLOCK']); // a tombstone with a value
    expect(await edited(8 + 20, 0xff)).toEqual(['LSM_TABLE_BLOCK']); // a key without end
    expect(await edited(8 + 24, 0xff)).toEqual(['LSM_TABLE_BLOCK']); // a value without end
    expect(await edited(8 + 1, 99)).toEqual(['LSM_TABLE_TIMESTAMPS', 'LSM_TABLE_TIMESTAMPS']);
  });

  it('are read with blocks larger than the read buffer', async () => {
    const large = 'x'.repeat(3 * 1024 * 1024);
    const table = buildTable([
      [entry('a', 1)],
      [entry('b', 2, large)],
      [entry('c', 3)],
      [entry('d', 4, large)],
    ]);
    const file = new MemoryFile(table);
    const { findings, counts, sizeBytes } = await check(file);
    expect(findings).toEqual([]);
    expect(counts.entries).toBe(4);
    expect(sizeBytes).toBe(table.byteLength);
    // Header, footer, index and filter are read once more, and nothing else.
    expect(file.bytesRead).toBeLessThan(table.byteLength + 1024);
  });

  it('are not looked at by the level open, which sees the checksum over all', async () => {
    const table = buildTable(many(3));
    table[50]! ^= 1;
    const { findings } = await check(new MemoryFile(table), false, 'open');
    expect(findings.map(({ code }) => code)).toEqual(['LSM_TABLE_CHECKSUM']);
  });
});

describe('findings', () => {
  it('name up to a hundred damaged blocks, then only their number', async () => {
    const table = buildTable(many(150));
    const size = (table.readUInt32LE(table.byteLength - 48) - 32) / 150;
    for (let i = 0; i < 150; i++) table[32 + i * size + 10]! ^= 1;
    const { findings, counts } = await check(new MemoryFile(resealTable(table)));
    expect(findings).toHaveLength(101);
    expect(findings[0]).toMatchObject({ code: 'LSM_TABLE_BLOCK_CHECKSUM', offset: 32, path: PATH });
    expect(findings[99]).toMatchObject({ code: 'LSM_TABLE_BLOCK_CHECKSUM', offset: 32 + 99 * size });
    expect(findings[100]).toMatchObject({ code: 'LSM_MORE', message: expect.stringContaining('50 further') });
    expect(counts).toEqual({ tables: 1, blocks: 150, entries: 0 });
  });

  it('do not make an index of overlapping blocks cost more than the file', async () => {
    const table = buildTable(many(500), {
      editIndex: (index) => index.map((block) => ({ ...block, offset: 32, sizeBytes: 20_000 })),
    });
    const file = new MemoryFile(table);
    const { findings } = await check(file);
    expect(
      findings.every(({ code }) =>
        ['LSM_TABLE_INDEX', 'LSM_TABLE_BLOCK', 'LSM_MORE', 'LSM_TABLE_BLOCK_CHECKSUM'].includes(code),
      ),
    ).toBe(true);
    expect(findings.length).toBeGreaterThan(100);
    expect(file.bytesRead).toBeLessThan(2 * table.byteLength);
  });

  it('in a live directory count only once the owner has stopped writing', async () => {
    const table = buildTable(many(20));
    const file = new MemoryFile(table.subarray(0, 60));
    file.onRead = () => {
      if (file.reads !== 2) return; // while the first look goes on
      file.bytes = table;
      file.mtimeNs++;
    };
    expect((await check(file, true)).findings).toEqual([]);
    expect((await check(new MemoryFile(table.subarray(0, 60)), true)).findings).toHaveLength(1);
  });
});

describe('compressed blocks', () => {
  const blocks = [[entry('a', 1), entry('b', 2, 'some value')], [entry('c', 3)]];

  /** LZ4 in its simplest form: nothing but literals. */
  function toLz4(block: Buffer): Buffer {
    const payload = block.subarray(8, -4);
    const lengths = [0xf0];
    let rest = payload.byteLength - 15;
    for (; rest >= 255; rest -= 255) lengths.push(255);
    lengths.push(rest);
    const size = Buffer.alloc(4);
    size.writeUInt32LE(payload.byteLength);
    return Buffer.concat([block.subarray(0, 8), size, Buffer.from(lengths), payload, Buffer.alloc(4)]);
  }

  it('of LZ4 are read', async () => {
    const table = buildTable(blocks, { compression: 1, editBlock: toLz4 });
    expect(await codesOf(table)).toEqual([]);
    expect((await check(new MemoryFile(table))).counts).toEqual({ tables: 1, blocks: 2, entries: 3 });
  });

  it('of LZ4 that are damaged are named', async () => {
    const broken = (edit: (block: Buffer) => void) =>
      codesOf(
        buildTable(blocks, {
          compression: 1,
          editBlock: (plain, i) => {
            const block = toLz4(plain);
            if (i === 0) edit(block);
            return block;
          },
        }),
      );
    expect(await broken((block) => block.writeUInt32LE(0xffffffff, 8))).toEqual(['LSM_TABLE_BLOCK']);
    expect(
      await broken((block) => {
        block.writeUInt32LE(0xffffffff, 4);
        block.writeUInt32LE(0xffffffff, 8);
      }),
    ).toEqual(['LSM_TABLE_BLOCK']);
    expect(await broken((block) => block.writeUInt8(0x10, 12))).toEqual(['LSM_TABLE_BLOCK']);
    const table = buildTable(blocks, { compression: 1, editBlock: toLz4 });
    table[45]! ^= 1;
    expect(await codesOf(resealTable(table))).toEqual(['LSM_TABLE_BLOCK_CHECKSUM']);
  });

  it('of Zstd are read where Node can, else their checksums are', async () => {
    const zlib = await import('node:zlib');
    const compress = (zlib as { zstdCompressSync?: (bytes: Uint8Array) => Buffer }).zstdCompressSync;
    const toZstd = (block: Buffer) =>
      resealBlock(
        Buffer.concat([
          block.subarray(0, 8),
          compress?.(block.subarray(8, -4)) ?? Buffer.from('no such thing here'),
          Buffer.alloc(4),
        ]),
      );
    const table = buildTable(blocks, { compression: 2, editBlock: toZstd });
    expect(await codesOf(table)).toEqual(compress === undefined ? ['LSM_TABLE_UNREAD'] : []);
    table[45]! ^= 1;
    expect(await codesOf(resealTable(table))).toContain('LSM_TABLE_BLOCK_CHECKSUM');
  });
});
