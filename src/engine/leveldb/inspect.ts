import { basename } from 'node:path';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { readExactly, readSmallFile, withFile } from '../../env/io.ts';
import { RunControl } from '../../env/run-control.ts';
import { decodeBatchHeader, scanBatch } from '../../format/leveldb/batch.ts';
import { BlockCursor } from '../../format/leveldb/block.ts';
import { CURRENT, parseCurrent, parseFileName } from '../../format/leveldb/file-name.ts';
import { decodeInternalKey, TYPE_DELETION } from '../../format/leveldb/internal-key.ts';
import type { LogRecord } from '../../format/leveldb/log.ts';
import { checkSeal } from '../../format/leveldb/table.ts';
import { Version } from '../../format/leveldb/version.ts';
import { decodeVersionEdit, type TableEntry, type VersionEdit } from '../../format/leveldb/version-edit.ts';
import {
  DEFAULT_LIMIT,
  decimal,
  describeKey,
  describeOp,
  type FileDescription,
  First,
  type InspectOptions,
  problemsOf,
} from '../describe.ts';
import { checkTable } from './check-table.ts';
import { findingsOf } from './findings.ts';
import { readLog } from './log-records.ts';
import { contentOf, readTableFrame } from './table-frame.ts';
import { layoutOf, type Region } from './table-layout.ts';

const CURRENT_LIMIT_BYTES = 1024;

/**
 * What a single file of a LevelDB database holds; its name says which kind it is: `log`, `manifest`, `table` or `current`. A table
 * is checked from begin to end, however little is listed. Damage stands under `problems`, and what can be read is shown
 * anyway. Memory is bounded by `limit`, a table's index and the largest record or block. Undefined when it is no file of
 * LevelDB, or none at all.
 */
export async function inspectLeveldbFile(
  fs: FileSystem,
  path: string,
  { limit = DEFAULT_LIMIT, entries = false }: InspectOptions = {},
): Promise<FileDescription | undefined> {
  if ((await fs.inspect(path))?.kind !== 'file') return undefined;
  const name = basename(path);
  if (name === CURRENT) {
    const content = await readSmallFile(fs, path, CURRENT_LIMIT_BYTES);
    const manifest = (content && parseCurrent(content)) ?? null;
    return { kind: 'current', manifest, problems: manifest === null ? ['names no MANIFEST'] : [] };
  }
  const kind = parseFileName(name)?.kind;
  if (kind === undefined) return undefined;
  return withFile(fs, path, 'read', async (file) => {
    if (kind === 'log') return describeLog(file, limit);
    if (kind === 'manifest') return describeManifest(file, limit);
    return describeTable(file, limit, entries);
  });
}

async function describeLog(file: OpenFile, limit: number): Promise<FileDescription> {
  const records = new First<object>(limit);
  const { sizeBytes, problems } = await readRecords(file, ({ payload, offset }, report) => {
    const header = decodeBatchHeader(payload);
    const ops = new First(limit);
    const isListed = !records.isFull;
    const problem = scanBatch(payload, isListed ? (op) => ops.add(() => describeOp(op)) : undefined);
    if (problem !== undefined) report(offset, problem);
    records.add(() =>
      header === undefined
        ? undefined
        : {
            offset,
            size_bytes: payload.length,
            sequence: decimal(header.sequence),
            ops_total: header.count,
            ops: ops.list,
          },
    );
  });
  return {
    kind: 'log',
    size_bytes: sizeBytes,
    records_total: records.total,
    records: records.list,
    problems,
  };
}

async function describeManifest(file: OpenFile, limit: number): Promise<FileDescription> {
  const edits = new First(limit);
  const version = new Version();
  const { sizeBytes, problems } = await readRecords(file, ({ payload, offset }, report) => {
    const edit = decodeVersionEdit(payload);
    if (typeof edit === 'string') report(offset, edit);
    else for (const contradiction of version.apply(edit)) report(offset, contradiction);
    edits.add(() => (typeof edit === 'string' ? undefined : describeEdit(offset, edit, limit)));
  });
  const { comparator = null, logNumber = null, nextFile = null, lastSequence, tables } = version;
  return {
    kind: 'manifest',
    size_bytes: sizeBytes,
    edits_total: edits.total,
    edits: edits.list,
    // What all edits add up to.
    state: {
      comparator,
      log_number: logNumber,
      next_file: nextFile,
      last_sequence: decimal(lastSequence),
      tables_total: tables.length,
      tables: tables.slice(0, limit).map(describeTableEntry),
    },
    problems,
  };
}

