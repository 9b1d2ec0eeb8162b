import { findingsOf } from '../engine/leveldb/findings.ts';
import { readLog } from '../engine/leveldb/log-records.ts';
import type { FileSystem } from '../env/file-system.ts';
import { withFile } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import { decodeBatchHeader, scanBatch } from '../format/leveldb/batch.ts';
import { logName, parseFileName, tableNames } from '../format/leveldb/file-name.ts';
import { BYTEWISE_COMPARATOR, TAG_BYTES } from '../format/leveldb/internal-key.ts';
import type { LogItem } from '../format/leveldb/log.ts';
import type { Version } from '../format/leveldb/version.ts';
import { placeOf } from '../snapshot/store/layout.ts';
import { salvageTable } from './leveldb-table.ts';
import { readVersion } from './leveldb-version.ts';
import type { Entry, Taking } from './source.ts';

export interface ReadSource {
  readonly tables: number;
  readonly logs: number;
  readonly notes: readonly string[];
}

/** Hands over all that the tables and logs of the state still say. `names`: the files of the folder. */
export async function readLeveldb(
  fs: FileSystem,
  dir: string,
  names: readonly string[],
  taking: Taking,
  control: RunControl,
): Promise<ReadSource> {
  const { version, notes } = await readVersion(fs, dir, names, control);
  const comparator = version?.comparator;
  if (comparator !== undefined && comparator !== BYTEWISE_COMPARATOR) {
    throw new StillpointError('ENGINE_MISMATCH', `keys of ${dir} are ordered by "${comparator}"`, {
      path: dir,
      hint: 'Only the program that has this order can write such a database.',
    });
  }
  const tables = names.filter((name) => isPart(name, 'table', version));
  const logs = names.filter((name) => isPart(name, 'log', version)).sort();
  tellMissing(version, names, taking);
  for (const name of tables) {
    await withFile(fs, placeOf(dir, name), 'read', (file) => salvageTable(file, name, taking, control));
  }
  for (const name of logs) await salvageLog(fs, dir, name, taking, control);
  return { tables: tables.length, logs: logs.length, notes };
}

/** Without a version everything is. What is newer than the version knows of is, too: it may be an older one. */
function isPart(name: string, kind: 'table' | 'log', version: Version | undefined): boolean {
  const file = parseFileName(name);
  if (file?.kind !== kind) return false;
  if (version === undefined || file.number >= version.nextFile!) return true;
  if (kind === 'log') return version.needsLog(file.number);
  return version.tables.some(({ number }) => number === file.number);
}

function tellMissing(version: Version | undefined, names: readonly string[], { lose }: Taking): void {
  const log = version?.logNumber;
  if (log !== undefined && !names.includes(logName(log))) {
    lose({ path: logName(log), offset: null, what: 'this log is missing, and with it the newest writes' });
  }
  const present = new Set(
    names.map(parseFileName).flatMap((file) => (file?.kind === 'table' ? [file.number] : [])),
  );
  for (const { number, level, smallest, largest } of version?.tables ?? []) {
    if (present.has(number)) continue;
    const [path] = tableNames(number);
    const [from, upTo] = [smallest, largest].map((key) => key.subarray(0, -TAG_BYTES));
    lose({ path, offset: null, what: `this table of level ${level} is missing`, from, upTo });
  }
}

/** Entries that are handed over at once. */
const MANY = 1000;

async function salvageLog(
  fs: FileSystem,
  dir: string,
  path: string,
  { take, lose }: Taking,
  control: RunControl,
): Promise<void> {
  // By key: of several writes of one key the last counts. The records come without a pause, so they are kept until the end of the log.
  const newest = new Map<string, Entry>();
  let next: bigint | undefined;
  const note = (item: LogItem): void => {
    if (item.kind === 'unfinished') return; // never acknowledged, or torn by the power cut
    if (item.kind === 'damage') {
      lose({ path, offset: item.offset, what: item.message });
      return;
    }
    const problem = scanBatch(item.payload);
    const header = decodeBatchHeader(item.payload);
    if (problem !== undefined || header === undefined) {
      lose({ path, offset: item.offset, what: problem ?? 'a record that is no batch' });
      return;
    }
    const { sequence, count } = header;
    if (next !== undefined && sequence > next)
      lose({
        path,
        offset: item.offset,
        what: `the writes ${next} to ${sequence - 1n} are missing before this one`,
      });
    next = sequence + BigInt(count);
    let at = sequence;
    scanBatch(item.payload, (operation) => {
      const key = Buffer.from(operation.key);
      const value = operation.type === 'put' ? Buffer.from(operation.value) : undefined;
      newest.set(key.toString('latin1'), { key, sequence: at++, value });
    });
  };
  const findings = findingsOf(path);
  const { tornAt } = await withFile(fs, placeOf(dir, path), 'read', (file) =>
    readLog(file, { live: true }, control, findings, note),
  );
  const entries = [...newest.values()];
  for (let from = 0; from < entries.length; from += MANY) await take(entries.slice(from, from + MANY));
  if (tornAt !== undefined)
    lose({
      path,
      offset: tornAt,
      what: 'the last record is not complete; if it was acknowledged, it is lost',
    });
}
