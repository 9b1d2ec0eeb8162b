import fc from 'fast-check';
import { compressSync } from 'snappy';
import { expect, test } from 'vitest';
import { crc32cInScript } from '../../src/format/crc32c.ts';
import { type BatchOperation, decodeBatchHeader, scanBatch } from '../../src/format/leveldb/batch.ts';
import { BlockCursor } from '../../src/format/leveldb/block.ts';
import { parseCurrent, parseFileName } from '../../src/format/leveldb/file-name.ts';
import { bloomHash, FilterBlock } from '../../src/format/leveldb/filter.ts';
import { compareInternalKeys, decodeInternalKey } from '../../src/format/leveldb/internal-key.ts';
import {
  checkSeal,
  decodeFooter,
  encodeFooter,
  FOOTER_BYTES,
  unpackBlock,
} from '../../src/format/leveldb/table.ts';
import { Version } from '../../src/format/leveldb/version.ts';
import { decodeVersionEdit, emptyEdit } from '../../src/format/leveldb/version-edit.ts';
import {
  encodeBatch,
  encodeBlock,
  encodeBloom,
  encodeFilterBlock,
  encodeInternalKey,
  encodeVersionEdit,
  sealBlock,
} from '../support/leveldb-encoders.ts';

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const operation: fc.Arbitrary<BatchOperation> = fc.oneof(
  fc.record({ type: fc.constant('put' as const), key: bytes(40), value: bytes(300) }),
  fc.record({ type: fc.constant('delete' as const), key: bytes(40) }),
);

test('names: the canonical ones count, others are no part of the state', () => {
  expect(parseFileName('000005.ldb')).toEqual({ kind: 'table', number: 5 });
  expect(parseFileName('1234567.sst')).toEqual({ kind: 'table', number: 1234567 });
  expect(parseFileName('000012.log')).toEqual({ kind: 'log', number: 12 });
  expect(parseFileName('MANIFEST-000002')).toEqual({ kind: 'manifest', number: 2 });
  for (const name of [
    'LOCK',
    'LOG',
    'LOG.old',
    '5.ldb',
    '0000005.ldb',
    '000005.dbtmp',
    'CURRENT',
    '000005.ldb~',
  ]) {
    expect(parseFileName(name)).toBeUndefined();
  }
  expect(parseCurrent(Buffer.from('MANIFEST-000002\n'))).toBe('MANIFEST-000002');
  for (const content of [
    '',
    'MANIFEST-000002',
    '../MANIFEST-000002\n',
    'MANIFEST-000002\n\n',
    'MANIFEST-2\n',
  ]) {
    expect(parseCurrent(Buffer.from(content))).toBeUndefined();
  }
});

test('batch: what is encoded is decoded, and every cut and every further byte is noticed', () => {
  fc.assert(
    fc.property(
      fc.array(operation, { maxLength: 6 }),
      fc.bigInt(0n, (1n << 56n) - 1n),
      (operations, sequence) => {
        const encoded = encodeBatch(sequence, operations);
        const read: BatchOperation[] = [];
        expect(scanBatch(encoded, (each) => read.push(each))).toBeUndefined();
        expect(read).toEqual(operations);
        expect(decodeBatchHeader(encoded)).toEqual({ sequence, count: operations.length });
        for (let length = 0; length < encoded.length; length++) {
          expect(scanBatch(encoded.subarray(0, length))).toBeDefined();
        }
        expect(scanBatch(Buffer.concat([encoded, Buffer.from([1])]))).toBeDefined();
      },
    ),
    { numRuns: 50 },
  );
});

test('version edit: what is encoded is decoded; unknown tags, levels beyond 6 and cuts inside of a field are damage', () => {
  const edit = {
    ...emptyEdit(),
    comparator: 'leveldb.BytewiseComparator',
    logNumber: 300,
    prevLogNumber: 0,
    nextFile: 2 ** 40,
    lastSequence: (1n << 56n) - 1n,
    compactPointers: [{ level: 1, key: encodeInternalKey(Buffer.from('p'), 1n, 1) }],
    deletedFiles: [{ level: 0, number: 4 }],
    newFiles: [
      {
        level: 6,
        number: 7,
        sizeBytes: 3_000_000,
        smallest: encodeInternalKey(Buffer.from('a'), 9n, 1),
        largest: encodeInternalKey(Buffer.from('z'), 8n, 0),
      },
    ],
  };
  const encoded = encodeVersionEdit(edit);
  expect(decodeVersionEdit(encoded)).toEqual(edit);
  expect(decodeVersionEdit(Buffer.from([8, 1]))).toMatch('unknown tag 8');
  expect(decodeVersionEdit(Buffer.from([6, 7, 1]))).toMatch('unreadable deleted file');
  const cuts = Array.from(encoded.keys(), (length) => decodeVersionEdit(encoded.subarray(0, length)));
  expect(cuts.filter((cut) => typeof cut === 'string').length).toBeGreaterThan(encoded.length - 10);
  fc.assert(fc.property(bytes(60), (any) => void decodeVersionEdit(any)));
});

