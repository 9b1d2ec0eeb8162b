import { pause } from '../../env/clock.ts';
import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { SECTION_HEADER_BYTES } from '../../format/lsm/wal.ts';
import type { Engine, FileCheck, FileCheckRequest } from '../engine.ts';
import { checkRawFile } from '../raw-file-check.ts';
import { checkCheckpoint } from './check-checkpoint.ts';
import { checkConsistency } from './check-consistency.ts';
import { checkLog } from './check-log.ts';
import { checkTable } from './check-table.ts';
import { detectLsm, listLsmFiles } from './directory.ts';
import { history } from './history.ts';
import { CHECKPOINT, LOCK, LOG, ownsInside, ownsName, TABLES, tableId } from './names.ts';
import { planFromOutside } from './plan.ts';
import { readUpTo } from './read.ts';

/** The LSM engine of Alopex DB (alopex-core 0.5.0), whose data directories this project's own database shares. */
export const lsmEngine: Engine = {
  name: 'lsm',
  sealsWithCrc32: true,
  lockFile: LOCK,
  ownsName,
  ownsInside,
  hasImmutableFiles: true,
  detect: detectLsm,
  plan: planFromOutside,
  listFiles: listLsmFiles,
  isSurelyCaptured: (path) => path !== LOG, // little of the log may be live
  checkFile,
  checkConsistency,
  history,
};

type Check = (file: OpenFile, request: FileCheckRequest, run: TaskRun) => Promise<FileCheck>;

async function checkFile(file: OpenFile, request: FileCheckRequest, run: TaskRun): Promise<FileCheck> {
  const check = checkOf(request.path);
  if (request.level === 'files' || check === undefined) return checkRawFile(file, request, run);
  return request.live ? checkSettled(check, file, request, run) : check(file, request, run);
}

function checkOf(path: string): Check | undefined {
  if (path === LOG) return checkLog;
  if (path === CHECKPOINT) return checkCheckpoint;
  const isTable = path.startsWith(`${TABLES}/`) && tableId(path.slice(TABLES.length + 1)) !== undefined;
  return isTable ? checkTable : undefined;
}

const MAX_READS = 5;
const WAIT_MS = 20;

/** In a live directory a finding counts only if the file's owner was not writing while it was read. */
async function checkSettled(
  check: Check,
  file: OpenFile,
  request: FileCheckRequest,
  run: TaskRun,
): Promise<FileCheck> {
  for (let reads = 1; ; reads++) {
    const before = await stateOf(file);
    const result = await check(file, request, run);
    if (result.findings.length === 0 || reads === MAX_READS || (await stateOf(file)) === before)
      return result;
    await pause(WAIT_MS);
  }
}

/** Size, time and the first bytes; those of a log say what is live. */
async function stateOf(file: OpenFile): Promise<string> {
  const { sizeBytes, mtimeNs } = await file.stat();
  const head = await readUpTo(file, 0, SECTION_HEADER_BYTES);
  return `${sizeBytes}:${mtimeNs}:${head.toString('hex')}`;
}
