import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { CHECKPOINT_BYTES, decodeCheckpoint } from '../../format/lsm/checkpoint.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import { checkRawFile } from '../raw-file-check.ts';
import type { CheckpointFacts } from './facts.ts';
import { findingsOf } from './findings.ts';
import { readUpTo } from './read.ts';

/**
 * The engine takes an unusable `checkpoint.meta` for none and replays the whole log, which loses nothing: so in a live
 * directory it is a warning. In a snapshot it is an error, since nothing that is captured may be damaged.
 */
export async function checkCheckpoint(
  file: OpenFile,
  request: FileCheckRequest,
  run: TaskRun,
): Promise<FileCheck> {
  const { checkpoint, problem } = decodeCheckpoint(await readUpTo(file, 0, CHECKPOINT_BYTES));
  const plain = await checkRawFile(file, request, run);
  if (checkpoint !== undefined) {
    const facts: CheckpointFacts = { kind: 'checkpoint', lsn: String(checkpoint.lsn) };
    return { ...plain, facts };
  }
  const findings = findingsOf(request.path);
  const message = `reads as no checkpoint: ${problem}`;
  findings.add(request.live ? 'warning' : 'error', 'LSM_CHECKPOINT', 0, message);
  return { ...plain, findings: findings.list };
}