test('version: deletions apply before additions, so that a move to the next level keeps the table', () => {
  const table = (level: number) => ({
    level,
    number: 5,
    sizeBytes: 10,
    smallest: encodeInternalKey(Buffer.from('a'), 1n, 1),
    largest: encodeInternalKey(Buffer.from('b'), 1n, 1),
  });
  const version = new Version();
  version.apply({ ...emptyEdit(), newFiles: [table(0)], logNumber: 3 });
  version.apply({ ...emptyEdit(), deletedFiles: [{ level: 0, number: 5 }], newFiles: [table(1)] });
  expect(version.tables).toEqual([table(1)]);
  expect(version.apply({ ...emptyEdit(), deletedFiles: [{ level: 0, number: 5 }] })).toHaveLength(1);
  expect([2, 3, 4].map((number) => version.needsLog(number))).toEqual([false, true, true]);
  expect(version.missingFields).toEqual(['comparator', 'next file number', 'last sequence']);
});

test('internal keys sort by user key, then the newest first', () => {
  const keys = [
    encodeInternalKey(Buffer.from(''), 1n, 1),
    encodeInternalKey(Buffer.from('a'), 1n << 40n, 1),
    encodeInternalKey(Buffer.from('a'), 300n, 1),
    encodeInternalKey(Buffer.from('a'), 300n, 0),
    encodeInternalKey(Buffer.from('a'), 2n, 1),
    encodeInternalKey(Buffer.from([0x61, 0]), 900n, 1),
    encodeInternalKey(Buffer.from([0xff]), 1n, 1),
  ];
  expect([...keys].reverse().sort((a, b) => compareInternalKeys(a, b))).toEqual(keys);
  expect(compareInternalKeys(keys[2]!, keys[2]!)).toBe(0);
  expect(decodeInternalKey(keys[3]!)).toEqual({ userKey: Buffer.from('a'), sequence: 300n, type: 0 });
  expect(decodeInternalKey(Buffer.alloc(7))).toBeUndefined();
});

function entriesOf(content: Buffer): { entries: [string, string][]; problem: string | undefined } {
  const cursor = new BlockCursor(content);
  const entries: [string, string][] = [];
  while (cursor.next()) entries.push([cursor.copyKey().toString('hex'), cursor.value().toString('hex')]);
  return { entries, problem: cursor.problem };
}

test('block: what is encoded is decoded, with long keys and values too', () => {
  const entry = fc.record({ key: bytes(300), value: bytes(300) });
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 50 }), fc.integer({ min: 1, max: 20 }), (entries, interval) => {
      const { entries: read, problem } = entriesOf(encodeBlock(entries, interval));
      expect(problem).toBeUndefined();
      expect(read).toEqual(entries.map(({ key, value }) => [key.toString('hex'), value.toString('hex')]));
    }),
    { numRuns: 50 },
  );
});

test('block: counts and lengths that cannot be are a problem and not a crash', () => {
  const block = encodeBlock([
    { key: Buffer.from('aaa'), value: Buffer.from('1') },
    { key: Buffer.from('aab'), value: Buffer.from('2') },
  ]);
  const broken = (at: number, value: number): string | undefined => {
    const copy = Buffer.from(block);
    copy[at] = value;
    return entriesOf(copy).problem;
  };
  expect(entriesOf(block).problem).toBeUndefined();
  expect(broken(0, 1)).toMatch('more shared bytes');
  expect(broken(1, 200)).toBeDefined();
  expect(broken(2, 100)).toMatch('beyond the block');
  expect(broken(block.length - 8, 3)).toMatch('restart'); // the only restart, not at an entry
  expect(broken(block.length - 4, 0)).toMatch('0 restarts');
  expect(broken(block.length - 1, 0xff)).toMatch('restarts in');
  fc.assert(fc.property(bytes(80), (any) => void entriesOf(any)));
});

