import { join } from 'node:path';
import type { FileStat, FileSystem, OpenFile } from '../../env/file-system.ts';
import { withFile } from '../../env/io.ts';
import { systemCode } from '../../errors.ts';
import {
  decodeSectionHeader,
  liveBytes,
  ringExtents,
  SECTION_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  sectionProblem,
  segmentHeaderOffset,
  segmentProblem,
  type WalGeometry,
} from '../../format/lsm/wal.ts';
import { ENTRY_HEADER_BYTES } from '../../format/lsm/wal-entry.ts';
import { inferLogGeometry, inspectRegular } from './directory.ts';
import { LOG } from './names.ts';
import { readUpTo } from './read.ts';

/** One view of a log that may be written to. */
export interface LogView {
  readonly stat: FileStat;
  readonly sectionHeader: Buffer;
  /** Absent without a geometry, or with a section header that points outside of it. */
  readonly ring?: RingView;
}

interface Extent {
  readonly geometry: WalGeometry;
  readonly start: number;
  readonly liveBytes: number;
}

export interface RingView extends Extent {
  readonly segmentHeaders: readonly Buffer[];
  /** The first bytes of the live range, LSN and length of the first entry; empty when the log is. */
  readonly firstEntry: Buffer;
}

/** Reads of a header that somebody is writing at that moment, before what it shows is believed. */
const MAX_READS = 8;

/**
 * Undefined when there is no log. A string is the reason why there is no consistent view. With an earlier view, its geometry
 * is used again while all segment headers hold: finding it takes hundreds of reads, and a writer does not wait.
 */
export async function viewLog(
  fs: FileSystem,
  dir: string,
  earlier?: LogView,
): Promise<LogView | string | undefined> {
  const path = join(dir, LOG);
  if ((await inspectRegular(fs, path)) === undefined) return undefined;
  try {
    return await withFile(fs, path, 'read', (file) => viewOpenLog(file, earlier));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

const TORN = 'the header of the log changed during every read of it';
const ANEW = 'the log was emptied and begun anew';

async function viewOpenLog(file: OpenFile, earlier: LogView | undefined): Promise<LogView | string> {
  const stat = await file.stat();
  const first = await readSectionHeader(file);
  if (first === undefined) return TORN;
  if (first.byteLength < SECTION_HEADER_BYTES) return { stat, sectionHeader: first };
  const known = earlier && isSameLog(earlier.stat, stat) ? earlier.ring?.geometry : undefined;
  const geometry = known ?? (await inferLogGeometry(file, stat.sizeBytes));
  if (geometry === undefined || sectionProblem(geometry, decodeSectionHeader(first)) !== undefined)
    return { stat, sectionHeader: first };

  // Read header and first entry twice. If the first entry is the same before and after the second header, the log was not
  // emptied and started again in between.
  const before = extentOf(geometry, first);
  const entry = await readFirstEntry(file, before);
  const sectionHeader = await readSectionHeader(file);
  if (sectionHeader === undefined) return TORN;
  const change = changeOfHeader(before, sectionHeader);
  if (change !== undefined) return change;
  const segmentHeaders = await readSegmentHeaders(file, geometry);
  if (known && segmentHeaders.some((bytes, index) => segmentProblem(bytes, index) !== undefined))
    return viewOpenLog(file, undefined);
  const extent = extentOf(geometry, sectionHeader);
  const firstEntry = await readFirstEntry(file, extent);
  if (!firstEntry.subarray(0, entry.byteLength).equals(entry)) return ANEW;
  return { stat, sectionHeader, ring: { ...extent, segmentHeaders, firstEntry } };
}

/**
 * Why a log may have lost entries between the views `before` and `now`. Undefined when all entries of `before` are still live;
 * a writer may have appended others.
 */
export function changeOfLog(before: LogView, now: LogView | string | undefined): string | undefined {
  if (now === undefined) return 'the log is gone';
  if (typeof now === 'string') return now;
  if (now.stat.ino !== before.stat.ino || now.stat.dev !== before.stat.dev) return 'the log was replaced';
  if (now.stat.sizeBytes !== before.stat.sizeBytes) return 'the log changed its size';
  if (before.ring === undefined) {
    const isSame = now.sectionHeader.equals(before.sectionHeader);
    return isSame ? undefined : 'the header of a log that cannot be read changed';
  }
  const change = changeOfHeader(before.ring, now.sectionHeader);
  if (change !== undefined) return change;
  if (now.ring === undefined) return UNREADABLE;
  // An emptied log starts again at 0, so the same start may belong to new entries. The first entry then differs.
  const { firstEntry } = before.ring;
  return now.ring.firstEntry.subarray(0, firstEntry.byteLength).equals(firstEntry) ? undefined : ANEW;
}

const UNREADABLE = 'the header of the log became unreadable';

function changeOfHeader({ geometry, start, liveBytes: live }: Extent, now: Buffer): string | undefined {
  if (now.byteLength < SECTION_HEADER_BYTES) return UNREADABLE;
  const header = decodeSectionHeader(now);
  if (sectionProblem(geometry, header) !== undefined) return UNREADABLE;
  if (header.start !== start) return `the start of the log moved from ${start} to ${header.start}`;
  return liveBytes(geometry, header) < live ? 'the log became shorter' : undefined;
}

const isSameLog = (a: FileStat, b: FileStat): boolean =>
  a.ino === b.ino && a.dev === b.dev && a.sizeBytes === b.sizeBytes;

/** Of a section header that has no `sectionProblem`. */
function extentOf(geometry: WalGeometry, sectionHeader: Buffer): Extent {
  const header = decodeSectionHeader(sectionHeader);
  return { geometry, start: header.start, liveBytes: liveBytes(geometry, header) };
}

/** 16 bytes, fewer in a shorter file, that are the same in two reads in a row: one read may see half of a write. */
async function readSectionHeader(file: OpenFile): Promise<Buffer | undefined> {
  let last = await readUpTo(file, 0, SECTION_HEADER_BYTES);
  for (let i = 1; i < MAX_READS; i++) {
    const next = await readUpTo(file, 0, SECTION_HEADER_BYTES);
    if (next.equals(last)) return next;
    last = next;
  }
  return undefined;
}

async function readSegmentHeaders(file: OpenFile, geometry: WalGeometry): Promise<Buffer[]> {
  const headers: Buffer[] = [];
  for (let index = 0; index < geometry.segmentCount; index++) {
    headers.push(await readSegmentHeader(file, geometry, index));
  }
  return headers;
}

/** A header that stays wrong is returned as it is. It is damaged, and the proof reports that. */
async function readSegmentHeader(file: OpenFile, geometry: WalGeometry, index: number): Promise<Buffer> {
  const offset = segmentHeaderOffset(geometry, index);
  let bytes = await readUpTo(file, offset, SEGMENT_HEADER_BYTES);
  for (let i = 1; i < MAX_READS && segmentProblem(bytes, index) !== undefined; i++) {
    bytes = await readUpTo(file, offset, SEGMENT_HEADER_BYTES);
  }
  return bytes;
}

async function readFirstEntry(file: OpenFile, { geometry, start, liveBytes: live }: Extent): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (const { offset, length } of ringExtents(geometry, start, Math.min(live, ENTRY_HEADER_BYTES))) {
    parts.push(await readUpTo(file, offset, length));
  }
  return Buffer.concat(parts);
}
