import { findEntries, type LogBytes } from '../engine/lsm/tail-search.ts';
import type { OpenFile } from '../env/file-system.ts';
import type { RunControl } from '../env/run-control.ts';
import {
  decodeSectionHeader,
  decodeSegmentHeader,
  FIRST_SEGMENT_ID,
  liveBytes,
  physicalOffset,
  ringBytes,
  ringExtents,
  SECTION_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  sectionProblem,
  segmentProblem,
  WAL_MAGIC,
  type WalGeometry,
  walFileBytes,
} from '../format/lsm/wal.ts';
import { decodeEntryOps } from '../format/lsm/wal-entry.ts';
import { versionOf } from './lsm-table.ts';
import type { Entry, Taking } from './source.ts';
import { readWhatCanBe } from './unreadable.ts';

/** What of a log is to be looked through. */
interface Stretch {
  readonly log: LogBytes;
  /** Where a byte of it stands in the file. */
  placeOf(at: number): number;
  /** Whether all of it should be entries, from the first byte to the last. */
  readonly isLive: boolean;
}

/**
 * Hands over the commits of all entries of a log that hold, and are not in the tables: `after` is the LSN of the checkpoint. Where the
 * header does not say what is live, all of the ring is looked through.
 */
export async function salvageLsmLog(
  file: OpenFile,
  path: string,
  after: bigint | undefined,
  { take, lose }: Taking,
  control: RunControl,
): Promise<void> {
  const told = new Set<number>();
  const { log, placeOf, isLive } = await stretchOf(file, path, control, lose, (offset, length, code) => {
    if (told.has(offset)) return; // a search may read twice
    told.add(offset);
    lose({ path, offset, what: `${length} bytes cannot be read (${code})` });
  });
  const floor = after ?? -1n;
  let expected = 0;
  let last: bigint | undefined;
  const gap = (to: number, next?: bigint): void => {
    if (!isLive || to <= expected) return;
    const behind = last === undefined ? '' : ` behind commit ${last}`;
    const before = next === undefined ? '' : `, before commit ${next}`;
    const what = `${to - expected} bytes that hold no whole entry${behind}${before}`;
    lose({ path, offset: placeOf(expected), what });
  };
  for await (const found of findEntries(log, 0, { after: isLive ? undefined : floor, isAscending: isLive })) {
    control.checkCancelled();
    if (found.lsn === undefined) {
      lose({ path, offset: placeOf(found.at), what: 'from here on too much looks like entries and is none' });
      return;
    }
    const { lsn, at, bytes } = found;
    gap(at, lsn);
    expected = at + bytes.length;
    last = lsn;
    if (lsn > floor) await take(entriesOf(lsn, bytes));
  }
  gap(log.end);
}

/** An entry may have several operations on a key: the last counts. */
function entriesOf(lsn: bigint, bytes: Buffer): Entry[] {
  const newest = new Map<string, Entry>();
  let place = 0n;
  for (const op of decodeEntryOps(bytes)) {
    const key = Buffer.from(op.key);
    const value = op.type === 'put' ? Buffer.from(op.value) : undefined;
    newest.set(key.toString('latin1'), { key, version: versionOf(lsn, ++place), value });
  }
  return [...newest.values()];
}

async function stretchOf(
  file: OpenFile,
  path: string,
  control: RunControl,
  lose: Taking['lose'],
  unreadable: Parameters<typeof readWhatCanBe>[3],
): Promise<Stretch> {
  const { sizeBytes } = await file.stat();
  const read = async (offset: number, length: number): Promise<Buffer> => {
    control.checkCancelled();
    const bytes = Buffer.alloc(length); // zeros, which are no entry, where the file ends before
    const inFile = Math.max(0, Math.min(length, sizeBytes - offset));
    await readWhatCanBe(file, bytes.subarray(0, inFile), offset, unreadable);
    control.addBytes(inFile);
    return bytes;
  };
  const geometry = await findGeometry(sizeBytes, read);
  if (geometry === undefined) {
    const what = 'no header of a segment holds, so entries were looked for everywhere in the file';
    lose({ path, offset: SECTION_HEADER_BYTES, what });
    const log = {
      end: sizeBytes,
      async *read(from: number, to: number) {
        yield await read(from, to - from);
      },
    };
    return { log, placeOf: (at) => at, isLive: false };
  }
  const ring = ringBytes(geometry);
  const header = decodeSectionHeader(await read(0, SECTION_HEADER_BYTES));
  const problem =
    walFileBytes(geometry) === sizeBytes ? sectionProblem(geometry, header) : 'the file was cut off';
  if (problem === undefined)
    return ringStretch(geometry, header.start, liveBytes(geometry, header), read, true);
  lose({ path, offset: 0, what: `${problem}, so entries were looked for everywhere` });
  // Twice around: an entry may go on at the begin of the ring.
  return ringStretch(geometry, 0, 2 * ring, read, false);
}

const WINDOW_BYTES = 1024 * 1024;
/** In smaller ones a hostile file would cost a read for each few bytes. */
const LEAST_SEGMENT_BYTES = 512;

/**
 * The size of the segments by the first header behind the first one that holds, wherever it is, and as many segments as the file has
 * room for, whole or not. Undefined when no header holds.
 */
async function findGeometry(
  sizeBytes: number,
  read: (offset: number, length: number) => Promise<Buffer>,
): Promise<WalGeometry | undefined> {
  for (let at = SECTION_HEADER_BYTES + 1; at < sizeBytes; at += WINDOW_BYTES) {
    const window = await read(at, Math.min(WINDOW_BYTES + SEGMENT_HEADER_BYTES, sizeBytes - at));
    for (let found = window.indexOf(WAL_MAGIC); found !== -1; found = window.indexOf(WAL_MAGIC, found + 1)) {
      const header = window.subarray(found, found + SEGMENT_HEADER_BYTES);
      if (header.length < SEGMENT_HEADER_BYTES) break;
      const index = Number(decodeSegmentHeader(header).id - FIRST_SEGMENT_ID);
      const segmentBytes = (at + found - SECTION_HEADER_BYTES) / index;
      if (
        index < 1 ||
        !Number.isInteger(segmentBytes) ||
        segmentBytes < LEAST_SEGMENT_BYTES ||
        segmentProblem(header, index) !== undefined
      )
        continue;
      return { segmentBytes, segmentCount: Math.ceil((sizeBytes - SECTION_HEADER_BYTES) / segmentBytes) };
    }
  }
  return undefined;
}

function ringStretch(
  geometry: WalGeometry,
  start: number,
  end: number,
  read: (offset: number, length: number) => Promise<Buffer>,
  isLive: boolean,
): Stretch {
  const ring = ringBytes(geometry);
  const log: LogBytes = {
    end,
    async *read(from, to) {
      for (const { offset, length } of ringExtents(geometry, (start + from) % ring, to - from))
        yield await read(offset, length);
    },
  };
  return { log, placeOf: (at) => physicalOffset(geometry, (start + at) % ring), isLive };
}
