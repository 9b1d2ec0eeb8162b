import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import {
  decodeSectionHeader,
  decodeSegmentHeader,
  liveBytes,
  physicalOffset,
  ringBytes,
  ringExtents,
  SECTION_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  type SectionHeader,
  sectionProblem,
  segmentHeaderOffset,
  segmentProblem,
  type WalGeometry,
} from '../../format/lsm/wal.ts';
import { type ReplayResult, type WalEntry, WalReplay } from '../../format/lsm/wal-replay.ts';
import { type DescribedKey, describeKey } from './describe.ts';
import { readUpTo } from './read.ts';

export interface LogDescription {
  readonly kind: 'log';
  readonly size_bytes: number;
  /** Found from the segment headers; null when none holds. */
  readonly geometry: { readonly segment_bytes: number; readonly segment_count: number } | null;
  /** Logical offsets in the ring; null when the file is too short for them. */
  readonly header: { readonly start: number; readonly end: number; readonly full: boolean } | null;
  readonly live_bytes: number;
  /** The headers that hold. */
  readonly segments: readonly DescribedSegment[];
  readonly entries_total: number;
  /** The first of them. */
  readonly entries: readonly DescribedLogEntry[];
  readonly problems: readonly string[];
}

export interface DescribedSegment {
  readonly offset: number;
  readonly id: string;
  readonly first_lsn: string;
}

export interface DescribedLogEntry {
  readonly lsn: string;
  /** In the file; an entry may go on behind the next segment header. */
  readonly offset: number;
  readonly size_bytes: number;
  readonly ops_total: number;
  readonly ops: readonly DescribedOp[];
}

export type DescribedOp =
  | { readonly type: 'put'; readonly key: DescribedKey; readonly value_bytes: number }
  | { readonly type: 'delete'; readonly key: DescribedKey };

const BUFFER_BYTES = 1024 * 1024;

export async function describeLog(
  file: OpenFile,
  sizeBytes: number,
  geometry: WalGeometry | undefined,
  limit: number,
): Promise<LogDescription> {
  const problems: string[] = [];
  const section = await readUpTo(file, 0, SECTION_HEADER_BYTES);
  const header = section.byteLength < SECTION_HEADER_BYTES ? null : decodeSectionHeader(section);
  const blank = { kind: 'log', size_bytes: sizeBytes, geometry: null, header, live_bytes: 0 } as const;
  if (geometry === undefined || header === null) {
    problems.push('no segment header holds, so that the size of the segments is unknown');
    return { ...blank, segments: [], entries_total: 0, entries: [], problems };
  }
  const segments = await describeSegments(file, geometry, problems);
  const known = {
    ...blank,
    geometry: { segment_bytes: geometry.segmentBytes, segment_count: geometry.segmentCount },
    segments,
  };
  const problem = sectionProblem(geometry, header);
  if (problem !== undefined) {
    problems.push(problem);
    return { ...known, entries_total: 0, entries: [], problems };
  }
  const entries: DescribedLogEntry[] = [];
  const { stop, entries: total } = await replay(file, geometry, header, (entry) => {
    if (entries.length < limit) entries.push(describeEntry(entry, geometry, limit));
  });
  if (stop !== undefined) {
    const at = physicalOffset(geometry, stop.offset);
    problems.push(`the replay stops at byte ${at}: ${stop.message}; ${stop.droppedBytes} bytes are lost`);
  }
  return { ...known, live_bytes: liveBytes(geometry, header), entries_total: total, entries, problems };
}

async function describeSegments(
  file: OpenFile,
  geometry: WalGeometry,
  problems: string[],
): Promise<DescribedSegment[]> {
  const segments: DescribedSegment[] = [];
  for (let index = 0; index < geometry.segmentCount; index++) {
    const offset = segmentHeaderOffset(geometry, index);
    const bytes = await readUpTo(file, offset, SEGMENT_HEADER_BYTES);
    const problem = segmentProblem(bytes, index);
    if (problem !== undefined) {
      problems.push(`the header of segment ${index} at byte ${offset} is damaged: ${problem}`);
      continue;
    }
    const { id, firstLsn } = decodeSegmentHeader(bytes);
    segments.push({ offset, id: String(id), first_lsn: String(firstLsn) });
  }
  return segments;
}

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

function describeEntry(entry: WalEntry, geometry: WalGeometry, limit: number): DescribedLogEntry {
  const ops = entry.ops();
  return {
    lsn: String(entry.lsn),
    offset: physicalOffset(geometry, entry.offset),
    size_bytes: entry.length,
    ops_total: ops.length,
    ops: ops.slice(0, limit).map((op): DescribedOp => {
      const key = describeKey(op.key);
      return op.type === 'put'
        ? { type: 'put', key, value_bytes: op.value.byteLength }
        : { type: 'delete', key };
    }),
  };
}
