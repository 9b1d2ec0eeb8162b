import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Finding } from '../../src/engine/report.ts';
import { BLOOM_POLICY } from '../../src/format/leveldb/filter.ts';
import { BLOCK_BYTES } from '../../src/format/leveldb/log.ts';
import { encodeHandle } from '../../src/format/leveldb/table.ts';
import type { VersionEdit } from '../../src/format/leveldb/version-edit.ts';
import { prove } from '../support/leveldb.ts';
import {
  encodeBatch,
  encodeBlock,
  encodeInternalKey,
  encodeLog,
  sealBlock,
} from '../support/leveldb-encoders.ts';
import { type Craft, craftTable, entry, resealAs, writeCraftedFolder } from '../support/leveldb-table.ts';
import { temporaryFolder } from '../support/temp.ts';

// What no checksum can tell: each file here is whole, and says something that LevelDB would never have written.

interface Folder {
  readonly table?: Craft;
  readonly edit?: Partial<VersionEdit>;
  readonly log?: Buffer;
}

const HONEST: Craft = {
  blocks: [
    [entry('a', 5), entry('b', 3), entry('b', 2, 0)],
    [entry('c', 4), entry('d', 1)],
  ],
};

async function findingsOf({ table = HONEST, ...rest }: Folder): Promise<readonly Finding[]> {
  const dir = await temporaryFolder();
  await writeCraftedFolder(dir, { table, ...rest });
  return (await prove(dir)).findings;
}

const codesOf = async (folder: Folder): Promise<string[]> =>
  (await findingsOf(folder)).map(({ path, code }) => `${path} ${code}`);

const tableCodes = async (craft: Partial<Craft>): Promise<string[]> => {
  const codes = await codesOf({ table: { ...HONEST, ...craft } });
  return codes.map((line) => line.replace('000004.ldb LEVELDB_', ''));
};

test('a healthy folder has no finding', async () => {
  expect(await codesOf({})).toEqual([]);
  expect(await tableCodes({ filterKeys: null })).toEqual([]);
  expect(await tableCodes({ seal: (content) => sealBlock(content, 'snappy') })).toEqual([]);
});

test('a block that would lie far behind the end of its table is reported at a place within it', async () => {
  const far = { offset: 2 ** 40, sizeBytes: 9 };
  const crafts: Partial<Craft>[] = [
    { indexHandle: (handle, index) => (index === 1 ? far : handle) },
    { meta: [{ key: Buffer.from('elsewhere'), value: encodeHandle(far) }] },
  ];
  for (const craft of crafts) {
    const table = { ...HONEST, ...craft };
    const findings = await findingsOf({ table });
    expect(findings.map(({ code }) => code)).toContain('LEVELDB_TABLE_LAYOUT');
    const { length } = craftTable(table);
    for (const { offset } of findings) expect(offset ?? 0).toBeLessThan(length);
  }
});

