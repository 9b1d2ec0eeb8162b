import { isDeepStrictEqual } from 'node:util';
import type { Engine, FileCheck } from '../../src/engine/engine.ts';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import { inspectLeveldbFile } from '../../src/engine/leveldb/inspect.ts';
import { lsmEngine } from '../../src/engine/lsm/index.ts';
import { inspectLsmFile } from '../../src/engine/lsm/inspect.ts';
import { LEVELS } from '../../src/engine/report.ts';
import { RunControl } from '../../src/env/worker-pool.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { crc32c, maskCrc } from '../../src/format/crc32c.ts';
import { encodeBatch } from '../../src/format/leveldb/batch.ts';
import { BlockCursor } from '../../src/format/leveldb/block.ts';
import { encodeInternalKey } from '../../src/format/leveldb/internal-key.ts';
import { encodeLog } from '../../src/format/leveldb/log.ts';
import {
  type BlockHandle,
  decodeFooter,
  decodeHandle,
  FOOTER_BYTES,
  sealBlock,
  TRAILER_BYTES,
} from '../../src/format/leveldb/table.ts';
import { encodeVersionEdit } from '../../src/format/leveldb/version-edit.ts';
import { encodeCheckpoint } from '../../src/format/lsm/checkpoint.ts';
import { TABLE_FOOTER_BYTES, TABLE_HEADER_BYTES } from '../../src/format/lsm/table.ts';
import { decodeIndex } from '../../src/format/lsm/table-index.ts';
import {
  decodeSectionHeader,
  encodeSectionHeader,
  encodeSegmentHeader,
  liveBytes,
  physicalOffset,
  ringBytes,
  sectionProblem,
  segmentHeaderOffset,
  type WalGeometry,
  walFileBytes,
} from '../../src/format/lsm/wal.ts';
import { encodeEntry } from '../../src/format/lsm/wal-entry.ts';
import { craftTable, entry as leveldbEntry } from '../support/leveldb-table.ts';
import { buildTable, entry, resealTable } from '../support/lsm-table.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { fixFragments } from './leveldb-targets.ts';
import { diskWith } from './memory-folder.ts';
import { claim, type Target } from './target.ts';

type Inspect = (
  fs: ReturnType<typeof diskWith>,
  path: string,
  options: { entries: boolean; limit: number },
) => Promise<unknown>;

/** A whole file as `verify` and `inspect` read it. */
function wholeFile(engine: Engine, inspect: Inspect, path: string) {
  return async (input: Buffer): Promise<void> => {
    const check = (level: (typeof LEVELS)[number], live: boolean) =>
      engine.checkFile(new MemoryFile(input), { path, level, live }, new RunControl());
    const checks: FileCheck[] = [];
    for (const level of LEVELS) checks.push(await check(level, false));
    checks.push(await check('full', true));
    for (const one of checks) {
      claim(
        one.sizeBytes === input.byteLength && one.crc32 === crc32(input),
        'every byte is read for size and checksum',
      );
      claim(
        isDeepStrictEqual(JSON.parse(JSON.stringify(one.facts ?? null)), one.facts ?? null),
        'facts are plain JSON',
      );
      for (const { offset, path: named, message } of one.findings) {
        claim(named === path && message.length < 2000, 'a finding names the file, and is no flood');
        claim(
          offset === null || (offset >= 0 && offset <= input.byteLength),
          `its place ${offset} lies in the file`,
        );
      }
      claim(one.findings.length <= 210, 'findings are bounded');
      for (const count of Object.values(one.counts))
        claim(typeof count !== 'number' || (Number.isInteger(count) && count >= 0), 'a count is a number');
      engine.checkTogether(new Map([[path, one]]), { level: 'full', live: false });
    }
    const [, open, full] = checks;
    const isBad = (one: FileCheck) => one.findings.some(({ severity }) => severity === 'error');
    claim(!isBad(open!) || isBad(full!), 'what `open` finds, `full` finds');
    claim(isDeepStrictEqual(await check('full', false), full), 'it says the same again');
    JSON.stringify(await inspect(diskWith(path, input), path, { entries: true, limit: 20 }));
  };
}

const GEOMETRY: WalGeometry = { segmentBytes: 128, segmentCount: 4 };

