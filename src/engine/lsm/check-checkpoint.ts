import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { CHECKPOINT_BYTES, decodeCheckpoint } from '../../format/lsm/checkpoint.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import { checkRawFile } from '../raw-file-check.ts';
import type { CheckpointFacts } from './facts.ts';
import { findingsOf } from './findings.ts';
import { readUpTo } from './read.ts';

/**
 * The engine ignores an unusable `checkpoint.meta` and replays the whole log, which loses nothing. So it is a warning in a live
 * directory. In a snapshot it is an error: nothing that is captured may be damaged.
 */
export async function checkCheckpoint(
  file: OpenFile,
  request: FileCheckRequest,
  run: TaskRun,
): Promise<FileCheck> {
  const { checkpoint, problem } = decodeCheckpoint(await readUpTo(file, 0, CHECKPOINT_BYTES));
  const raw = await checkRawFile(file, request, run);
  if (checkpoint !== undefined) {
    const facts: CheckpointFacts = { kind: 'checkpoint', lsn: String(checkpoint.lsn) };
    return { ...raw, facts };
  }
  const findings = findingsOf(request.path);
  const message = `reads as no checkpoint: ${problem}`;
  findings.add(request.live ? 'warning' : 'error', 'LSM_CHECKPOINT', 0, message);
  return { ...raw, findings: findings.list };
}
