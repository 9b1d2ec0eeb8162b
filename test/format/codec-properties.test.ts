import fc, { type Arbitrary } from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StillpointError } from '../../src/errors.ts';
import { type BatchOperation, decodeBatchHeader, scanBatch } from '../../src/format/leveldb/batch.ts';
import { BlockCursor } from '../../src/format/leveldb/block.ts';
import {
  encodeCurrent,
  logName,
  parseCurrent,
  parseFileName,
  tableNames,
} from '../../src/format/leveldb/file-name.ts';
import { FilterBlock } from '../../src/format/leveldb/filter.ts';
import { decodeInternalKey } from '../../src/format/leveldb/internal-key.ts';
import { BLOCK_BYTES, LogDecoder } from '../../src/format/leveldb/log.ts';
import {
  checkSeal,
  decodeFooter,
  decodeHandle,
  encodeFooter,
  encodeHandle,
  unpackBlock,
} from '../../src/format/leveldb/table.ts';
import { decodeVersionEdit } from '../../src/format/leveldb/version-edit.ts';
import {
  BloomBuilder,
  decodeBloom,
  encodeBloom as encodeLsmBloom,
  mayContain,
} from '../../src/format/lsm/bloom.ts';
import { decodeCheckpoint, encodeCheckpoint } from '../../src/format/lsm/checkpoint.ts';
import {
  decodeTableFooter,
  decodeTableHeader,
  encodeTableFooter,
  encodeTableHeader,
} from '../../src/format/lsm/table.ts';
import {
  decodeBlock,
  encodeBlock as encodeLsmBlock,
  tableEntryBytes,
} from '../../src/format/lsm/table-block.ts';
import { decodeIndex, encodeIndex } from '../../src/format/lsm/table-index.ts';
import {
  decodeSectionHeader,
  decodeSegmentHeader,
  encodeSectionHeader,
  encodeSegmentHeader,
} from '../../src/format/lsm/wal.ts';
import {
  decodeEntryOps,
  encodeEntry,
  entryBytes,
  entryProblem,
  type WalOp,
} from '../../src/format/lsm/wal-entry.ts';
import { decodeBigVarint, decodeVarint, encodeVarint } from '../../src/format/varint.ts';
import {
  decodeManifest,
  encodeManifest,
  type Manifest,
  pathProblem,
} from '../../src/snapshot/store/manifest.ts';
import { execute } from '../fuzz/execute.ts';
import {
  encodeBatch,
  encodeBlock,
  encodeBloom,
  encodeFilterBlock,
  encodeInternalKey,
  encodeLog,
  encodeVersionEdit,
  MAX_SEQUENCE,
  manifestName,
  sealBlock,
} from '../support/leveldb-encoders.ts';
import { perTier } from '../support/tier.ts';

// What is encoded is decoded, for every pair; and of bytes that were changed, decoders make what they declare and nothing else.

const RUNS = perTier(40, 5000);

const u32 = fc.nat({ max: 0xffff_ffff });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const safe = fc.maxSafeNat();
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const level = fc.nat({ max: 6 });
const internalKey = fc
  .record({
    userKey: bytes(300),
    sequence: fc.bigInt({ min: 0n, max: MAX_SEQUENCE }),
    type: fc.nat({ max: 1 }),
  })
  .map(({ userKey, sequence, type }) => encodeInternalKey(userKey, sequence, type));
const handle = fc.record({ offset: safe, sizeBytes: safe });

interface Pair<T> {
  readonly values: Arbitrary<T>;
  encode(value: T): Buffer;
  /** In a form to compare with `value`; of changed bytes, anything. */
  decode(encoded: Buffer): unknown;
  /** What `decode` gives of the value, where that is not the value itself. */
  expected?(value: T): unknown;
}

const pair = <T>(definition: Pair<T>): Pair<unknown> => definition as unknown as Pair<unknown>;

const walOps = fc.array(
  fc.oneof(
    fc.record({ type: fc.constant('put' as const), key: bytes(200), value: bytes(400) }),
    fc.record({ type: fc.constant('delete' as const), key: bytes(200) }),
  ),
  { maxLength: 20 },
);

/** A block's keys need not ascend to be read back. */
const pairs = fc.array(fc.record({ key: bytes(200), value: bytes(200) }), { maxLength: 60 });