function lsmLog(start: number, entries: readonly Buffer[]): Buffer {
  const log = Buffer.alloc(walFileBytes(GEOMETRY));
  const live = Buffer.concat(entries);
  const ring = ringBytes(GEOMETRY);
  const full = live.byteLength === ring;
  encodeSectionHeader({ start, end: (start + live.byteLength) % ring, full }).copy(log);
  for (let i = 0; i < 4; i++)
    encodeSegmentHeader(BigInt(i + 1), BigInt(i)).copy(log, segmentHeaderOffset(GEOMETRY, i));
  for (const [i, byte] of live.entries()) log[physicalOffset(GEOMETRY, (start + i) % ring)] = byte;
  return log;
}

/** Headers, and each entry as far as the lengths lead. */
function fixLsmLog(log: Buffer): void {
  for (let at = log.indexOf('AWAL'); at >= 0 && at + 28 <= log.byteLength; at = log.indexOf('AWAL', at + 1))
    log.writeUInt32LE(crc32(log.subarray(at, at + 22)), at + 22);
  if (log.byteLength !== walFileBytes(GEOMETRY)) return;
  const header = decodeSectionHeader(log);
  if (sectionProblem(GEOMETRY, header) !== undefined) return;
  const ring = ringBytes(GEOMETRY);
  const place = (at: number) => physicalOffset(GEOMETRY, (header.start + at) % ring);
  const live = Buffer.from(Array.from({ length: liveBytes(GEOMETRY, header) }, (_, i) => log[place(i)]!));
  for (let at = 0; at + 17 <= live.byteLength; ) {
    const end = at + 12 + live.readUInt32LE(at + 8);
    if (end > live.byteLength || end < at + 17) return;
    const crc = Buffer.alloc(4);
    crc.writeUInt32LE(crc32(live.subarray(at, end - 4)));
    for (let i = 0; i < 4; i++) log[place(end - 4 + i)] = crc[i]!;
    at = end;
  }
}

/** The checksum of each block that the index names, and that of the table. */
function fixLsmTable(table: Buffer): void {
  const footerAt = table.byteLength - TABLE_FOOTER_BYTES;
  if (footerAt < TABLE_HEADER_BYTES) return;
  const indexAt = Number(table.readBigUInt64LE(footerAt));
  const indexEnd = indexAt + table.readUInt32LE(footerAt + 8);
  const index =
    indexEnd <= footerAt ? decodeIndex(table.subarray(indexAt, indexEnd), indexAt).value : undefined;
  for (const { offset, sizeBytes } of index ?? []) {
    const end = offset + sizeBytes;
    if (sizeBytes < 12 || end > indexAt) continue;
    table.writeUInt32LE(crc32(table.subarray(offset, end - 4)), end - 4);
  }
  resealTable(table).copy(table);
}

function fixLeveldbTable(table: Buffer): void {
  const footerAt = table.byteLength - FOOTER_BYTES;
  const footer = footerAt < 0 ? 'too short' : decodeFooter(table.subarray(footerAt));
  if (typeof footer === 'string') return;
  const seal = ({ offset, sizeBytes }: BlockHandle): Buffer | undefined => {
    const end = offset + sizeBytes + TRAILER_BYTES;
    if (end > footerAt) return undefined;
    table.writeUInt32LE(maskCrc(crc32c(table.subarray(offset, end - 4))), end - 4);
    return table.subarray(offset, offset + sizeBytes);
  };
  for (const handle of [footer.index, footer.metaindex]) {
    const content = seal(handle);
    const cursor = content && new BlockCursor(content);
    while (cursor?.next()) {
      const named = decodeHandle(cursor.value());
      if (named !== undefined) seal(named);
    }
    seal(handle); // a block that it names may lie over it
  }
}

const target = (
  engine: 'lsm' | 'leveldb',
  file: string,
  path: string,
  rest: Omit<Target, 'name' | 'run'>,
): Target => ({
  name: `file-${engine}-${file}`,
  run:
    engine === 'lsm'
      ? wholeFile(lsmEngine, inspectLsmFile, path)
      : wholeFile(leveldbEngine, inspectLeveldbFile, path),
  ...rest,
});

