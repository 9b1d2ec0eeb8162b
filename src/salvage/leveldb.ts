import { engineByName } from '../engine/index.ts';
import type { FileSystem } from '../env/file-system.ts';
import { listFolder, withFile } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import { CURRENT, logName, parseFileName, tableNames } from '../format/leveldb/file-name.ts';
import { BYTEWISE_COMPARATOR, TAG_BYTES } from '../format/leveldb/internal-key.ts';
import type { Version } from '../format/leveldb/version.ts';
import { placeOf } from '../snapshot/store/layout.ts';
import { salvageLog } from './leveldb-log.ts';
import { createLeveldb } from './leveldb-store.ts';
import { salvageTable } from './leveldb-table.ts';
import { findVersion } from './leveldb-version.ts';
import type { Part, ReadSource, Salvager, Source, Taking } from './source.ts';
import { unlessUnreadable } from './unreadable.ts';

export const leveldbSalvager = (): Salvager => ({
  engine: engineByName('leveldb'),
  list,
  read,
  create: createLeveldb,
});

async function list(fs: FileSystem, dir: string): Promise<Part[]> {
  const found = await listFolder(fs, dir);
  return found
    .filter(({ name }) => name === CURRENT || parseFileName(name) !== undefined)
    .map(({ name, kind }) => ({ path: name, kind }));
}

async function read(source: Source, taking: Taking, control: RunControl): Promise<ReadSource> {
  const { fs, dir, paths } = source;
  const { version, notes } = await findVersion(source, control);
  const comparator = version?.comparator;
  if (comparator !== undefined && comparator !== BYTEWISE_COMPARATOR) {
    throw new StillpointError('ENGINE_MISMATCH', `keys of ${dir} are ordered by "${comparator}"`, {
      path: dir,
      hint: 'Only the program that has this order can write such a database.',
    });
  }
  const isMissing = tellMissing(version, paths, taking);
  const told = isMissing ? [...notes, ALL_TABLES] : notes;
  const tables = paths.filter((name) => isPart(name, 'table', isMissing ? undefined : version));
  const logs = paths.filter((name) => isPart(name, 'log', version)).sort();
  for (const [names, salvage] of [
    [tables, salvageTable],
    [logs, salvageLog],
  ] as const) {
    for (const path of names) {
      await unlessUnreadable(
        () => withFile(fs, placeOf(dir, path), 'read', (file) => salvage(file, path, taking, control)),
        (code) => taking.lose({ path, offset: null, what: `the file cannot be read (${code})` }),
      );
    }
  }
  return { tables: tables.length, logs: logs.length, notes: told };
}

/** An older MANIFEST, or one whose end is lost, names tables that were merged into others and removed. */
const ALL_TABLES =
  'tables that the MANIFEST names are missing, so all others were read, too: what was deleted may be back';

/** Without a version everything is. What is newer than the version knows of is, too: it may be an older one. */
function isPart(name: string, kind: 'table' | 'log', version: Version | undefined): boolean {
  const file = parseFileName(name);
  if (file?.kind !== kind) return false;
  if (version === undefined || file.number >= version.nextFile!) return true;
  if (kind === 'log') return version.needsLog(file.number);
  return version.tables.some(({ number }) => number === file.number);
}

/** Whether tables are missing. */
function tellMissing(version: Version | undefined, names: readonly string[], { lose }: Taking): boolean {
  const log = version?.logNumber;
  if (log !== undefined && !names.includes(logName(log))) {
    lose({ path: logName(log), offset: null, what: 'this log is missing, and with it the newest writes' });
  }
  const present = new Set(
    names.map(parseFileName).flatMap((file) => (file?.kind === 'table' ? [file.number] : [])),
  );
  const missing = (version?.tables ?? []).filter(({ number }) => !present.has(number));
  for (const { number, level, smallest, largest } of missing) {
    const [path] = tableNames(number);
    const [from, upTo] = [smallest, largest].map((key) => key.subarray(0, -TAG_BYTES));
    lose({ path, offset: null, what: `this table of level ${level} is missing`, from, upTo });
  }
  return missing.length > 0;
}
