import type { OpenFile } from '../../env/file-system.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { decodeBatchHeader, scanBatch } from '../../format/leveldb/batch.ts';
import type { LogItem, LogRecord, LogUnfinished } from '../../format/leveldb/log.ts';
import type { FileCheck, FileCheckRequest } from '../engine.ts';
import type { Findings } from '../findings.ts';
import type { LogFacts } from './facts.ts';
import { findingsOf } from './findings.ts';
import { readLog } from './log-records.ts';

/**
 * A write-ahead log: every record's checksum, every batch to its last byte, sequences without a gap.
 *
 * Two oddities are warnings, since no acknowledged write can be missing there. An unfinished record, and behind it one with the
 * sequence that the unfinished one had: the sequence is taken anew only when the write before was not acknowledged. A gap between
 * two records that touch: the log is only appended to, so that nothing was ever written between them; a write that
 * fails uses up its sequence.
 */
export async function checkLog(file: OpenFile, request: FileCheckRequest, run: TaskRun): Promise<FileCheck> {
  const log = new LogCheck(request.path);
  const read = await readLog(file, request, run, log.findings, (item) => log.take(item));
  const tornAt = log.unfinishedAt ?? read.tornAt;
  if (tornAt !== undefined && !request.live) {
    log.findings.error('LEVELDB_LOG_TORN', tornAt, 'the last record is not complete');
  }
  const { first, next, batches } = log;
  const facts: LogFacts = {
    kind: 'log',
    first: first === undefined ? null : String(first),
    next: next === undefined ? null : String(next),
    tornAt: tornAt ?? null,
  };
  const last = next === undefined || next === first ? null : String(next - 1n);
  return {
    ...read.sums,
    findings: log.findings.list,
    counts: { walEntries: batches, walLastLsn: last },
    facts,
  };
}

/** What the items of a log, in their order, say of it. */
export class LogCheck {
  readonly findings: Findings;
  batches = 0;
  /** Of the first operation. */
  first: bigint | undefined;
  /** That the next record must have. */
  next: bigint | undefined;
  #unfinished: LogUnfinished[] = [];
  /** Nothing but whole records since the last one with a sequence. */
  #isUnbroken = true;

  constructor(path: string) {
    this.findings = findingsOf(path);
  }

  /** Where an unfinished record begins that no whole one follows. */
  get unfinishedAt(): number | undefined {
    return this.#unfinished[0]?.offset;
  }

  take(item: LogItem): void {
    if (item.kind === 'unfinished') {
      this.#unfinished.push(item);
      this.#isUnbroken = false;
    } else if (item.kind === 'damage') {
      this.#judgeUnfinished(undefined);
      this.#isUnbroken = false;
      this.findings.error('LEVELDB_LOG_RECORD', item.offset, item.message);
    } else {
      this.#takeRecord(item);
    }
  }

  #takeRecord({ payload, offset }: LogRecord): void {
    this.batches++;
    const problem = scanBatch(payload);
    if (problem !== undefined) this.findings.error('LEVELDB_LOG_BATCH', offset, problem);
    const header = decodeBatchHeader(payload);
    this.#judgeUnfinished(header?.sequence);
    if (header === undefined) return;
    const { sequence, count } = header;
    if (this.next !== undefined && sequence !== this.next) this.#reportSequence(sequence, this.next, offset);
    this.first ??= sequence;
    this.next = sequence + BigInt(count);
    this.#isUnbroken = true;
  }

  #reportSequence(sequence: bigint, expected: bigint, offset: number): void {
    const message = `sequence ${sequence}, expected ${expected}`;
    if (sequence > expected && this.#isUnbroken) {
      const why = 'no record can have been between the two, so a write failed and was not acknowledged';
      this.findings.warning('LEVELDB_LOG_SEQUENCE', offset, `${message}: ${why}`);
    } else {
      this.findings.error('LEVELDB_LOG_SEQUENCE', offset, message);
    }
  }

  /** `sequence`: of the whole record behind them. */
  #judgeUnfinished(sequence: bigint | undefined): void {
    for (const { payload, offset, message } of this.#unfinished) {
      const begun = decodeBatchHeader(payload)?.sequence;
      const known = begun ?? this.next;
      const isSame = [begun, this.next].every((value) => value === undefined || value === sequence);
      if (sequence !== undefined && known !== undefined && isSame) {
        const why = 'the next one has its sequence, so it was never acknowledged';
        this.findings.warning('LEVELDB_LOG_UNFINISHED', offset, `${message}; ${why}`);
      } else {
        this.findings.error('LEVELDB_LOG_RECORD', offset, message);
      }
    }
    this.#unfinished = [];
  }
}
