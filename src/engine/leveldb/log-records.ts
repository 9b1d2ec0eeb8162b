import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { LogDecoder, type LogItem } from '../../format/leveldb/log.ts';
import type { Summed } from '../../format/sums.ts';
import type { FileCheckRequest } from '../engine.ts';
import type { Findings } from '../findings.ts';
import { streamFile } from '../raw-file-check.ts';

export interface ReadLog {
  readonly sums: Summed;
  /** Where a record begins that the file does not hold to its end. */
  readonly tornAt: number | undefined;
}

/** Reads a log or a MANIFEST once, from begin to end, and hands over its records and its damage in their order. */
export async function readLog(
  file: OpenFile,
  request: Pick<FileCheckRequest, 'live' | 'part'>,
  run: TaskRun,
  findings: Findings,
  take: (item: LogItem) => void,
): Promise<ReadLog> {
  const decoder = new LogDecoder();
  const sums = await streamFile(file, request, run, (piece) => {
    for (const item of decoder.push(piece)) take(item);
  });
  const rest = decoder.finish();
  let next = rest.next();
  for (; !next.done; next = rest.next()) take(next.value);
  const { tornAt, zerosAt } = next.value;
  if (zerosAt !== undefined)
    findings.warning('LEVELDB_LOG_ZEROS', zerosAt, 'zeros up to the end: space that was not written');
  return { sums, tornAt };
}