const put = (key: string, value = 'value') => ({
  type: 'put' as const,
  key: Buffer.from(key),
  value: Buffer.from(value),
});
const key = (text: string, sequence: number) => encodeInternalKey(Buffer.from(text), BigInt(sequence), 1);
const long = 'x'.repeat(40_000);

export const FILE_TARGETS: readonly Target[] = [
  target('lsm', 'log', 'lsm.wal', {
    seeds: () => [
      lsmLog(0, []),
      lsmLog(60, [encodeEntry(5n, [put('a')], 'single'), encodeEntry(6n, [put('b'), put('c')], 'batch')]),
      lsmLog(390, [
        encodeEntry(7n, [put('a', 'x'.repeat(90))], 'batch'),
        encodeEntry(9n, [{ type: 'delete', key: Buffer.from('a') }], 'single'),
      ]),
      lsmLog(100, [encodeEntry(2n, [put('k', 'x'.repeat(379))], 'single')]),
    ],
    fix: fixLsmLog,
    words: ['AWAL'],
  }),
  target('lsm', 'table', 'sst/1.sst', {
    seeds: () => [
      buildTable([
        [entry('a', 5), entry('a', 3), entry('b', 9)],
        [entry('c', 4, ''), entry('dd', 2)],
      ]),
      buildTable([[entry('only', 1)]]),
    ],
    fix: fixLsmTable,
    words: ['ASST', 'TSSA'],
  }),
  target('lsm', 'checkpoint', 'checkpoint.meta', {
    seeds: () => [encodeCheckpoint({ lsn: 9n, createdAtMs: 5n })],
    fix: (input) => {
      if (input.byteLength >= 24) input.writeUInt32LE(crc32(input.subarray(0, 20)), 20);
    },
    maxBytes: 64,
  }),
  target('leveldb', 'log', '000005.log', {
    seeds: () => [
      encodeLog([
        encodeBatch(1n, [put('a'), { type: 'delete', key: Buffer.from('b') }]),
        encodeBatch(3n, [put('c')]),
      ]),
      encodeLog([encodeBatch(1n, [put('a', long)]), encodeBatch(2n, [put('b', 'y')])]),
      Buffer.concat([encodeLog([encodeBatch(1n, [put('a')])]), Buffer.alloc(50)]),
    ],
    fix: (input) => fixFragments(input, 0),
    maxBytes: 70_000,
  }),
  target('leveldb', 'manifest', 'MANIFEST-000004', {
    seeds: () => {
      const start = {
        comparator: 'leveldb.BytewiseComparator',
        logNumber: 4,
        nextFile: 9,
        lastSequence: 77n,
      };
      const table = { level: 1, number: 7, sizeBytes: 900, smallest: key('a', 1), largest: key('m', 9) };
      const next = { ...table, number: 8, smallest: key('n', 3), largest: key('z', 3) };
      const gone = {
        deletedFiles: [{ level: 1, number: 7 }],
        compactPointers: [{ level: 1, key: key('c', 1) }],
      };
      return [
        encodeLog([encodeVersionEdit({ ...start, newFiles: [table, next] }), encodeVersionEdit(gone)]),
        encodeLog([encodeVersionEdit({ ...start, comparator: 'another', prevLogNumber: 3 })]),
      ];
    },
    fix: (input) => fixFragments(input, 0),
    words: ['leveldb.BytewiseComparator'],
  }),
  target('leveldb', 'table', '000007.ldb', {
    seeds: () => {
      const blocks = [
        [leveldbEntry('a', 5), leveldbEntry('a', 3, 0), leveldbEntry('b', 9)],
        [leveldbEntry('c', 4, 1, 'x'.repeat(60)), leveldbEntry('dd', 2)],
      ];
      const handle = Buffer.from([0, 8]);
      return [
        craftTable({ blocks }),
        craftTable({ blocks, seal: (content) => sealBlock(content, 'snappy') }),
        craftTable({
          blocks: blocks.slice(1),
          filterKeys: null,
          meta: [{ key: Buffer.from('stats'), value: handle }],
        }),
      ];
    },
    fix: fixLeveldbTable,
    words: ['filter.leveldb.BuiltinBloomFilter2'],
  }),
  target('leveldb', 'current', 'CURRENT', {
    seeds: () => [Buffer.from('MANIFEST-000004\n')],
    words: ['MANIFEST-', '\n', '000000'],
    maxBytes: 100,
  }),
];
