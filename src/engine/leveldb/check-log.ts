import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/worker-pool.ts';
import { decodeBatchHeader, scanBatch } from '../../format/leveldb/batch.ts';
import { LogDecoder, type LogItem } from '../../format/leveldb/log.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import { streamFile } from '../raw-file-check.ts';
import type { LogFacts } from './facts.ts';
import { Findings } from './findings.ts';

/** A write-ahead log: every record's checksum, every batch to its last byte, sequences without a gap. */
export async function checkLog(file: OpenFile, request: FileCheckRequest, run: TaskRun): Promise<FileCheck> {
  const findings = new Findings(request.path);
  const decoder = new LogDecoder();
  let batches = 0;
  let first: bigint | undefined;
  let next: bigint | undefined;

  const take = (item: LogItem): void => {
    if (item.kind === 'damage') {
      findings.error('LEVELDB_LOG_RECORD', item.offset, item.message);
      return;
    }
    batches++;
    const problem = scanBatch(item.payload);
    if (problem !== undefined) findings.error('LEVELDB_LOG_BATCH', item.offset, problem);
    const header = decodeBatchHeader(item.payload);
    if (header === undefined) return;
    if (next !== undefined && header.sequence !== next) {
      findings.error('LEVELDB_LOG_SEQUENCE', item.offset, `sequence ${header.sequence}, expected ${next}`);
    }
    first ??= header.sequence;
    next = header.sequence + BigInt(header.count);
  };

  const read = await streamFile(file, request, run, (piece) => {
    for (const item of decoder.push(piece)) take(item);
  });
  const { tornAt } = finishLog(decoder, take, findings);
  if (tornAt !== undefined && !request.live) {
    findings.error('LEVELDB_LOG_TORN', tornAt, 'the last record is not complete');
  }
  const facts: LogFacts = {
    kind: 'log',
    first: first === undefined ? null : String(first),
    next: next === undefined ? null : String(next),
    tornAt: tornAt ?? null,
  };
  const last = next === undefined || next === first ? null : String(next - 1n);
  return {
    ...read,
    findings: findings.list,
    counts: { walEntries: batches, walLastLsn: last },
    facts,
  };
}

/** Takes the decoder's last items and says where the log is torn. */
export function finishLog(
  decoder: LogDecoder,
  take: (item: LogItem) => void,
  findings: Findings,
): { tornAt: number | undefined } {
  const items = decoder.finish();
  for (;;) {
    const { done, value } = items.next();
    if (!done) {
      take(value);
      continue;
    }
    if (value.zerosAt !== undefined) {
      findings.warning('LEVELDB_LOG_ZEROS', value.zerosAt, 'zeros up to the end: space that was not written');
    }
    return value;
  }
}