const manifests: Arbitrary<Manifest> = fc.record({
  version: fc.constant(1 as const),
  entries: fc
    .uniqueArray(
      fc.record(
        {
          path: fc
            .string({ minLength: 1, maxLength: 40, unit: 'binary' })
            .filter((path) => pathProblem(path) === undefined),
          size: safe,
          crc32: u32,
          crc32c: u32,
          kind: fc.constantFrom('immutable' as const, 'image' as const, 'bytes' as const),
          source: fc.record({
            ino: u64.map(String),
            mtime_ns: fc.bigInt({ min: -(2n ** 60n), max: 2n ** 60n }).map(String),
          }),
          proven_at_ms: safe,
        },
        { requiredKeys: ['path', 'size', 'crc32'] },
      ),
      { selector: ({ path }) => path.split('/')[0]!.toLowerCase(), maxLength: 12 },
    )
    .map((entries) => entries.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)))),
});

const PAIRS: Readonly<Record<string, Pair<unknown>>> = {
  'varint, length': pair({
    values: safe,
    encode: encodeVarint,
    decode: (read) => decodeVarint(read, 0)?.value,
  }),
  'varint, u64': pair({
    values: u64,
    encode: encodeVarint,
    decode: (read) => decodeBigVarint(read, 0)?.value,
  }),
  'lsm checkpoint': pair({
    values: fc.record({ lsn: u64, createdAtMs: u64 }),
    encode: encodeCheckpoint,
    decode: (read) => decodeCheckpoint(read).checkpoint,
  }),
  'lsm filter': pair({
    values: fc.array(bytes(60), { maxLength: 80 }),
    encode(keys) {
      const builder = new BloomBuilder();
      for (const key of keys) builder.add(key);
      return encodeLsmBloom(builder.build(keys.length));
    },
    decode: (read) => decodeBloom(read).filter !== undefined,
    expected: () => true,
  }),
  'lsm table header': pair({
    values: fc.record({
      hasBloom: fc.boolean(),
      blockCount: u32,
      entryCount: u64,
      minKeyBytes: u32,
      maxKeyBytes: u32,
    }),
    encode: encodeTableHeader,
    decode: (read) => decodeTableHeader(read).value,
    expected: (header) => ({ ...header, unknownFlags: 0, compression: 'none', reserved: 0 }),
  }),
  'lsm table footer': pair({
    values: fc.record({
      indexOffset: safe,
      indexBytes: u32,
      bloomOffset: safe,
      bloomBytes: u32,
      minTimestamp: u64,
      maxTimestamp: u64,
      crc32: u32,
    }),
    encode: encodeTableFooter,
    decode: (read) => decodeTableFooter(read, 0).value,
  }),
  'lsm index': pair({
    values: fc.array(fc.record({ offset: safe, sizeBytes: u32, firstKey: bytes(90), lastKey: bytes(90) }), {
      maxLength: 30,
    }),
    encode: encodeIndex,
    decode: (read) => decodeIndex(read, 0).value,
  }),
  'lsm block': pair({
    values: fc.array(
      fc
        .record({
          type: fc.constantFrom('put' as const, 'delete' as const),
          timestamp: u64,
          sequence: u64,
          key: bytes(90),
          value: bytes(200),
        })
        .map((entry) => (entry.type === 'delete' ? { ...entry, value: Buffer.alloc(0) } : entry)),
      { maxLength: 30 },
    ),
    encode: (entries) =>
      encodeLsmBlock(
        entries,
        entries.reduce((sum, entry) => sum + tableEntryBytes(entry), 0),
      ),
    decode: (read) => (read.byteLength < 12 ? undefined : decodeBlock(read, 0).value),
  }),
  'lsm log entry': pair<{ lsn: bigint; ops: WalOp[] }>({
    values: fc.record({ lsn: u64, ops: walOps }),
    encode({ lsn, ops }) {
      const encoded = encodeEntry(lsn, ops, 'batch');
      expect(entryBytes(ops, 'batch')).toBe(encoded.byteLength);
      return encoded;
    },
    decode(read) {
      if (read.byteLength < 17 || entryProblem(read) !== undefined) return undefined;
      return { lsn: read.readBigUInt64LE(0), ops: decodeEntryOps(read) };
    },
  }),
  'lsm section header': pair({
    values: fc.record({ start: safe, end: safe, full: fc.boolean() }),
    encode: encodeSectionHeader,
    decode: (read) => (read.byteLength < 16 ? undefined : decodeSectionHeader(read)),
  }),
  'lsm segment header': pair({
    values: fc.record({ id: u64, firstLsn: u64 }),
    encode: ({ id, firstLsn }) => encodeSegmentHeader(id, firstLsn),
    decode: (read) => (read.byteLength < 28 ? undefined : decodeSegmentHeader(read)),
    expected: (header) => ({ ...header, version: 2, reserved: 0 }),
  }),
  'leveldb internal key': pair({
    values: fc.record({
      userKey: bytes(300),
      sequence: fc.bigInt({ min: 0n, max: MAX_SEQUENCE }),
      type: fc.nat({ max: 255 }),
    }),
    encode: ({ userKey, sequence, type }) => encodeInternalKey(userKey, sequence, type),
    decode: decodeInternalKey,
  }),
  'leveldb batch': pair<{ sequence: bigint; operations: BatchOperation[] }>({
    values: fc.record({ sequence: u64, operations: walOps }),
    encode: ({ sequence, operations }) => encodeBatch(sequence, operations),
    decode(read) {
      const operations: BatchOperation[] = [];
      const problem = scanBatch(read, (operation) => operations.push(operation));
      return problem === undefined ? { sequence: decodeBatchHeader(read)!.sequence, operations } : undefined;
    },
  }),
  'leveldb version edit': pair({
    values: fc.record(
      {
        comparator: fc.string({ maxLength: 50 }),
        logNumber: safe,
        prevLogNumber: safe,
        nextFile: safe,
        lastSequence: u64,
        compactPointers: fc.array(fc.record({ level, key: internalKey }), { maxLength: 5 }),
        deletedFiles: fc.array(fc.record({ level, number: safe }), { maxLength: 5 }),
        newFiles: fc.array(
          fc.record({ level, number: safe, sizeBytes: safe, smallest: internalKey, largest: internalKey }),
          { maxLength: 5 },
        ),
      },
      { requiredKeys: ['compactPointers', 'deletedFiles', 'newFiles'] },
    ),
    encode: encodeVersionEdit,
    decode: decodeVersionEdit,
  }),
  'leveldb block': pair({
    values: pairs,
    encode: (entries) => encodeBlock(entries),
    decode(read) {
      const cursor = new BlockCursor(read);
      const entries: unknown[] = [];
      while (cursor.next()) entries.push({ key: cursor.copyKey(), value: Buffer.from(cursor.value()) });
      return cursor.problem ?? entries;
    },
  }),
  'leveldb filter': pair({
    values: fc.array(fc.array(bytes(60), { maxLength: 30 }), { maxLength: 6 }),
    encode: (filters) => encodeFilterBlock(filters.map((keys) => encodeBloom(keys))),
    decode(read) {
      const block = FilterBlock.decode(read);
      return (
        typeof block !== 'string' && [0, 2048, 2 ** 40].map((at) => block.mayContain(at, read, 0)).length
      );
    },
    expected: () => 3,
  }),
  'leveldb handle': pair({
    values: handle,
    encode: encodeHandle,
    decode(read) {
      const decoded = decodeHandle(read);
      return decoded && { offset: decoded.offset, sizeBytes: decoded.sizeBytes };
    },
  }),
  'leveldb footer': pair({
    values: fc.record({ metaindex: handle, index: handle }),
    encode: encodeFooter,
    decode(read) {
      const footer = read.byteLength === 48 ? decodeFooter(read) : 'another length';
      if (typeof footer === 'string') return undefined;
      const plain = ({ offset, sizeBytes }: { offset: number; sizeBytes: number }) => ({ offset, sizeBytes });
      return { metaindex: plain(footer.metaindex), index: plain(footer.index) };
    },
  }),
  'leveldb sealed block': pair({
    values: fc.record({
      content: bytes(2000),
      compression: fc.constantFrom('none' as const, 'snappy' as const),
    }),
    encode: ({ content, compression }) => sealBlock(content, compression),
    decode(read) {
      if (read.byteLength < 5 || checkSeal(read).broken !== undefined) return undefined;
      const unpacked = unpackBlock(read);
      return 'content' in unpacked ? unpacked.content : undefined;
    },
    expected: ({ content }) => content,
  }),
  'leveldb log': pair({
    values: fc.array(
      fc.oneof(
        { weight: 9, arbitrary: bytes(300) },
        fc.nat({ max: 70_000 }).map((size) => Buffer.alloc(size, 'x')),
      ),
      {
        maxLength: 8,
      },
    ),
    encode: (records) => encodeLog(records, BLOCK_BYTES - 9),
    decode(read) {
      const decoder = new LogDecoder(BLOCK_BYTES - 9);
      const payloads: Buffer[] = [];
      for (const item of decoder.push(read))
        if (item.kind === 'record') payloads.push(Buffer.from(item.payload));
      for (const item of decoder.finish())
        if (item.kind === 'record') payloads.push(Buffer.from(item.payload));
      return payloads;
    },
  }),
  'leveldb names': pair({
    values: fc.record({
      kind: fc.constantFrom('log' as const, 'table' as const, 'manifest' as const),
      number: fc.nat({ max: 10 ** 15 - 1 }),
    }),
    encode: ({ kind, number }) =>
      Buffer.from(
        kind === 'log' ? logName(number) : kind === 'manifest' ? manifestName(number) : tableNames(number)[0],
      ),
    decode: (read) => parseFileName(read.toString('latin1')),
  }),
  CURRENT: pair({
    values: fc.nat({ max: 10 ** 15 - 1 }).map(manifestName),
    encode: encodeCurrent,
    decode: (read) => parseCurrent(read),
  }),
  manifest: pair({
    values: manifests,
    encode: encodeManifest,
    decode(read) {
      try {
        return decodeManifest(read, 'here');
      } catch (error) {
        if (error instanceof StillpointError && error.code === 'MANIFEST_INVALID') return undefined;
        throw error;
      }
    },
    expected: (manifest) => ({ ...manifest, sealed: true, rewritten: false }),
  }),
};

