import { isDeepStrictEqual } from 'node:util';
import { decompressBlock } from '../../src/engine/lsm/block-payload.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { bloomShape, decodeBloom, encodeBloom, mayContain } from '../../src/format/lsm/bloom.ts';
import { decodeCheckpoint, encodeCheckpoint } from '../../src/format/lsm/checkpoint.ts';
import {
  decodeTableFooter,
  decodeTableHeader,
  encodeTableFooter,
  encodeTableHeader,
  gapDamage,
  layoutDamage,
  TABLE_FOOTER_BYTES,
  TABLE_HEADER_BYTES,
} from '../../src/format/lsm/table.ts';
import {
  blockDamage,
  decodeBlock,
  encodeBlock,
  type TableEntry,
  tableEntryBytes,
} from '../../src/format/lsm/table-block.ts';
import {
  decodeIndex,
  encodeIndex,
  findBlock,
  findLastBlock,
  indexDamage,
} from '../../src/format/lsm/table-index.ts';
import {
  decodeSectionHeader,
  encodeSectionHeader,
  encodeSegmentHeader,
  liveBytes,
  ringBytes,
  ringExtents,
  sectionProblem,
  segmentHeaderOffset,
  type WalGeometry,
  walFileBytes,
} from '../../src/format/lsm/wal.ts';
import {
  decodeEntryLen,
  decodeEntryLsn,
  decodeEntryOps,
  ENTRY_HEADER_BYTES,
  encodeEntry,
  entryProblem,
  MIN_ENTRY_LEN,
  type WalOp,
} from '../../src/format/lsm/wal-entry.ts';
import { inferGeometry } from '../../src/format/lsm/wal-geometry.ts';
import { WalReplay } from '../../src/format/lsm/wal-replay.ts';
import { decodeLz4Block } from '../../src/format/lz4.ts';
import { decodeBigVarint, decodeVarint, encodeVarint } from '../../src/format/varint.ts';
import { claim, Draw, piecesOf, type Target } from './target.ts';

const same = isDeepStrictEqual;

const OPS: readonly WalOp[] = [
  { type: 'put', key: Buffer.from('key'), value: Buffer.from('value') },
  { type: 'delete', key: Buffer.from('key') },
  { type: 'put', key: Buffer.alloc(200, 'k'), value: Buffer.alloc(0) },
];
const ENTRIES: readonly TableEntry[] = [
  { type: 'put', timestamp: 5n, sequence: 1n, key: Buffer.from('a'), value: Buffer.from('one') },
  { type: 'delete', timestamp: 4n, sequence: 2n, key: Buffer.from('a'), value: Buffer.alloc(0) },
  { type: 'put', timestamp: 9n, sequence: 1n, key: Buffer.from('bb'), value: Buffer.alloc(90, 'x') },
];
const BLOCK = encodeBlock(
  ENTRIES,
  ENTRIES.reduce((sum, entry) => sum + tableEntryBytes(entry), 0),
);

/** A CRC-32 of all before it ends the bytes. */
const fixLast = (bytes: Buffer): void => {
  if (bytes.byteLength >= 4) bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.byteLength - 4);
};

const varint: Target = {
  name: 'varint',
  seeds: () => [0, 127, 128, 2 ** 32, Number.MAX_SAFE_INTEGER, 2n ** 64n - 1n].map(encodeVarint),
  run(input) {
    const draw = new Draw(input);
    const at = draw.below(4);
    const bytes = draw.rest();
    const big = decodeBigVarint(bytes, at);
    const small = decodeVarint(bytes, at);
    if (big === undefined) {
      claim(small === undefined, 'what is no u64 is no length');
      return 'refused';
    }
    claim(big.next > at && big.next <= Math.min(bytes.byteLength, at + 10), 'it ends within the bytes');
    claim(same(decodeBigVarint(encodeVarint(big.value), 0)?.value, big.value), 'written and read again');
    const fits = big.value <= BigInt(Number.MAX_SAFE_INTEGER);
    claim(
      fits ? same(small, { value: Number(big.value), next: big.next }) : small === undefined,
      'both agree',
    );
    claim(decodeVarint(bytes, at, big.next - 1) === undefined, 'an end inside of it is seen');
  },
};