describe('tables', () => {
  const shifted = (by: number) => (handle: { offset: number; sizeBytes: number }, index: number) =>
    index === 1 ? { ...handle, offset: handle.offset + by } : handle;
  const indexKey = (first: string) => (index: number) =>
    index === 0 ? entry(first, 9).key : entry('d', 1).key;

  const cases: Readonly<Record<string, readonly [Partial<Craft>, string[]]>> = {
    'keys out of order': [{ blocks: [[entry('b', 1), entry('a', 1), entry('d', 1)]] }, ['ENTRY_ORDER']],
    'the same key with sequences that grow': [
      { blocks: [[entry('a', 1), entry('a', 2), entry('d', 1)]] },
      ['ENTRY_ORDER'],
    ],
    'the same entry twice': [{ blocks: [[entry('a', 1), entry('a', 1)]] }, ['ENTRY_ORDER']],
    'an index key below the last key of its block': [{ indexKey: indexKey('a') }, ['TABLE_INDEX']],
    'an index key above the first key of the next block': [{ indexKey: indexKey('cc') }, ['TABLE_INDEX']],
    'index keys out of order': [{ indexKey: indexKey('x') }, ['TABLE_INDEX', 'TABLE_INDEX']],
    'an index key without a tag': [
      { indexKey: (index) => (index === 0 ? Buffer.from('b') : entry('d', 1).key) },
      ['TABLE_LAYOUT', 'TABLE_INDEX', 'TABLE_BOUNDS'],
    ],
    'a block that the index does not name': [
      { indexHandle: (handle, index) => (index === 0 ? { ...handle, offset: handle.offset + 1 } : handle) },
      ['TABLE_LAYOUT', 'TABLE_LAYOUT', 'TABLE_LAYOUT', 'BLOCK_CHECKSUM'],
    ],
    'blocks that overlap': [{ indexHandle: shifted(-2) }, ['TABLE_LAYOUT', 'TABLE_LAYOUT', 'TABLE_BOUNDS']],
    'a block beyond the file': [
      { indexHandle: shifted(1e15) },
      ['TABLE_LAYOUT', 'TABLE_LAYOUT', 'TABLE_BOUNDS'],
    ],
    'bytes that belong to no block': [{ gap: 3 }, ['TABLE_LAYOUT']],
    'a key without a tag': [
      { blocks: [[entry('a', 5), { key: Buffer.from('x'), value: Buffer.alloc(0) }, entry('z', 1)]] },
      ['ENTRY'],
    ],
    'an entry of an unknown type': [{ blocks: [[entry('a', 5), entry('b', 3, 2)]] }, ['ENTRY']],
    'a sequence beyond the last one': [{ blocks: [[entry('a', 6)]] }, ['TABLE_SEQUENCE']],
    'an empty block': [
      { blocks: [HONEST.blocks[0]!, []], indexKey: (index) => entry('c', 2 - index).key },
      ['BLOCK_CONTENT'],
    ],
    'a block that cannot be decoded': [
      { seal: (content, index) => sealBlock(index === 1 ? Buffer.alloc(3) : content) },
      ['BLOCK_CONTENT'],
    ],
    'an unknown compression': [
      {
        seal: (content, index) => (index === 1 ? resealAs(content, 7) : sealBlock(content)),
      },
      ['BLOCK_UNREAD'],
    ],
    'a filter that denies keys': [{ filterKeys: [Buffer.from('zzz')] }, Array(5).fill('FILTER_DENIES')],
    'a filter that cannot be decoded': [{ filterBlock: Buffer.from([9, 9, 9, 9, 11]) }, ['TABLE_FILTER']],
    'a filter of another policy': [{ filterName: 'other' }, ['TABLE_META']],
    'a metaindex that names something twice': [
      {
        meta: [
          { key: Buffer.from(`filter.${BLOOM_POLICY}`), value: encodeHandle({ offset: 0, sizeBytes: 1 }) },
        ],
      },
      ['TABLE_HANDLE', 'TABLE_LAYOUT', 'TABLE_LAYOUT'],
    ],
    'a metaindex with a place that cannot be': [
      { filterKeys: null, meta: [{ key: Buffer.from('x'), value: Buffer.from([0xff]) }] },
      ['TABLE_HANDLE'],
    ],
  };
  for (const [name, [craft, expected]] of Object.entries(cases)) {
    test(name, async () => {
      const codes = await tableCodes(craft);
      expect([...codes].sort()).toEqual([...expected].sort());
    });
  }

  test('a small block that expands to gigabytes of keys is refused quickly', async () => {
    const key = entry('k'.repeat(1_000_000), 5).key;
    const long = encodeBlock([{ key, value: Buffer.alloc(0) }]);
    const entries = long.subarray(0, -8);
    const again = Buffer.from([0xc8, 0x84, 0x3d, 0, 0]); // shares 1,000,008 bytes, adds nothing
    const content = Buffer.concat([entries, ...Array(600_000).fill(again), long.subarray(-8)]);
    const codes = await tableCodes({
      blocks: [[{ key, value: Buffer.alloc(0) }]],
      seal: () => sealBlock(content),
    });
    expect(codes).toContain('BLOCK_CONTENT');
  });
});

