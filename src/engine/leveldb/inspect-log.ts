import type { OpenFile } from '../../env/file-system.ts';
import { RunControl } from '../../env/worker-pool.ts';
import { decodeBatchHeader, scanBatch } from '../../format/leveldb/batch.ts';
import { decodeInternalKey } from '../../format/leveldb/internal-key.ts';
import { LogDecoder, type LogRecord } from '../../format/leveldb/log.ts';
import { Version } from '../../format/leveldb/version.ts';
import { decodeVersionEdit, type TableEntry, type VersionEdit } from '../../format/leveldb/version-edit.ts';
import { type DescribedKey, describeKey } from '../lsm/describe.ts';
import { streamFile } from '../raw-file-check.ts';
import { finishLog } from './check-log.ts';
import { Findings } from './findings.ts';

export interface LogDescription {
  readonly kind: 'log';
  readonly size_bytes: number;
  readonly records_total: number;
  /** The first of them. */
  readonly records: readonly DescribedBatch[];
  readonly problems: readonly string[];
}

export interface DescribedBatch {
  readonly offset: number;
  readonly size_bytes: number;
  readonly sequence: string;
  readonly ops_total: number;
  readonly ops: readonly DescribedOp[];
}

export type DescribedOp =
  | { readonly type: 'put'; readonly key: DescribedKey; readonly value_bytes: number }
  | { readonly type: 'delete'; readonly key: DescribedKey };

export interface ManifestDescription {
  readonly kind: 'manifest';
  readonly size_bytes: number;
  readonly edits_total: number;
  /** The first of them. */
  readonly edits: readonly DescribedEdit[];
  /** What all edits add up to. */
  readonly state: {
    readonly comparator: string | null;
    readonly log_number: number | null;
    readonly next_file: number | null;
    readonly last_sequence: string | null;
    readonly tables_total: number;
    /** The first of them. */
    readonly tables: readonly DescribedTable[];
  };
  readonly problems: readonly string[];
}

export interface DescribedEdit {
  readonly offset: number;
  readonly comparator?: string;
  readonly log_number?: number;
  readonly prev_log_number?: number;
  readonly next_file?: number;
  readonly last_sequence?: string;
  readonly deleted_tables: readonly { readonly level: number; readonly number: number }[];
  readonly new_tables: readonly DescribedTable[];
}

export interface DescribedTable {
  readonly level: number;
  readonly number: number;
  readonly size_bytes: number;
  /** User keys, without the tag. */
  readonly smallest: DescribedKey;
  readonly largest: DescribedKey;
}

export async function describeLog(file: OpenFile, limit: number): Promise<LogDescription> {
  const records: DescribedBatch[] = [];
  let total = 0;
  const read = await readRecords(file, (record, problems) => {
    const { payload, offset } = record;
    const header = decodeBatchHeader(payload);
    const ops: DescribedOp[] = [];
    const problem = scanBatch(payload, (op) => {
      if (total >= limit || ops.length >= limit) return;
      const key = describeKey(op.key);
      ops.push(
        op.type === 'put' ? { type: 'put', key, value_bytes: op.value.length } : { type: 'delete', key },
      );
    });
    if (problem !== undefined) problems.push(`at byte ${offset}: ${problem}`);
    if (total++ >= limit || header === undefined) return;
    records.push({
      offset,
      size_bytes: payload.length,
      sequence: String(header.sequence),
      ops_total: header.count,
      ops,
    });
  });
  const { sizeBytes, problems } = read;
  return { kind: 'log', size_bytes: sizeBytes, records_total: total, records, problems };
}

export async function describeManifest(file: OpenFile, limit: number): Promise<ManifestDescription> {
  const edits: DescribedEdit[] = [];
  const version = new Version();
  let total = 0;
  const read = await readRecords(file, ({ payload, offset }, problems) => {
    total++;
    const edit = decodeVersionEdit(payload);
    if (typeof edit === 'string') {
      problems.push(`at byte ${offset}: ${edit}`);
      return;
    }
    problems.push(...version.apply(edit).map((contradiction) => `at byte ${offset}: ${contradiction}`));
    if (edits.length < limit) edits.push(describeEdit(offset, edit, limit));
  });
  const { tables } = version;
  return {
    kind: 'manifest',
    size_bytes: read.sizeBytes,
    edits_total: total,
    edits,
    state: {
      comparator: version.comparator ?? null,
      log_number: version.logNumber ?? null,
      next_file: version.nextFile ?? null,
      last_sequence: version.lastSequence === undefined ? null : String(version.lastSequence),
      tables_total: tables.length,
      tables: tables.slice(0, limit).map(describeTable),
    },
    problems: read.problems,
  };
}

/** Hands over every record of a log, and collects what is wrong between them. */
async function readRecords(
  file: OpenFile,
  take: (record: LogRecord, problems: string[]) => void,
): Promise<{ sizeBytes: number; problems: string[] }> {
  const decoder = new LogDecoder();
  const findings = new Findings('');
  const problems: string[] = [];
  const takeItem = (item: Parameters<Parameters<typeof finishLog>[1]>[0]): void => {
    if (item.kind === 'record') take(item, problems);
    else findings.error('', item.offset, item.message);
  };
  const { sizeBytes } = await streamFile(file, { live: true }, new RunControl(), (piece) => {
    for (const item of decoder.push(piece)) takeItem(item);
  });
  const { tornAt } = finishLog(decoder, takeItem, findings);
  if (tornAt !== undefined) findings.error('', tornAt, 'the last record is not complete');
  for (const { offset, message } of findings.list) {
    problems.push(offset === null ? message : `at byte ${offset}: ${message}`);
  }
  return { sizeBytes, problems };
}

function describeEdit(offset: number, edit: VersionEdit, limit: number): DescribedEdit {
  const { comparator, logNumber, prevLogNumber, nextFile, lastSequence } = edit;
  return {
    offset,
    ...(comparator === undefined ? {} : { comparator }),
    ...(logNumber === undefined ? {} : { log_number: logNumber }),
    ...(prevLogNumber === undefined ? {} : { prev_log_number: prevLogNumber }),
    ...(nextFile === undefined ? {} : { next_file: nextFile }),
    ...(lastSequence === undefined ? {} : { last_sequence: String(lastSequence) }),
    deleted_tables: edit.deletedFiles.slice(0, limit),
    new_tables: edit.newFiles.slice(0, limit).map(describeTable),
  };
}

function describeTable({ level, number, sizeBytes, smallest, largest }: TableEntry): DescribedTable {
  return {
    level,
    number,
    size_bytes: sizeBytes,
    smallest: describeKey(decodeInternalKey(smallest)!.userKey),
    largest: describeKey(decodeInternalKey(largest)!.userKey),
  };
}