const lz4: Target = {
  name: 'lz4',
  seeds: () => [
    Draw.with([5], Buffer.from([0x50, 1, 2, 3, 4, 5])),
    Draw.with([34], Buffer.from([0x1f, 65, 1, 0, 9, 0x50, 1, 2, 3, 4, 5])),
    Draw.with([300], Buffer.concat([Buffer.from([0xf0, 255, 30]), Buffer.alloc(300, 'z')])),
  ],
  run(input) {
    const draw = new Draw(input);
    const size = draw.below(4096);
    const around = Buffer.alloc(size + 16, 0xa5);
    const problem = decodeLz4Block(draw.rest(), around.subarray(8, 8 + size));
    const canary = Buffer.alloc(8, 0xa5);
    claim(
      around.subarray(0, 8).equals(canary) && around.subarray(-8).equals(canary),
      'nothing is written outside',
    );
    if (problem !== undefined) return 'refused';
    const again = Buffer.alloc(size);
    claim(decodeLz4Block(draw.rest(), again) === undefined, 'the same bytes decode again');
    claim(again.equals(around.subarray(8, -8)), 'to the same, every byte of it written');
  },
};

const walEntry: Target = {
  name: 'wal-entry',
  seeds: () => [
    encodeEntry(7n, OPS.slice(0, 1), 'single'),
    encodeEntry(8n, OPS.slice(1, 2), 'single'),
    encodeEntry(2n ** 64n - 1n, OPS, 'batch'),
    encodeEntry(1n, [], 'batch'),
  ],
  fix: fixLast,
  run(entry) {
    if (entry.byteLength < ENTRY_HEADER_BYTES + MIN_ENTRY_LEN) return 'refused';
    if (entryProblem(entry) !== undefined) return 'refused';
    const ops = decodeEntryOps(entry);
    const again = encodeEntry(decodeEntryLsn(entry, 0), ops, ops.length === 1 ? 'single' : 'batch');
    claim(entryProblem(again) === undefined, 'what was read can be written');
    claim(same(decodeEntryOps(again), ops), 'and reads the same');
  },
};

const walReplay: Target = {
  name: 'wal-replay',
  seeds: () => {
    const entries = [1n, 2n, 5n].map((lsn, i) => encodeEntry(lsn, OPS.slice(0, 1 + i), 'batch'));
    return [
      Draw.with([0, 4000, 9, 99, 400], Buffer.concat(entries)),
      Draw.with([33, 900, 0, 12, 3], entries[2]!),
    ];
  },
  fix(input) {
    let at = 10;
    while (at + ENTRY_HEADER_BYTES + MIN_ENTRY_LEN <= input.byteLength) {
      const end = at + ENTRY_HEADER_BYTES + decodeEntryLen(input, at);
      if (end > input.byteLength) return;
      fixLast(input.subarray(at, end));
      at = end;
    }
  },
  run(input) {
    const draw = new Draw(input);
    const numbers = [draw.below(1000), draw.below(8192)];
    const sizes = [draw.below(64), draw.below(2000), draw.below(500)];
    const bytes = draw.rest();
    const ring = Math.max(numbers[1]!, bytes.byteLength, 1);
    const range = { start: numbers[0]! % ring, liveBytes: Math.min(ring, numbers[1]!), ringBytes: ring };
    const replay = (pieces: readonly Buffer[]) => {
      const replayed = new WalReplay(range);
      const entries = pieces.flatMap((piece) =>
        replayed.push(piece).map(({ ops, ...entry }) => ({ ...entry, ops: structuredClone(ops()) })),
      );
      return { entries, result: replayed.finish() };
    };
    const whole = replay([bytes]);
    claim(same(replay(piecesOf(bytes, sizes)), whole), 'pieces make no difference');
    const used = whole.entries.reduce((sum, { length }) => sum + length, 0);
    claim(
      used + (whole.result.stop?.droppedBytes ?? 0) === range.liveBytes,
      'every live byte is accounted for',
    );
  },
};