function describeEdit(offset: number, edit: VersionEdit, limit: number) {
  const { comparator, logNumber, prevLogNumber, nextFile, lastSequence } = edit;
  return {
    offset,
    ...(comparator !== undefined && { comparator }),
    ...(logNumber !== undefined && { log_number: logNumber }),
    ...(prevLogNumber !== undefined && { prev_log_number: prevLogNumber }),
    ...(nextFile !== undefined && { next_file: nextFile }),
    ...(lastSequence !== undefined && { last_sequence: decimal(lastSequence) }),
    deleted_tables: edit.deletedFiles.slice(0, limit),
    new_tables: edit.newFiles.slice(0, limit).map(describeTableEntry),
  };
}

const userKey = (internalKey: Buffer) => describeKey(decodeInternalKey(internalKey)!.userKey);

const describeTableEntry = ({ level, number, sizeBytes, smallest, largest }: TableEntry) => ({
  level,
  number,
  size_bytes: sizeBytes,
  smallest: userKey(smallest),
  largest: userKey(largest),
});

/** Hands over every record, and collects what is wrong in and between them. */
async function readRecords(
  file: OpenFile,
  take: (record: LogRecord, report: (offset: number, problem: string) => void) => void,
): Promise<{ sizeBytes: number; problems: string[] }> {
  const findings = findingsOf('');
  const problems: string[] = [];
  const report = (offset: number, problem: string) => problems.push(`at byte ${offset}: ${problem}`);
  const { sums, tornAt } = await readLog(file, { live: true }, new RunControl(), findings, (item) => {
    if (item.kind === 'record') take(item, report);
    else findings.error('', item.offset, item.message);
  });
  if (tornAt !== undefined) findings.error('', tornAt, 'the last record is not complete');
  return { sizeBytes: sums.sizeBytes, problems: [...problems, ...problemsOf(findings.list)] };
}

async function describeTable(file: OpenFile, limit: number, withEntries: boolean): Promise<FileDescription> {
  const { sizeBytes } = await file.stat();
  const check = await checkTable(file, { path: '', level: 'full', live: true }, new RunControl());
  const ignored = findingsOf(''); // the check has named them
  const frame = await readTableFrame(file, sizeBytes, ignored);
  const regions = frame === undefined ? [] : [...layoutOf(frame, sizeBytes, ignored, ignored)];
  const data = regions.filter(({ bounds }) => bounds !== undefined);
  const entries = new First<object>(withEntries ? limit : 0);
  const blocks: object[] = [];
  for (const region of data.slice(0, limit)) blocks.push(await describeBlock(file, region, entries));
  return {
    kind: 'table',
    size_bytes: sizeBytes,
    // All blocks that are no data blocks.
    frame: (frame?.others ?? []).map((block) => ({
      name: block.name,
      offset: block.offset,
      size_bytes: block.sizeBytes,
    })),
    blocks_total: data.length,
    blocks,
    ...(withEntries && { entries: entries.list }),
    problems: problemsOf(check.findings),
  };
}

/** Its size is that in the file: compressed, with the trailer. Of a block that cannot be read, the place alone. */
async function describeBlock(file: OpenFile, { name, offset, length }: Region, entries: First<object>) {
  const place = { offset, size_bytes: length };
  const sealed = await readExactly(file, offset, length);
  const isWhole = checkSeal(sealed).broken === undefined;
  const content = isWhole ? contentOf(sealed, offset, name, findingsOf('')) : undefined;
  if (content === undefined) return { ...place, entries: 0, first_key: null, last_key: null };
  const cursor = new BlockCursor(content);
  const present = () => decodeInternalKey(cursor.key.subarray(0, cursor.keyLength));
  let count = 0;
  let first: object | null = null;
  while (cursor.next()) {
    const key = present();
    if (key === undefined) continue;
    count++;
    first ??= describeKey(key.userKey);
    entries.add(() => ({
      type: key.type === TYPE_DELETION ? 'delete' : 'put',
      sequence: decimal(key.sequence),
      key: describeKey(key.userKey),
      value_bytes: cursor.valueEnd - cursor.valueStart,
    }));
  }
  const last = present();
  return {
    ...place,
    entries: count,
    first_key: first,
    last_key: last === undefined ? null : describeKey(last.userKey),
  };
}
