import { isDeepStrictEqual } from 'node:util';
import { crc32c, maskCrc } from '../../src/format/crc32c.ts';
import {
  BATCH_HEADER_BYTES,
  type BatchOperation,
  decodeBatchHeader,
  scanBatch,
} from '../../src/format/leveldb/batch.ts';
import { BlockCursor } from '../../src/format/leveldb/block.ts';
import {
  encodeCurrent,
  logName,
  parseCurrent,
  parseFileName,
  tableNames,
} from '../../src/format/leveldb/file-name.ts';
import { FilterBlock } from '../../src/format/leveldb/filter.ts';
import { BLOCK_BYTES, LogDecoder, type LogItem } from '../../src/format/leveldb/log.ts';
import {
  checkSeal,
  decodeFooter,
  encodeFooter,
  FOOTER_BYTES,
  TRAILER_BYTES,
  unpackBlock,
} from '../../src/format/leveldb/table.ts';
import { Version } from '../../src/format/leveldb/version.ts';
import { decodeVersionEdit } from '../../src/format/leveldb/version-edit.ts';
import { fixFragments } from '../support/fix-checksums.ts';
import {
  encodeBatch,
  encodeBlock,
  encodeBloom,
  encodeFilterBlock,
  encodeInternalKey,
  encodeLog,
  encodeVersionEdit,
  manifestName,
  sealBlock,
} from '../support/leveldb-encoders.ts';
import { claim, Draw, piecesOf, type Target } from './target.ts';

const same = isDeepStrictEqual;
const key = (text: string, sequence: number) => encodeInternalKey(Buffer.from(text), BigInt(sequence), 1);

const fixSeal = (sealed: Buffer): void => {
  if (sealed.byteLength < TRAILER_BYTES) return;
  sealed.writeUInt32LE(maskCrc(crc32c(sealed.subarray(0, -4))), sealed.byteLength - 4);
};

/** Near the end of a block, so that records are split in small inputs too. */
const logOffset = (draw: Draw): number =>
  [0, BLOCK_BYTES - 40, BLOCK_BYTES - 7, BLOCK_BYTES - 3][draw.below(4)]!;

const log: Target = {
  name: 'leveldb-log',
  seeds: () => {
    const records = ['', 'a record', 'x'.repeat(80)].map((text) => Buffer.from(text));
    return [0, 1, 2, 3].map((turn) =>
      Draw.with([turn, 9, 60, 300], encodeLog(records, logOffset(new Draw(Buffer.from([0, turn]))))),
    );
  },
  fix: (input) => fixFragments(input.subarray(8), logOffset(new Draw(input))),
  run(input) {
    const draw = new Draw(input);
    const offset = logOffset(draw);
    const sizes = [draw.below(50), draw.below(900), draw.below(300)];
    const bytes = draw.rest();
    const decode = (pieces: readonly Buffer[]) => {
      const decoder = new LogDecoder(offset);
      const items: LogItem[] = [];
      const keep = (item: LogItem) =>
        items.push(item.kind === 'record' ? { ...item, payload: Buffer.from(item.payload) } : item);
      for (const piece of pieces) for (const item of decoder.push(piece)) keep(item);
      const end = decoder.finish();
      for (;;) {
        const { done, value } = end.next();
        if (done) return { items, end: value };
        keep(value);
      }
    };
    const whole = decode([bytes]);
    claim(same(decode(piecesOf(bytes, sizes)), whole), 'pieces make no difference');
    const last = offset + bytes.byteLength;
    const within = (at: number | undefined) => at === undefined || (at >= offset && at <= last);
    for (const item of whole.items) claim(within(item.offset), 'what is found lies in the file');
    const { end, tornAt, zerosAt } = whole.end;
    claim(within(end) && within(tornAt) && within(zerosAt), 'the end lies in the file');
    const payloadsOf = (items: readonly LogItem[]) =>
      items.map((item) => (item.kind === 'record' ? item.payload : item.message));
    const records = whole.items.flatMap((item) => (item.kind === 'record' ? [item.payload] : []));
    claim(same(payloadsOf(decode([encodeLog(records, offset)]).items), records), 'written and read again');
  },
};

const batch: Target = {
  name: 'leveldb-batch',
  seeds: () => [
    encodeBatch(7n, [
      { type: 'put', key: Buffer.from('k'), value: Buffer.from('v') },
      { type: 'delete', key: Buffer.from('gone') },
      { type: 'put', key: Buffer.alloc(0), value: Buffer.alloc(200, 'v') },
    ]),
    encodeBatch(1n, []),
  ],
  run(input) {
    const operations: BatchOperation[] = [];
    const problem = scanBatch(input, (operation) => operations.push(operation));
    claim(scanBatch(input) === problem, 'it is judged the same without a visitor');
    if (problem !== undefined) return 'refused';
    claim(input.byteLength >= BATCH_HEADER_BYTES, 'a batch has a header');
    const { sequence } = decodeBatchHeader(input)!;
    const again: BatchOperation[] = [];
    claim(
      scanBatch(encodeBatch(sequence, operations), (operation) => again.push(operation)) === undefined,
      'written',
    );
    claim(same(again, operations), 'and read the same');
  },
};