const GEOMETRY: WalGeometry = { segmentBytes: 128, segmentCount: 3 };

const walHeaders: Target = {
  name: 'wal-headers',
  seeds: () => {
    const log = Buffer.alloc(walFileBytes(GEOMETRY));
    encodeSectionHeader({ start: 30, end: 90, full: false }).copy(log);
    for (let i = 0; i < 3; i++)
      encodeSegmentHeader(BigInt(i + 1), 0n).copy(log, segmentHeaderOffset(GEOMETRY, i));
    const cut = log.subarray(0, -50);
    return [log, Buffer.from(cut), Buffer.concat([log, Buffer.alloc(70)])];
  },
  fix(input) {
    for (
      let at = input.indexOf('AWAL');
      at >= 0 && at + 28 <= input.byteLength;
      at = input.indexOf('AWAL', at + 1)
    )
      input.writeUInt32LE(crc32(input.subarray(at, at + 22)), at + 22);
  },
  words: ['AWAL'],
  async run(input) {
    const geometry = await inferGeometry(input.byteLength, (at) => input.subarray(at, at + 28));
    if (geometry === undefined || input.byteLength < 16) return 'refused';
    claim(geometry.segmentCount >= 1 && geometry.segmentBytes > 28, 'a segment has room for data');
    const header = decodeSectionHeader(input);
    if (sectionProblem(geometry, header) !== undefined) return 'refused';
    const live = liveBytes(geometry, header);
    claim(live >= 0 && live <= ringBytes(geometry), 'no more is live than there is');
    const extents = ringExtents(geometry, header.start, live);
    claim(extents.reduce((sum, { length }) => sum + length, 0) === live, 'the extents hold all that is live');
    for (const { offset, length } of extents)
      claim(
        length > 0 && offset >= 44 && offset + length <= walFileBytes(geometry),
        'and lie within the file',
      );
    claim(same(decodeSectionHeader(encodeSectionHeader(header)), header), 'written and read again');
  },
};

const lsmBlock: Target = {
  name: 'lsm-block',
  seeds: () => [BLOCK, encodeBlock([], 0)],
  fix: fixLast,
  run(input) {
    if (blockDamage(input, 32) !== undefined) return 'refused';
    const { value } = decodeBlock(input, 32);
    if (value === undefined) return 'refused';
    const bytes = value.reduce((sum, entry) => sum + tableEntryBytes(entry), 0);
    claim(encodeBlock(value, bytes).equals(input), 'what was read is written the same');
  },
};

