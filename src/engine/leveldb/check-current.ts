import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { describeCurrent, parseCurrent } from '../../format/leveldb/file-name.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import { streamFile } from '../raw-file-check.ts';
import type { CurrentFacts } from './facts.ts';

const LONGEST_BYTES = 64;

/** What CURRENT holds. Whether that is right depends on the other files: `check-consistency.ts` judges it. */
export async function checkCurrent(
  file: OpenFile,
  request: FileCheckRequest,
  run: TaskRun,
): Promise<FileCheck> {
  let content = Buffer.alloc(0);
  const read = await streamFile(file, request, run, (piece) => {
    content = Buffer.concat([content, piece.subarray(0, LONGEST_BYTES - content.length)]);
  });
  const manifest = read.sizeBytes > LONGEST_BYTES ? undefined : parseCurrent(content);
  const facts: CurrentFacts = {
    kind: 'current',
    manifest: manifest ?? null,
    holds: describeCurrent(content, read.sizeBytes),
  };
  return { ...read, findings: [], counts: {}, facts };
}
