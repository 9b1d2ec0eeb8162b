import { basename } from 'node:path';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { readFully, withFile } from '../../env/io.ts';
import { RunControl } from '../../env/run-control.ts';
import { CHECKPOINT_BYTES, decodeCheckpoint } from '../../format/lsm/checkpoint.ts';
import type { TableHeader } from '../../format/lsm/table.ts';
import {
  BLOCK_HEADER_BYTES,
  blockDamage,
  decodeBlock,
  type TableEntry,
} from '../../format/lsm/table-block.ts';
import type { IndexEntry } from '../../format/lsm/table-index.ts';
import {
  decodeSectionHeader,
  decodeSegmentHeader,
  hasWalMagic,
  liveBytes,
  physicalOffset,
  ringBytes,
  ringExtents,
  SECTION_HEADER_BYTES,
  type SectionHeader,
  sectionProblem,
  WAL_MAGIC,
  type WalGeometry,
} from '../../format/lsm/wal.ts';
import { type ReplayResult, type WalEntry, WalReplay } from '../../format/lsm/wal-replay.ts';
import {
  DEFAULT_LIMIT,
  decimal,
  describeKey,
  describeOp,
  type FileDescription,
  First,
  type InspectOptions,
  problemsOf,
} from '../describe.ts';
import { decompressBlock } from './block-payload.ts';
import { segmentHeaders } from './check-log.ts';
import { checkTable } from './check-table.ts';
import { inferLogGeometry, inspectRegular } from './directory.ts';
import { findingsOf } from './findings.ts';
import { CHECKPOINT, LOG, TABLE_MAGIC, tableId } from './names.ts';
import { readUpTo } from './read.ts';
import { MAX_PIECE_BYTES, readFrame, readIndex, type TableFrame } from './table-frame.ts';

/**
 * What a single file of the lsm engine holds: `log`, `table` or `checkpoint`, which its content shows, else its name. A table
 * is checked from begin to end, however little is listed. Damage stands under `problems`, and what can be read is shown
 * anyway. Memory is bounded by `limit` and by the largest entry. Undefined when it is no file of this engine.
 */
export async function inspectLsmFile(
  fs: FileSystem,
  path: string,
  { limit = DEFAULT_LIMIT, entries = false }: InspectOptions = {},
): Promise<FileDescription | undefined> {
  if ((await inspectRegular(fs, path)) === undefined) return undefined;
  const name = basename(path);
  return withFile(fs, path, 'read', async (file) => {
    const { sizeBytes } = await file.stat();
    const magic = (await readUpTo(file, 0, TABLE_MAGIC.length)).toString('latin1');
    if (magic === TABLE_MAGIC || tableId(name) !== undefined)
      return describeTable(file, sizeBytes, limit, entries);
    const { checkpoint, problem } = decodeCheckpoint(await readUpTo(file, 0, CHECKPOINT_BYTES));
    if (problem === undefined || name === CHECKPOINT) {
      const { lsn, createdAtMs } = checkpoint ?? {};
      const problems = problem === undefined ? [] : [problem];
      return { kind: 'checkpoint', lsn: decimal(lsn), created_at_ms: decimal(createdAtMs), problems };
    }
    const geometry = await inferLogGeometry(file, sizeBytes);
    const hasMagic = hasWalMagic(await readUpTo(file, SECTION_HEADER_BYTES, WAL_MAGIC.length));
    if (geometry === undefined && !hasMagic && name !== LOG) return undefined;
    return describeLog(file, sizeBytes, geometry, limit);
  });
}

async function describeLog(
  file: OpenFile,
  sizeBytes: number,
  geometry: WalGeometry | undefined,
  limit: number,
): Promise<FileDescription> {
  const section = await readUpTo(file, 0, SECTION_HEADER_BYTES);
  const header = section.byteLength < SECTION_HEADER_BYTES ? null : decodeSectionHeader(section);
  const problems: string[] = [];
  const entries = new First(limit);
  const segments: object[] = [];
  let live = 0;
  if (geometry === undefined || header === null) {
    problems.push('no segment header holds, so that the size of the segments is unknown');
  } else {
    for await (const { index, offset, header: bytes, problem } of segmentHeaders(file, geometry)) {
      if (problem === undefined) {
        const { id, firstLsn } = decodeSegmentHeader(bytes);
        segments.push({ offset, id: decimal(id), first_lsn: decimal(firstLsn) });
      } else problems.push(`the header of segment ${index} at byte ${offset} is damaged: ${problem}`);
    }
    const problem = sectionProblem(geometry, header);
    if (problem !== undefined) problems.push(problem);
    else {
      live = liveBytes(geometry, header);
      const take = (entry: WalEntry) => entries.add(() => describeEntry(entry, geometry, limit));
      const { stop } = await replay(file, geometry, header, take);
      if (stop !== undefined) {
        const at = physicalOffset(geometry, stop.offset);
        problems.push(`the replay stops at byte ${at}: ${stop.message}; ${stop.droppedBytes} bytes are lost`);
      }
    }
  }
  return {
    kind: 'log',
    size_bytes: sizeBytes,
    geometry:
      geometry === undefined || header === null
        ? null
        : { segment_bytes: geometry.segmentBytes, segment_count: geometry.segmentCount },
    header, // logical offsets in the ring
    live_bytes: live,
    segments, // those whose header holds
    entries_total: entries.total,
    entries: entries.list,
    problems,
  };
}