describe('logs and MANIFEST', () => {
  test('a log whose batches do not parse, do not follow each other, or are torn', async () => {
    const put = (sequence: bigint): Buffer =>
      encodeBatch(sequence, [{ type: 'put', key: Buffer.from('k'), value: Buffer.from('v') }]);
    expect(await codesOf({ log: encodeLog([put(6n), put(7n)]) })).toEqual([]);
    expect(await codesOf({ log: encodeLog([put(6n), put(6n)]) })).toEqual([
      '000003.log LEVELDB_LOG_SEQUENCE',
    ]);
    expect(await codesOf({ log: encodeLog([put(7n)]) })).toEqual(['000003.log LEVELDB_LOG_GAP']);
    expect(await codesOf({ log: encodeLog([Buffer.concat([put(6n), Buffer.alloc(1)])]) })).toEqual([
      '000003.log LEVELDB_LOG_BATCH',
    ]);
    expect(await codesOf({ log: encodeLog([Buffer.alloc(5)]) })).toEqual(['000003.log LEVELDB_LOG_BATCH']);
    expect(await codesOf({ log: encodeLog([put(6n)]).subarray(0, -1) })).toEqual([
      '000003.log LEVELDB_LOG_TORN',
    ]);
    expect(await codesOf({ log: Buffer.concat([encodeLog([put(6n)]), Buffer.alloc(100)]) })).toEqual([
      '000003.log LEVELDB_LOG_ZEROS',
    ]);
  });

  test('a record that breaks off, and whose sequence the next one has, was never acknowledged', async () => {
    const put = (sequence: bigint, bytes = 1): Buffer =>
      encodeBatch(sequence, [{ type: 'put', key: Buffer.from('k'), value: Buffer.alloc(bytes) }]);
    /** The writer died at the end of the first block, and the log was used again. */
    const reused = (before: readonly Buffer[], after: readonly Buffer[]) => {
      const begun = encodeLog(before).subarray(0, BLOCK_BYTES);
      return findingsOf({ log: Buffer.concat([begun, encodeLog(after, BLOCK_BYTES)]) });
    };
    const large = (sequence: bigint): Buffer => put(sequence, 2 * BLOCK_BYTES);
    const warning = { code: 'LEVELDB_LOG_UNFINISHED', severity: 'warning' };
    const error = { code: 'LEVELDB_LOG_RECORD', severity: 'error' };

    expect(await reused([put(6n), large(7n)], [put(7n), put(8n)])).toMatchObject([warning]);
    expect(await reused([large(6n)], [put(6n)])).toMatchObject([warning]);
    // The write after it went on counting, so it had been acknowledged.
    const lost = await reused([put(6n), large(7n)], [put(8n)]);
    expect(lost).toMatchObject([error, { code: 'LEVELDB_LOG_SEQUENCE', severity: 'error' }]);
    expect((await reused([large(6n)], [put(5n)]))[0]).toMatchObject(error);
    // So little was written of it that its sequence is not known: the one before it tells.
    const short = put(7n, 2 * BLOCK_BYTES);
    const filler = put(6n, BLOCK_BYTES - 40);
    expect(encodeLog([filler]).length).toBeGreaterThan(BLOCK_BYTES - 12 - 7);
    expect(await reused([filler, short], [put(7n)])).toMatchObject([warning]);
    // Nothing whole follows: the log ends there.
    expect(await reused([put(6n), large(7n)], [])).toMatchObject([{ code: 'LEVELDB_LOG_TORN' }]);
    const twice = [large(7n).subarray(0, 40_000)];
    const again = encodeLog(twice, BLOCK_BYTES).subarray(0, BLOCK_BYTES);
    const begun = encodeLog([put(6n), large(7n)]).subarray(0, BLOCK_BYTES);
    expect(await findingsOf({ log: Buffer.concat([begun, again]) })).toMatchObject([
      { code: 'LEVELDB_LOG_TORN' },
    ]);
    const third = encodeLog([put(7n)], 2 * BLOCK_BYTES);
    expect(await findingsOf({ log: Buffer.concat([begun, again, third]) })).toMatchObject([warning, warning]);
    const damaged = Buffer.concat([begun, again, third]);
    damaged[damaged.length - 1]! ^= 1;
    expect((await findingsOf({ log: damaged })).map(({ severity }) => severity)).toEqual(
      Array(2).fill('error'),
    );
  });

  test('sequences left out between two records that touch are a write that failed', async () => {
    const put = (sequence: bigint): Buffer =>
      encodeBatch(sequence, [{ type: 'put', key: Buffer.from('k'), value: Buffer.from('v') }]);
    const gap = await findingsOf({ log: encodeLog([put(6n), put(9n), put(10n)]) });
    expect(gap).toMatchObject([{ code: 'LEVELDB_LOG_SEQUENCE', severity: 'warning' }]);
    // With damage between them, an acknowledged write may be what is missing.
    const log = Buffer.concat([encodeLog([put(6n), put(7n)]), Buffer.alloc(BLOCK_BYTES)]).subarray(
      0,
      BLOCK_BYTES,
    );
    log[encodeLog([put(6n), put(7n)]).length - 1]! ^= 1;
    const broken = await findingsOf({ log: Buffer.concat([log, encodeLog([put(8n)], BLOCK_BYTES)]) });
    expect(broken).toMatchObject([
      { code: 'LEVELDB_LOG_RECORD', severity: 'error' },
      { code: 'LEVELDB_LOG_SEQUENCE', severity: 'error' },
    ]);
  });

  test('a MANIFEST without a field, with an edit that is none, or one that contradicts itself', async () => {
    const manifest = (code: string): string => `MANIFEST-000002 LEVELDB_MANIFEST_${code}`;
    expect(await codesOf({ edit: { comparator: undefined } as never })).toEqual([manifest('INCOMPLETE')]);
    expect(await codesOf({ edit: { deletedFiles: [{ level: 3, number: 1 }] } })).toEqual([
      manifest('CONTRADICTION'),
    ]);
    expect(await codesOf({ edit: { nextFile: 4 } })).toEqual([manifest('TABLES')]);
    const largest = encodeInternalKey(Buffer.from('z'), 1n, 1);
    const table = { level: 9, number: 5, sizeBytes: 1, smallest: largest, largest };
    expect((await codesOf({ edit: { newFiles: [table] } })).slice(0, 2)).toEqual([
      manifest('EDIT'),
      manifest('INCOMPLETE'),
    ]);
  });
});

