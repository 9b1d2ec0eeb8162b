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
  const { dir, paths } = source;
  const { version, isInUse, notes } = await findVersion(source, control);
  const comparator = version?.comparator;
  if (comparator !== undefined && comparator !== BYTEWISE_COMPARATOR) {
    throw new StillpointError('ENGINE_MISMATCH', `keys of ${dir} are ordered by "${comparator}"`, {
      path: dir,
      hint: 'Only the program that has this order can write such a database.',
    });
  }
  const missing = tellMissing(version, paths, taking);
  const told = missing.tables ? [...notes, ALL_TABLES] : notes;
  const isNamed = new Set(version?.tables.map(({ number }) => number));
  const tables = paths.filter((name) => {
    const file = parseFileName(name);
    if (file?.kind !== 'table') return false;
    if (version === undefined || missing.tables) return true;
    return isNamed.has(file.number) || file.number >= version.nextFile!;
  });
  const logs = paths.filter((name) => isLog(name, version)).sort();
  // A table that the MANIFEST in use does not name yet is what a compaction left unfinished when the database was closed. What it says is
  // in the tables that it was made from, too: it counts where those are damaged, and its end, which was never written, is no loss.
  const isSpare = (name: string) =>
    isInUse && !missing.log && !missing.tables && !isNamed.has(parseFileName(name)!.number);
  for (const path of tables) {
    await salvageFile(
      source,
      path,
      isSpare(path) ? { ...taking, lose: () => {} } : taking,
      salvageTable,
      control,
    );
  }
  for (const path of logs) await salvageFile(source, path, taking, salvageLog, control);
  return { tables: tables.length, logs: logs.length, notes: told };
}

function salvageFile(
  { fs, dir }: Source,
  path: string,
  taking: Taking,
  salvage: typeof salvageTable,
  control: RunControl,
): Promise<void> {
  return unlessUnreadable(
    () => withFile(fs, placeOf(dir, path), 'read', (file) => salvage(file, path, taking, control)),
    (code) => taking.lose({ path, offset: null, what: `the file cannot be read (${code})` }),
  );
}

/** An older MANIFEST, or one whose end is lost, names tables that were merged into others and removed. */
const ALL_TABLES =
  'tables that the MANIFEST names are missing, so all others were read, too: what was deleted may be back';

interface Missing {
  readonly log: boolean;
  readonly tables: boolean;
}

function isLog(name: string, version: Version | undefined): boolean {
  const file = parseFileName(name);
  return file?.kind === 'log' && (version === undefined || version.needsLog(file.number));
}

/** Tells what is missing of what the version asks for. */
function tellMissing(version: Version | undefined, names: readonly string[], { lose }: Taking): Missing {
  const log = version?.logNumber;
  const isLogMissing = log !== undefined && !names.includes(logName(log));
  if (isLogMissing) {
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
  return { log: isLogMissing, tables: missing.length > 0 };
}
