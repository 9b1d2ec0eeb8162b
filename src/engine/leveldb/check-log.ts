import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { decodeBatchHeader, scanBatch } from '../../format/leveldb/batch.ts';
import type { LogItem } from '../../format/leveldb/log.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import type { LogFacts } from './facts.ts';
import { findingsOf } from './findings.ts';
import { readLog } from './log-records.ts';

/** A write-ahead log: every record's checksum, every batch to its last byte, sequences without a gap. */
export async function checkLog(file: OpenFile, request: FileCheckRequest, run: TaskRun): Promise<FileCheck> {
  const findings = findingsOf(request.path);
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

  const { sums, tornAt } = await readLog(file, request, run, findings, take);
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
    ...sums,
    findings: findings.list,
    counts: { walEntries: batches, walLastLsn: last },
    facts,
  };
}