test('a whole table that is 4 bytes shorter than the MANIFEST says, as of Java, is good, and no other is', async () => {
  const table = { blocks: [[entry('a', 1), entry('b', 2)]] };
  const codesWith = async (more: number, change?: (bytes: Buffer) => Buffer): Promise<string[]> => {
    const dir = await temporaryFolder();
    const bytes = craftTable(table);
    const [smallest, largest] = table.blocks[0]!.map(({ key }) => key);
    const newFiles = [
      { level: 1, number: 4, sizeBytes: bytes.length + more, smallest: smallest!, largest: largest! },
    ];
    await writeCraftedFolder(dir, { table, edit: { newFiles } });
    if (change !== undefined) await writeFile(join(dir, '000004.ldb'), change(bytes));
    const { findings } = await prove(dir);
    return findings.map(({ code, severity }) => `${severity} ${code}`);
  };
  expect(await codesWith(4)).toEqual(['warning LEVELDB_TABLE_SIZE_JAVA']);
  for (const more of [-4, 1, 3, 5, 8]) expect(await codesWith(more)).toEqual(['error LEVELDB_TABLE_SIZE']);
  expect(await codesWith(0, (bytes) => bytes.subarray(0, -4))).toContain('error LEVELDB_TABLE_SIZE');
  const flipped = (bytes: Buffer): Buffer => {
    bytes[3]! ^= 1;
    return bytes;
  };
  expect(await codesWith(4, flipped)).toContain('error LEVELDB_TABLE_SIZE');
});
