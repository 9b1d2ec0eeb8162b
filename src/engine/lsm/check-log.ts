import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
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
  sectionProblem,
  segmentHeaderOffset,
  segmentProblem,
  WAL_MAGIC,
  type WalGeometry,
  walFileBytes,
} from '../../format/lsm/wal.ts';
import type { ReplayResult } from '../../format/lsm/wal-replay.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import type { Findings } from '../findings.ts';
import { checkRawFile } from '../raw-file-check.ts';
import { inferLogGeometry } from './directory.ts';
import type { LogFacts } from './facts.ts';
import { findingsOf } from './findings.ts';
import { readUpTo } from './read.ts';
import { type Log, replayFile } from './replay-file.ts';
import { judgeTail, type LogBytes } from './tail-search.ts';

/** A log: its headers, and every live entry up to where the replay ends. */
export async function checkLog(file: OpenFile, request: FileCheckRequest, run: TaskRun): Promise<FileCheck> {
  const { sizeBytes } = await file.stat();
  const findings = findingsOf(request.path);
  const geometry = await inferLogGeometry(file, sizeBytes);
  if (geometry === undefined) {
    const message = 'no segment header holds, so that the size of the segments is unknown';
    findings.error('LSM_LOG_GEOMETRY', Math.min(SECTION_HEADER_BYTES, sizeBytes), message);
    return { ...(await checkRawFile(file, request, run)), findings: findings.list };
  }
  await checkSegmentHeaders(file, geometry, findings);
  await checkSize(file, sizeBytes, geometry, findings);

  const header = decodeSectionHeader(await readUpTo(file, 0, SECTION_HEADER_BYTES));
  const problem = sectionProblem(geometry, header);
  if (problem !== undefined) {
    findings.error('LSM_LOG_SECTION', 0, `the header of the log is wrong: ${problem}`);
    return { ...(await checkRawFile(file, request, run)), findings: findings.list };
  }
  const log = { file, sizeBytes, geometry, header, withSums: !request.live };
  const { result, ...sums } = await replayFile(log, run);
  const damage = result.stop && request.live ? await damageBehind(log, result) : undefined;
  reportStop(result, geometry, request, findings, damage);
  const lastLsn = result.lastLsn === undefined ? null : String(result.lastLsn);
  const facts: LogFacts = {
    kind: 'log',
    firstLsn: result.firstLsn === undefined ? null : String(result.firstLsn),
    lastLsn,
    isWhole: result.stop === undefined,
  };
  const counts = { walEntries: result.entries, walLastLsn: lastLsn };
  return { ...sums, findings: findings.list, counts, facts };
}

async function checkSegmentHeaders(file: OpenFile, geometry: WalGeometry, findings: Findings): Promise<void> {
  for await (const { index, offset, header, problem } of segmentHeaders(file, geometry)) {
    if (problem !== undefined) {
      findings.error('LSM_LOG_SEGMENT', offset, `the header of segment ${index} is damaged: ${problem}`);
    } else if (decodeSegmentHeader(header).reserved !== 0) {
      const message = `the reserved field in the header of segment ${index} is not 0`;
      findings.warning('LSM_LOG_RESERVED', offset, message);
    }
  }
}

/** The header of each segment, and why it does not hold. */
export async function* segmentHeaders(file: OpenFile, geometry: WalGeometry) {
  for (let index = 0; index < geometry.segmentCount; index++) {
    const offset = segmentHeaderOffset(geometry, index);
    const header = await readUpTo(file, offset, SEGMENT_HEADER_BYTES);
    yield { index, offset, header, problem: segmentProblem(header, index) };
  }
}

/** The engine itself takes a file that is too long. One in which a further segment begins has lost that segment's rest. */
async function checkSize(
  file: OpenFile,
  sizeBytes: number,
  geometry: WalGeometry,
  findings: Findings,
): Promise<void> {
  const expected = walFileBytes(geometry);
  if (sizeBytes === expected) return;
  if (hasWalMagic(await readUpTo(file, expected, WAL_MAGIC.length)))
    findings.error('LSM_LOG_CUT', sizeBytes, 'the file ends inside of a segment');
  else
    findings.warning('LSM_LOG_SIZE', expected, `${sizeBytes - expected} bytes stand behind the last segment`);
}

/** Every crash leaves a torn end, which the database cuts off; where it would refuse to, so must this. */
async function damageBehind(
  { file, geometry, header }: Log,
  { stop, lastLsn }: ReplayResult,
): Promise<string | undefined> {
  const end = liveBytes(geometry, header);
  const live: LogBytes = {
    end,
    async *read(from, to) {
      const start = (header.start + from) % ringBytes(geometry);
      for (const { offset, length } of ringExtents(geometry, start, to - from)) {
        const bytes = Buffer.alloc(length); // zeros, which are no entry, where the file ends before
        await readFully(file, bytes, offset);
        yield bytes;
      }
    },
  };
  return (await judgeTail(live, end - stop!.droppedBytes, lastLsn ?? 0n)).damage;
}

/** @param damage Why what follows is more than a torn end. */
function reportStop(
  { stop, entries }: ReplayResult,
  geometry: WalGeometry,
  { live }: FileCheckRequest,
  findings: Findings,
  damage: string | undefined,
): void {
  if (stop === undefined) return;
  const count = entries === 1 ? '1 entry' : `${entries} entries`;
  const behind = damage === undefined ? '' : `, and ${damage}`;
  findings.add(
    live && damage === undefined ? 'warning' : 'error',
    'LSM_LOG_TORN',
    physicalOffset(geometry, stop.offset),
    `the replay stops after ${count}: ${stop.message}; ${stop.droppedBytes} bytes of the log are lost${behind}`,
  );
}