const edit: Target = {
  name: 'leveldb-version-edit',
  seeds: () => [
    encodeVersionEdit({
      comparator: 'leveldb.BytewiseComparator',
      logNumber: 4,
      prevLogNumber: 0,
      nextFile: 9,
      lastSequence: 77n,
    }),
    encodeVersionEdit({
      compactPointers: [{ level: 1, key: key('a', 1) }],
      deletedFiles: [{ level: 0, number: 5 }],
      newFiles: [{ level: 2, number: 7, sizeBytes: 900, smallest: key('a', 1), largest: key('z', 9) }],
    }),
  ],
  run(input) {
    const decoded = decodeVersionEdit(input);
    if (typeof decoded === 'string') return 'refused';
    claim(same(decodeVersionEdit(encodeVersionEdit(decoded)), decoded), 'written and read again');
    const version = new Version();
    version.apply(decoded);
    version.apply(decoded);
    claim(version.tables.length <= decoded.newFiles.length, 'a table is live once');
  },
};

const block: Target = {
  name: 'leveldb-block',
  seeds: () => [
    encodeBlock([]),
    encodeBlock(
      Array.from({ length: 20 }, (_, i) => ({ key: key(`prefix ${i}`, i), value: Buffer.alloc(i, 'v') })),
      4,
    ),
    encodeBlock([{ key: Buffer.alloc(300, 'k'), value: Buffer.alloc(200) }]),
  ],
  run(input) {
    const cursor = new BlockCursor(input);
    const entries: { key: Buffer; value: Buffer }[] = [];
    while (cursor.next()) {
      claim(
        cursor.offset < input.byteLength && cursor.valueEnd <= input.byteLength - 4,
        'an entry lies in the block',
      );
      if (entries.length > 0)
        claim(
          cursor.previous.subarray(0, cursor.previousLength).equals(entries.at(-1)!.key),
          'the key before is kept',
        );
      entries.push({ key: cursor.copyKey(), value: Buffer.from(cursor.value()) });
    }
    claim(!cursor.next(), 'the end stays the end');
    if (cursor.problem !== undefined) return 'refused';
    const again = new BlockCursor(encodeBlock(entries));
    for (const entry of entries)
      claim(
        again.next() && again.copyKey().equals(entry.key) && again.value().equals(entry.value),
        'written and read again',
      );
    claim(!again.next() && again.problem === undefined, 'and no more');
  },
};

const filter: Target = {
  name: 'leveldb-filter',
  seeds: () => [
    encodeFilterBlock([]),
    encodeFilterBlock([encodeBloom([key('a', 1), key('b', 2)]), Buffer.alloc(0), encodeBloom([])]),
  ],
  run(input) {
    const decoded = FilterBlock.decode(input);
    if (typeof decoded === 'string') return 'refused';
    for (const offset of [0, 2048, 4096, 2 ** 40]) {
      const first = decoded.mayContain(offset, input, Math.min(8, input.byteLength));
      claim(
        decoded.mayContain(offset, input, Math.min(8, input.byteLength)) === first,
        'it says the same again',
      );
    }
  },
};

const footer: Target = {
  name: 'leveldb-footer',
  seeds: () => [
    encodeFooter({ metaindex: { offset: 5, sizeBytes: 8 }, index: { offset: 2 ** 40, sizeBytes: 300 } }),
  ],
  maxBytes: FOOTER_BYTES,
  run(input) {
    if (input.byteLength !== FOOTER_BYTES) return 'refused';
    const decoded = decodeFooter(input);
    if (typeof decoded !== 'string')
      claim(encodeFooter(decoded).equals(input), 'what was read is written the same');
  },
};

const sealed: Target = {
  name: 'leveldb-sealed-block',
  seeds: () => [
    sealBlock(Buffer.from('content')),
    sealBlock(Buffer.alloc(900, 'compressible '), 'snappy'),
    sealBlock(Buffer.from(Array.from({ length: 200 }, (_, i) => (i * 151) & 0xff)), 'snappy'),
  ],
  fix: fixSeal,
  run(input) {
    if (input.byteLength < TRAILER_BYTES || checkSeal(input).broken !== undefined) return 'refused';
    const unpacked = unpackBlock(input);
    if (!('content' in unpacked)) return 'refused';
    const again = unpackBlock(sealBlock(unpacked.content, 'snappy'));
    claim('content' in again && again.content.equals(unpacked.content), 'packed and unpacked again');
  },
};

const names: Target = {
  name: 'leveldb-names',
  seeds: () =>
    ['CURRENT', '000005.ldb', 'MANIFEST-000004\n', '1234567.log', '000003.sst'].map((name) =>
      Buffer.from(name),
    ),
  words: ['MANIFEST-', '.ldb', '.log', '.sst', '\n', '000000', '999999999999999'],
  maxBytes: 40,
  run(input) {
    const current = parseCurrent(input);
    if (current !== undefined) {
      claim(encodeCurrent(current).equals(input), 'CURRENT is written as it was read');
      claim(parseFileName(current)?.kind === 'manifest', 'and names a MANIFEST');
    }
    const name = input.toString('latin1');
    const file = parseFileName(name);
    if (file === undefined) return 'refused';
    const { kind, number } = file;
    claim(Number.isSafeInteger(number), 'a number is whole');
    const written = { log: [logName(number)], manifest: [manifestName(number)], table: tableNames(number) }[
      kind
    ];
    claim(written.includes(name), 'a name is written as it was read');
  },
};

export const LEVELDB_TARGETS: readonly Target[] = [log, batch, edit, block, filter, footer, sealed, names];
