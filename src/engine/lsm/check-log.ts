import { BUFFER_BYTES, withBuffer } from '../../env/buffers.ts';
import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/worker-pool.ts';
import {
  decodeSectionHeader,
  decodeSegmentHeader,
  hasWalMagic,
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
  WAL_MAGIC,
  type WalExtent,
  type WalGeometry,
  walFileBytes,
} from '../../format/lsm/wal.ts';
import { type ReplayResult, WalReplay } from '../../format/lsm/wal-replay.ts';
import { type Summed, Sums } from '../../format/sums.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import { checkPlainFile } from '../plain.ts';
import { inferLogGeometry } from './directory.ts';
import type { LogFacts } from './facts.ts';
import { FindingList } from './findings.ts';
import { readUpTo } from './read.ts';

/**
 * Reads the log once, in the order of its ring: from the physical place of `start` to the file's end, then from the
 * beginning up to there, so that the live range goes through the replay as it comes. The checksums of the whole file are
 * put together from the two halves.
 */
export async function checkLog(file: OpenFile, request: FileCheckRequest, run: TaskRun): Promise<FileCheck> {
  const { sizeBytes } = await file.stat();
  const findings = new FindingList(request.path);
  const geometry = await inferLogGeometry(file, sizeBytes);
  if (geometry === undefined) {
    const message = 'no segment header holds, so that the size of the segments is unknown';
    findings.error('LSM_LOG_GEOMETRY', Math.min(SECTION_HEADER_BYTES, sizeBytes), message);
    return { ...(await checkPlainFile(file, request, run)), findings: findings.list() };
  }
  await checkSegmentHeaders(file, geometry, findings);
  await checkSize(file, sizeBytes, geometry, findings);

  const header = decodeSectionHeader(await readUpTo(file, 0, SECTION_HEADER_BYTES));
  const problem = sectionProblem(geometry, header);
  if (problem !== undefined) {
    findings.error('LSM_LOG_SECTION', 0, `the header of the log is wrong: ${problem}`);
    return { ...(await checkPlainFile(file, request, run)), findings: findings.list() };
  }
  const { result, ...sums } = await withBuffer((buffer) =>
    replayFile(file, buffer, sizeBytes, geometry, header, request, run),
  );
  reportStop(result, geometry, request, findings);
  const lastLsn = result.lastLsn === undefined ? null : String(result.lastLsn);
  const facts: LogFacts = {
    kind: 'log',
    firstLsn: result.firstLsn === undefined ? null : String(result.firstLsn),
    lastLsn,
    isWhole: result.stop === undefined,
  };
  const counts = { wal_entries: result.entries, wal_last_lsn: lastLsn };
  return { ...sums, findings: findings.list(), counts, facts };
}

async function checkSegmentHeaders(
  file: OpenFile,
  geometry: WalGeometry,
  findings: FindingList,
): Promise<void> {
  for (let index = 0; index < geometry.segmentCount; index++) {
    const offset = segmentHeaderOffset(geometry, index);
    const header = await readUpTo(file, offset, SEGMENT_HEADER_BYTES);
    const problem = segmentProblem(header, index);
    if (problem !== undefined) {
      findings.error('LSM_LOG_SEGMENT', offset, `the header of segment ${index} is damaged: ${problem}`);
    } else if (decodeSegmentHeader(header).reserved !== 0) {
      const message = `the reserved field in the header of segment ${index} is not 0`;
      findings.warn('LSM_LOG_RESERVED', offset, message);
    }
  }
}

/** The engine itself takes a file that is too long. One in which a further segment begins has lost that segment's rest. */
async function checkSize(
  file: OpenFile,
  sizeBytes: number,
  geometry: WalGeometry,
  findings: FindingList,
): Promise<void> {
  const expected = walFileBytes(geometry);
  if (sizeBytes === expected) return;
  if (hasWalMagic(await readUpTo(file, expected, WAL_MAGIC.length)))
    findings.error('LSM_LOG_CUT', sizeBytes, 'the file ends inside of a segment');
  else findings.warn('LSM_LOG_SIZE', expected, `${sizeBytes - expected} bytes stand behind the last segment`);
}

function reportStop(
  { stop, entries }: ReplayResult,
  geometry: WalGeometry,
  { live }: FileCheckRequest,
  findings: FindingList,
): void {
  if (stop === undefined) return;
  findings.add(
    live ? 'warning' : 'error',
    'LSM_LOG_TORN',
    physicalOffset(geometry, stop.offset),
    `the replay stops after ${entries} entries: ${stop.message}; ${stop.droppedBytes} bytes of the log are lost`,
  );
}

async function replayFile(
  file: OpenFile,
  buffer: Buffer,
  sizeBytes: number,
  geometry: WalGeometry,
  header: SectionHeader,
  { live: isLive }: FileCheckRequest,
  run: TaskRun,
): Promise<Summed & { readonly result: ReplayResult }> {
  const live = liveBytes(geometry, header);
  const extents = ringExtents(geometry, header.start, live);
  const replay = new WalReplay({ start: header.start, liveBytes: live, ringBytes: ringBytes(geometry) });
  let nextExtent = 0;

  const readPart = async (from: number, to: number): Promise<Sums> => {
    const sums = new Sums(!isLive);
    for (let at = from; at < to; ) {
      run.checkCancelled();
      const count = await readFully(file, buffer.subarray(0, Math.min(BUFFER_BYTES, to - at)), at);
      if (count === 0) break;
      const chunk = buffer.subarray(0, count);
      sums.add(chunk);
      run.addBytes(count);
      nextExtent = feed(replay, extents, nextExtent, chunk, at);
      at += count;
    }
    return sums;
  };

  const pivot = extents[0]?.offset ?? 0;
  const back = await readPart(pivot, sizeBytes);
  const whole = await readPart(0, pivot);
  whole.append(back);
  return { ...whole.result(), result: replay.finish() };
}

/** Hands to the replay what of the extents lies in this chunk; returns the extent to go on with. */
function feed(
  replay: WalReplay,
  extents: readonly WalExtent[],
  from: number,
  chunk: Buffer,
  chunkOffset: number,
): number {
  let next = from;
  for (; next < extents.length; next++) {
    const { offset, length } = extents[next]!;
    const begin = Math.max(offset - chunkOffset, 0);
    const end = Math.min(offset + length - chunkOffset, chunk.byteLength);
    if (begin >= end) break;
    replay.push(chunk.subarray(begin, end));
    if (offset + length > chunkOffset + chunk.byteLength) break;
  }
  return next;
}