/** Cut, flipped, set, with bytes put in or taken out. */
const changes = fc.array(
  fc.record({
    kind: fc.constantFrom('flip', 'set', 'cut', 'insert', 'remove'),
    at: fc.nat(),
    byte: fc.nat({ max: 255 }),
  }),
  { minLength: 1, maxLength: 4 },
);

function changed(encoded: Buffer, steps: readonly { kind: string; at: number; byte: number }[]): Buffer {
  let result: Buffer = Buffer.from(encoded);
  for (const { kind, at: anywhere, byte } of steps) {
    const at = anywhere % (result.byteLength + 1);
    if (kind === 'cut') result = result.subarray(0, at);
    else if (kind === 'insert')
      result = Buffer.concat([result.subarray(0, at), Buffer.of(byte), result.subarray(at)]);
    else if (kind === 'remove')
      result = Buffer.concat([result.subarray(0, at), result.subarray(at + 1 + (byte % 8))]);
    else if (at < result.byteLength) result[at] = kind === 'set' ? byte : result[at]! ^ (1 << (byte & 7));
  }
  return result;
}

describe.each(Object.entries(PAIRS))('%s', (_, { values, encode, decode, expected = (value) => value }) => {
  test('what is encoded is decoded', () => {
    fc.assert(
      fc.property(values, (value) => {
        expect(decode(encode(value))).toEqual(expected(value));
      }),
      { numRuns: RUNS },
    );
  });

  test('changed bytes end in what is declared, within the memory that they call for', async () => {
    const run = (read: Buffer): undefined => {
      decode(read);
    };
    await fc.assert(
      fc.asyncProperty(values, changes, async (value, steps) => {
        const input = changed(encode(value), steps);
        expect(await execute({ name: '', seeds: () => [], run }, input)).toBe(undefined);
      }),
      { numRuns: RUNS },
    );
  });
});

test('a filter denies no key that it was made for', () => {
  fc.assert(
    fc.property(fc.array(bytes(60), { minLength: 1, maxLength: 80 }), (keys) => {
      const builder = new BloomBuilder();
      for (const key of keys) builder.add(key);
      const { filter } = decodeBloom(encodeLsmBloom(builder.build(keys.length)));
      const block = FilterBlock.decode(encodeFilterBlock([encodeBloom(keys)])) as FilterBlock;
      for (const key of keys) {
        expect(mayContain(filter!, key)).toBe(true);
        expect(block.mayContain(5, key, key.length)).toBe(true);
      }
    }),
    { numRuns: RUNS },
  );
});