const lsmPacked: Target = {
  name: 'lsm-packed-block',
  seeds: () => {
    const lz4Payload = Buffer.from([9, 0, 0, 0, 0x90, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const zstdPayload = Buffer.from(`28b52ffd2009490000${'00'.repeat(9)}`, 'hex'); // one raw block
    return [lz4Payload, zstdPayload].map((payload, turn) => {
      const block = Buffer.concat([Buffer.from([1, 0, 0, 0, 9, 0, 0, 0]), payload, Buffer.alloc(4)]);
      fixLast(block);
      return Draw.with([turn], block);
    });
  },
  fix: (input) => fixLast(input.subarray(2)),
  run(input) {
    const bytes = new Draw(input);
    const compression = bytes.below(2) === 0 ? 'lz4' : 'zstd';
    const packed = bytes.rest();
    const { block, problem } = decompressBlock(packed, compression);
    if (block === undefined) return 'refused';
    claim(problem === undefined, 'there is a block or a problem, and never both');
    claim(block.byteLength === packed.readUInt32LE(4) + 12, 'the block has the size that it declares');
    decodeBlock(block, 32);
  },
};

const lsmIndex: Target = {
  name: 'lsm-index',
  seeds: () => [
    encodeIndex([]),
    encodeIndex([
      { offset: 32, sizeBytes: 100, firstKey: Buffer.from('a'), lastKey: Buffer.from('b') },
      { offset: 132, sizeBytes: 50, firstKey: Buffer.from('b'), lastKey: Buffer.from('zz') },
    ]),
  ],
  run(input) {
    const { value: index } = decodeIndex(input, 182);
    if (index === undefined) return 'refused';
    indexDamage(index, 2, 182);
    if (index.every(({ offset }) => Number.isSafeInteger(offset)))
      claim(encodeIndex(index).equals(input), 'what was read is written the same');
    const key = index[0]?.lastKey ?? input;
    for (const found of [findBlock(index, key), findLastBlock(index, key)])
      claim(found >= -1 && found <= index.length, 'a look-up ends within the index');
  },
};

const bloom: Target = {
  name: 'lsm-bloom',
  seeds: () => {
    const { hashCount, bytes } = bloomShape(3);
    return [encodeBloom({ hashCount, bits: Buffer.alloc(bytes, 0xff) })];
  },
  run(input) {
    const { filter } = decodeBloom(input);
    if (filter === undefined) return 'refused';
    claim(encodeBloom(filter).equals(input), 'what was read is written the same');
    mayContain(filter, input.subarray(0, 9));
    if (filter.bits.every((byte) => byte === 0xff))
      claim(mayContain(filter, input), 'a full filter denies nothing');
  },
};

const checkpoint: Target = {
  name: 'lsm-checkpoint',
  seeds: () => [encodeCheckpoint({ lsn: 5n, createdAtMs: 9n })],
  fix: (input) => fixLast(input.subarray(0, 24)),
  maxBytes: 40,
  run(input) {
    const decoded = decodeCheckpoint(input);
    if (decoded.checkpoint === undefined) return 'refused';
    claim(
      encodeCheckpoint(decoded.checkpoint).equals(input.subarray(0, 24)),
      'what was read is written the same',
    );
  },
};

const tableEnds: Target = {
  name: 'lsm-table-ends',
  seeds: () => {
    const counts = { blockCount: 2, entryCount: 3n, minKeyBytes: 1, maxKeyBytes: 9 };
    const spans = { indexOffset: 132, indexBytes: 40, bloomOffset: 172, bloomBytes: 12 };
    const footer = encodeTableFooter({ ...spans, minTimestamp: 1n, maxTimestamp: 9n, crc32: 5 });
    const bare = encodeTableFooter({
      ...spans,
      bloomOffset: 0,
      bloomBytes: 0,
      minTimestamp: 0n,
      maxTimestamp: 0n,
      crc32: 0,
    });
    return [
      Buffer.concat([encodeTableHeader({ ...counts, hasBloom: true }), footer]),
      Buffer.concat([encodeTableHeader({ ...counts, hasBloom: false }), bare]),
    ];
  },
  words: ['ASST', 'TSSA'],
  maxBytes: 80,
  run(input) {
    const size = 232;
    const footerAt = size - TABLE_FOOTER_BYTES;
    const header = decodeTableHeader(input).value;
    const footer = decodeTableFooter(input.subarray(TABLE_HEADER_BYTES), footerAt).value;
    if (footer !== undefined && [footer.indexOffset, footer.bloomOffset].every(Number.isSafeInteger))
      claim(
        encodeTableFooter(footer).equals(input.subarray(TABLE_HEADER_BYTES)),
        'a footer is written as it was read',
      );
    if (header === undefined || footer === undefined) return 'refused';
    if (layoutDamage(header, footer, size) !== undefined) return 'refused';
    claim(
      footer.indexOffset >= TABLE_HEADER_BYTES && footer.indexOffset + footer.indexBytes <= footerAt,
      'the index fits',
    );
    for (const { offset } of gapDamage(header, footer, size))
      claim(offset >= TABLE_HEADER_BYTES && offset <= footerAt, 'a gap lies within the file');
  },
};

export const FORMAT_TARGETS: readonly Target[] = [
  varint,
  lz4,
  walEntry,
  walReplay,
  walHeaders,
  lsmBlock,
  lsmPacked,
  lsmIndex,
  bloom,
  checkpoint,
  tableEnds,
];
