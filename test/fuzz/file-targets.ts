import { isDeepStrictEqual } from 'node:util';
import type { Engine, FileCheck } from '../../src/engine/engine.ts';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import { inspectLeveldbFile } from '../../src/engine/leveldb/inspect.ts';
import { lsmEngine } from '../../src/engine/lsm/index.ts';
import { inspectLsmFile } from '../../src/engine/lsm/inspect.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { encodeCheckpoint } from '../../src/format/lsm/checkpoint.ts';
import {
  encodeSectionHeader,
  encodeSegmentHeader,
  physicalOffset,
  ringBytes,
  segmentHeaderOffset,
  type WalGeometry,
  walFileBytes,
} from '../../src/format/lsm/wal.ts';
import { encodeEntry } from '../../src/format/lsm/wal-entry.ts';
import { LEVELS } from '../../src/options/choices.ts';
import { fixFragments, fixLeveldbTable, fixLsmLog, fixLsmTable } from '../support/fix-checksums.ts';
import {
  encodeBatch,
  encodeInternalKey,
  encodeLog,
  encodeVersionEdit,
  sealBlock,
} from '../support/leveldb-encoders.ts';
import { craftTable, entry as leveldbEntry } from '../support/leveldb-table.ts';
import { buildTable, entry } from '../support/lsm-table.ts';
import { MemoryFile } from '../support/memory-file.ts';
import { diskWith } from './memory-folder.ts';
import { claim, type Target, type Verdict } from './target.ts';

type Inspect = (
  fs: ReturnType<typeof diskWith>,
  path: string,
  options: { entries: boolean; limit: number },
) => Promise<unknown>;

/** A whole file as `verify` and `inspect` read it. */
function wholeFile(engine: Engine, inspect: Inspect, path: string) {
  return async (input: Buffer): Promise<Verdict> => {
    const check = (level: (typeof LEVELS)[number], live: boolean) =>
      engine.checkFile(new MemoryFile(input), { path, level, live }, new RunControl());
    const checks: FileCheck[] = [];
    for (const level of LEVELS) checks.push(await check(level, false));
    checks.push(await check('full', true));
    for (const [i, one] of checks.entries()) {
      // Of a live folder the checksum may be left out.
      const isLeftOut = i === checks.length - 1 && one.crc32 === 0;
      claim(
        one.sizeBytes === input.byteLength && (isLeftOut || one.crc32 === crc32(input)),
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
      engine.checkConsistency(new Map([[path, one]]), { level: 'full', live: false });
    }
    const [, open, full] = checks;
    const isBad = (one: FileCheck) => one.findings.some(({ severity }) => severity === 'error');
    claim(!isBad(open!) || isBad(full!), 'what `open` finds, `full` finds');
    claim(isDeepStrictEqual(await check('full', false), full), 'it says the same again');
    JSON.stringify(await inspect(diskWith(path, input), path, { entries: true, limit: 20 }));
    return isBad(full!) ? 'refused' : undefined;
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
    fix: (log) => fixLsmLog(log, GEOMETRY),
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