const BUFFER_BYTES = 1024 * 1024;

async function replay(
  file: OpenFile,
  geometry: WalGeometry,
  header: SectionHeader,
  visit: (entry: WalEntry) => void,
): Promise<ReplayResult> {
  const live = liveBytes(geometry, header);
  const decoder = new WalReplay({ start: header.start, liveBytes: live, ringBytes: ringBytes(geometry) });
  const buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  for (const { offset, length } of ringExtents(geometry, header.start, live)) {
    for (let done = 0; done < length && !decoder.hasStopped; ) {
      const piece = buffer.subarray(0, Math.min(BUFFER_BYTES, length - done));
      const count = await readFully(file, piece, offset + done);
      if (count === 0) return decoder.finish();
      for (const entry of decoder.push(piece.subarray(0, count))) visit(entry);
      done += count;
    }
  }
  return decoder.finish();
}

/** The offset is that in the file; an entry may go on behind the next segment header. */
function describeEntry(entry: WalEntry, geometry: WalGeometry, limit: number) {
  const ops = entry.ops();
  return {
    lsn: decimal(entry.lsn),
    offset: physicalOffset(geometry, entry.offset),
    size_bytes: entry.length,
    ops_total: ops.length,
    ops: ops.slice(0, limit).map(describeOp),
  };
}

async function describeTable(
  file: OpenFile,
  sizeBytes: number,
  limit: number,
  withEntries: boolean,
): Promise<FileDescription> {
  const frame = await readFrame(file, sizeBytes, findingsOf(''));
  const index = (frame && readIndex(frame, findingsOf(''))) ?? [];
  const { findings } = await checkTable(file, { path: '', level: 'full', live: true }, new RunControl());
  const blocks: object[] = [];
  for (const { offset, sizeBytes: size_bytes, firstKey, lastKey } of index.slice(0, limit)) {
    const isPlace = Number.isSafeInteger(offset);
    const head = isPlace ? await readUpTo(file, offset, BLOCK_HEADER_BYTES) : Buffer.alloc(0);
    const entries = head.byteLength < BLOCK_HEADER_BYTES ? 0 : head.readUInt32LE(0);
    blocks.push({
      offset,
      size_bytes,
      entries,
      first_key: describeKey(firstKey),
      last_key: describeKey(lastKey),
    });
  }
  return {
    kind: 'table',
    size_bytes: sizeBytes,
    frame: frame === undefined ? null : describeFrame(frame),
    blocks_total: index.length,
    blocks,
    ...(frame !== undefined && withEntries && { entries: await listEntries(file, frame, index, limit) }),
    problems: problemsOf(findings),
  };
}

/** Header, footer and filter. */
const describeFrame = ({ header, footer, filter }: TableFrame) => ({
  compression: header.compression,
  blocks: header.blockCount,
  entries: decimal(header.entryCount),
  min_key_bytes: header.minKeyBytes,
  max_key_bytes: header.maxKeyBytes,
  index: { offset: footer.indexOffset, size_bytes: footer.indexBytes },
  filter:
    filter === undefined
      ? null
      : { offset: footer.bloomOffset, size_bytes: footer.bloomBytes, hashes: filter.hashCount },
  min_timestamp: decimal(footer.minTimestamp),
  max_timestamp: decimal(footer.maxTimestamp),
  crc32: footer.crc32,
});

async function listEntries(
  file: OpenFile,
  { header, footer }: TableFrame,
  index: readonly IndexEntry[],
  limit: number,
): Promise<object[]> {
  const entries = new First<object>(limit);
  for (const { offset, sizeBytes } of index) {
    if (entries.isFull) break;
    if (offset + sizeBytes > footer.indexOffset || sizeBytes > MAX_PIECE_BYTES) continue; // named among the problems
    const bytes = await readUpTo(file, offset, sizeBytes);
    for (const entry of readBlock(bytes, offset, header.compression)) {
      entries.add(() => ({
        type: entry.type,
        timestamp: decimal(entry.timestamp),
        sequence: decimal(entry.sequence),
        key: describeKey(entry.key),
        value_bytes: entry.value.byteLength,
      }));
    }
  }
  return entries.list;
}

/** None of a block that cannot be read: the check has named it. */
function readBlock(bytes: Buffer, offset: number, compression: TableHeader['compression']): TableEntry[] {
  const isPlain = compression === 'none';
  if (isPlain && blockDamage(bytes, offset) !== undefined) return [];
  const block = isPlain ? bytes : decompressBlock(bytes, compression).block;
  return block === undefined ? [] : (decodeBlock(block, offset).value ?? []);
}