test('table: footer and sealed blocks; each flipped bit of them is noticed', () => {
  const footer = {
    metaindex: { offset: 2 ** 33, sizeBytes: 8 },
    index: { offset: 2 ** 33 + 13, sizeBytes: 2000 },
  };
  const encoded = encodeFooter(footer);
  expect(encoded).toHaveLength(FOOTER_BYTES);
  const decoded = decodeFooter(encoded);
  expect(decoded).toMatchObject(footer);
  // Handles whose bits are flipped may lead elsewhere, which the blocks there tell; none may read as the same ones.
  for (let bit = 0; bit < FOOTER_BYTES * 8; bit++) {
    const flipped = Buffer.from(encoded);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    expect(decodeFooter(flipped)).not.toEqual(decoded);
  }
  const padding = Buffer.from(encoded);
  padding[39] = 1;
  expect(decodeFooter(padding)).toMatch('padding');
  padding.fill(0xff, 0, 40);
  expect(decodeFooter(padding)).toMatch('handles');

  for (const compression of ['none', 'snappy'] as const) {
    const content = Buffer.from('stillpoint '.repeat(30));
    const sealed = sealBlock(content, compression);
    expect(checkSeal(sealed)).toEqual({ crc: crc32cInScript(sealed.subarray(0, -4)), broken: undefined });
    expect(unpackBlock(sealed)).toEqual({ content });
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      sealed[bit >> 3]! ^= 1 << (bit & 7);
      expect(checkSeal(sealed).broken).toBeDefined();
      sealed[bit >> 3]! ^= 1 << (bit & 7);
    }
  }
});

test('table: a compressed block cannot claim gigabytes, and an unknown compression is reported', () => {
  const bomb = Buffer.concat([
    Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]),
    Buffer.alloc(20),
    Buffer.from([1, 0, 0, 0, 0]),
  ]);
  expect(unpackBlock(bomb)).toEqual({ problem: expect.stringContaining('impossible length') });
  const cut = compressSync(Buffer.alloc(1000, 'ab')).subarray(0, -3);
  expect(unpackBlock(Buffer.concat([cut, Buffer.from([1, 0, 0, 0, 0])]))).toHaveProperty('problem');
  expect(unpackBlock(Buffer.from([9, 9, 2, 0, 0, 0, 0]))).toHaveProperty('problem');
  expect(unpackBlock(Buffer.from([9, 9, 3, 0, 0, 0, 0]))).toEqual({
    unread: 'compression 3 is not known here',
  });
  // The best that the format can do must not be taken for a lie.
  const content = Buffer.alloc(1_000_000);
  const unpacked = unpackBlock(sealBlock(content, 'snappy'));
  expect('content' in unpacked && unpacked.content.equals(content)).toBe(true);
});

test('filter: the hash is that of LevelDB, and no key that went in is denied', () => {
  // Values of LevelDB's own test of its hash.
  const hashOf = (...input: number[]): number => bloomHash(Buffer.from(input), input.length);
  expect(hashOf()).toBe(0xbc9f1d34);
  expect(hashOf(0x62)).toBe(0xef1345c4);
  expect(hashOf(0xc3, 0x97)).toBe(0x5b663814);
  expect(hashOf(0xe2, 0x99, 0xa5)).toBe(0x323c078f);
  expect(hashOf(0xe1, 0x80, 0xb9, 0x32)).toBe(0xed21633a);

  const keys = Array.from({ length: 500 }, (_, index) => Buffer.from(`key ${index}`));
  const block = FilterBlock.decode(encodeFilterBlock([encodeBloom(keys), Buffer.alloc(0)])) as FilterBlock;
  for (const key of keys) expect(block.mayContain(100, key, key.length)).toBe(true);
  const others = Array.from({ length: 500 }, (_, index) => Buffer.from(`other ${index}`));
  expect(others.filter((key) => block.mayContain(100, key, key.length)).length).toBeLessThan(50);
  expect(block.mayContain(2048, keys[0]!, keys[0]!.length)).toBe(false); // an empty filter
  expect(block.mayContain(4096, keys[0]!, keys[0]!.length)).toBe(true); // none for this block

  expect(FilterBlock.decode(Buffer.alloc(4))).toMatch('too few');
  expect(FilterBlock.decode(Buffer.from([9, 0, 0, 0, 11]))).toMatch('cannot begin');
  fc.assert(
    fc.property(bytes(60), (any) => {
      const decoded = FilterBlock.decode(any);
      if (typeof decoded !== 'string') decoded.mayContain(0, any, any.length);
    }),
  );
});
