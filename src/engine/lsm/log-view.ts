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

/** What a look at the log showed, while somebody may be writing to it. */
export interface LogView {
  readonly stat: FileStat;
  readonly sectionHeader: Buffer;
  /** Absent when the log cannot be understood: no geometry, or a section header that lies outside of it. */
  readonly ring?: RingView;
}

export interface RingView {
  readonly geometry: WalGeometry;
  readonly start: number;
  readonly liveBytes: number;
  readonly segmentHeaders: readonly Buffer[];
  /** The first bytes of the live range, LSN and length of the first entry; empty when the log is. */
  readonly firstEntry: Buffer;
}

/** Reads of a header that somebody is writing at that moment, before what it shows is believed. */
const MAX_READS = 8;

/**
 * Undefined when there is no log; a string tells why no whole view of it could be had. With an earlier view of the same
 * log its geometry is not looked for again: that takes hundreds of reads, and a writer does not wait for them.
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

async function viewOpenLog(file: OpenFile, earlier: LogView | undefined): Promise<LogView | string> {
  const stat = await file.stat();
  const sectionHeader = await readSectionHeader(file);
  if (sectionHeader === undefined) return 'the header of the log changed during every read of it';
  const segments =
    sectionHeader.byteLength < SECTION_HEADER_BYTES ? undefined : await readSegments(file, stat, earlier);
  if (segments === undefined) return { stat, sectionHeader };
  const { geometry, segmentHeaders } = segments;
  const header = decodeSectionHeader(sectionHeader);
  if (sectionProblem(geometry, header) !== undefined) return { stat, sectionHeader };

  const live = liveBytes(geometry, header);
  const ring: RingView = {
    geometry,
    start: header.start,
    liveBytes: live,
    segmentHeaders,
    firstEntry: await readFirstEntry(file, geometry, header.start, live),
  };
  const view: LogView = { stat, sectionHeader, ring };
  // The first entry counts only if it was still live when it was read.
  const again = await readSectionHeader(file);
  if (again === undefined) return 'the header of the log changed during every read of it';
  return changeOfHeader(view, again) ?? view;
}

/**
 * Why a log that was seen as `before` and is now seen as `now` may have lost what was live then; undefined when all of it
 * still stands. A writer may have appended in between.
 */
export function changeOfLog(before: LogView, now: LogView | string | undefined): string | undefined {
  if (now === undefined) return 'the log is gone';
  if (typeof now === 'string') return now;
  if (now.stat.ino !== before.stat.ino || now.stat.dev !== before.stat.dev) return 'the log was replaced';
  if (now.stat.sizeBytes !== before.stat.sizeBytes) return 'the log changed its size';
  const change = changeOfHeader(before, now.sectionHeader);
  if (change !== undefined || before.ring === undefined) return change;
  if (now.ring === undefined) return 'the header of the log became unreadable';
  // An empty log begins again at 0, so the same start may belong to another log; its first entry cannot be the same.
  if (
    before.ring.liveBytes > 0 &&
    !before.ring.firstEntry.equals(now.ring.firstEntry.subarray(0, before.ring.firstEntry.byteLength))
  ) {
    return 'the log was emptied and begun anew';
  }
  return undefined;
}

function changeOfHeader(before: LogView, now: Buffer): string | undefined {
  if (now.byteLength < SECTION_HEADER_BYTES || before.ring === undefined) {
    return now.equals(before.sectionHeader) ? undefined : 'the header of a log that cannot be read changed';
  }
  const header = decodeSectionHeader(now);
  const { geometry, start, liveBytes: live } = before.ring;
  if (sectionProblem(geometry, header) !== undefined) return 'the header of the log became unreadable';
  if (header.start !== start) return `the start of the log moved from ${start} to ${header.start}`;
  if (liveBytes(geometry, header) < live) return 'the log became shorter';
  return undefined;
}

async function readSegments(
  file: OpenFile,
  stat: FileStat,
  earlier: LogView | undefined,
): Promise<Pick<RingView, 'geometry' | 'segmentHeaders'> | undefined> {
  if (earlier?.ring !== undefined && isSameLog(earlier.stat, stat)) {
    const { geometry } = earlier.ring;
    const segmentHeaders = await readSegmentHeaders(file, geometry);
    if (segmentHeaders.every((bytes, index) => segmentProblem(bytes, index) === undefined))
      return { geometry, segmentHeaders };
  }
  const geometry = await inferLogGeometry(file, stat.sizeBytes);
  return geometry && { geometry, segmentHeaders: await readSegmentHeaders(file, geometry) };
}

const isSameLog = (a: FileStat, b: FileStat): boolean =>
  a.ino === b.ino && a.dev === b.dev && a.sizeBytes === b.sizeBytes;

const readSegmentHeaders = (file: OpenFile, geometry: WalGeometry): Promise<Buffer[]> =>
  Promise.all(
    Array.from({ length: geometry.segmentCount }, (_, index) => readSegmentHeader(file, geometry, index)),
  );

/** 16 bytes (fewer in a shorter file) that two reads in a row agree on: one alone may see half of a write. */
async function readSectionHeader(file: OpenFile): Promise<Buffer | undefined> {
  let last = await readUpTo(file, 0, SECTION_HEADER_BYTES);
  for (let i = 1; i < MAX_READS; i++) {
    const next = await readUpTo(file, 0, SECTION_HEADER_BYTES);
    if (next.equals(last)) return next;
    last = next;
  }
  return undefined;
}

/** A header that stays wrong is returned as it is: it is damaged, and saying so is the proof's part. */
async function readSegmentHeader(file: OpenFile, geometry: WalGeometry, index: number): Promise<Buffer> {
  const offset = segmentHeaderOffset(geometry, index);
  let bytes = await readUpTo(file, offset, SEGMENT_HEADER_BYTES);
  for (let i = 1; i < MAX_READS && segmentProblem(bytes, index) !== undefined; i++) {
    bytes = await readUpTo(file, offset, SEGMENT_HEADER_BYTES);
  }
  return bytes;
}

async function readFirstEntry(
  file: OpenFile,
  geometry: WalGeometry,
  start: number,
  live: number,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (const { offset, length } of ringExtents(geometry, start, Math.min(live, ENTRY_HEADER_BYTES))) {
    parts.push(await readUpTo(file, offset, length));
  }
  return Buffer.concat(parts);
}
