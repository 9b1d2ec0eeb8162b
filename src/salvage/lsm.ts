import { join } from 'node:path';
import { engineByName } from '../engine/index.ts';
import { inferLogGeometry, readCheckpointFile } from '../engine/lsm/directory.ts';
import { CHECKPOINT, LOG, TABLES, tableId } from '../engine/lsm/names.ts';
import type { FileSystem, OpenFile } from '../env/file-system.ts';
import { listFolder, withFile } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import { decodeCheckpoint } from '../format/lsm/checkpoint.ts';
import { type WalGeometry, walFileBytes } from '../format/lsm/wal.ts';
import { type LsmDatabase, openLsm } from '../lsm-database/index.ts';
import { placeOf } from '../snapshot/store/layout.ts';
import { salvageLsmLog } from './lsm-log.ts';
import { salvageLsmTable } from './lsm-table.ts';
import type { Part, ReadSource, Salvager, Source, Taking } from './source.ts';
import type { Row, Store } from './store.ts';
import { unlessUnreadable } from './unreadable.ts';

export const lsmSalvager = (): Salvager => ({ engine: engineByName('lsm'), list, read, create });

async function list(fs: FileSystem, dir: string): Promise<Part[]> {
  const parts: Part[] = [];
  for (const { name, kind } of await listFolder(fs, dir)) {
    if (name === LOG || name === CHECKPOINT) parts.push({ path: name, kind });
    if (name !== TABLES) continue;
    if (kind !== 'folder') {
      // A file in the place of the folder is no part that could be read.
      parts.push({ path: name, kind: kind === 'file' ? 'other' : kind });
      continue;
    }
    for (const table of await listFolder(fs, join(dir, TABLES))) {
      if (tableId(table.name) !== undefined)
        parts.push({ path: `${TABLES}/${table.name}`, kind: table.kind });
    }
  }
  return parts;
}

async function read(source: Source, taking: Taking, control: RunControl): Promise<ReadSource> {
  const { fs, dir, paths } = source;
  const notes: string[] = [];
  const checkpoint = await readCheckpoint(source, notes);
  const tables = paths.filter((path) => path.startsWith(`${TABLES}/`));
  const salvaged = async (path: string, work: Parameters<typeof withFile>[3]): Promise<void> =>
    unlessUnreadable<void>(
      async () => {
        await withFile(fs, placeOf(dir, path), 'read', work);
      },
      (code) => taking.lose({ path, offset: null, what: `the file cannot be read (${code})` }),
    );
  for (const path of tables) {
    await salvaged(path, (file) => salvageLsmTable(file, path, taking, control));
  }
  const hasLog = paths.includes(LOG);
  if (hasLog) await salvaged(LOG, (file) => salvageLsmLog(file, LOG, checkpoint, taking, control));
  else taking.lose({ path: LOG, offset: null, what: 'the log is missing, and with it the newest writes' });
  return { tables: tables.length, logs: Number(hasLog), notes };
}

/** Up to which commit the tables have everything; undefined where nothing says so. */
async function readCheckpoint({ fs, dir, paths }: Source, notes: string[]): Promise<bigint | undefined> {
  if (!paths.includes(CHECKPOINT)) return undefined;
  let problem: string | undefined;
  try {
    const file = await unlessUnreadable(
      () => readCheckpointFile(fs, dir),
      (code) => {
        throw new StillpointError('IO_ERROR', `it cannot be read (${code})`);
      },
    );
    const decoded = file && decodeCheckpoint(file.bytes);
    if (decoded?.checkpoint !== undefined) return decoded.checkpoint.lsn;
    problem = decoded?.problem ?? 'it is gone';
  } catch (error) {
    if (!(error instanceof StillpointError)) throw error;
    problem = error.message;
  }
  notes.push(`${CHECKPOINT} does not hold (${problem}), so all of the log was read`);
  return undefined;
}

/** With a log of the same size as that of `like`, unless that was cut off. */
async function create(dir: string, like: Source | undefined): Promise<Store> {
  const walGeometry = like?.paths.includes(LOG)
    ? await unlessUnreadable(
        () => withFile(like.fs, placeOf(like.dir, LOG), 'read', wholeGeometry),
        () => undefined,
      )
    : undefined;
  const database = await openLsm(dir, walGeometry === undefined ? {} : { walGeometry });
  return {
    getMany: (keys) => Promise.all(keys.map((key) => database.get(key))),
    put: (rows) => putAll(database, rows),
    rows: () => database.iterate(),
    async close() {
      try {
        await database.checkpoint();
      } finally {
        await database.close();
      }
    },
  };
}

/** In several batches where one would be larger than the log. */
async function putAll(database: LsmDatabase, rows: readonly Row[]): Promise<void> {
  if (rows.length === 0) return;
  try {
    await database.batch(rows.map(([key, value]) => ({ type: 'put', key, value })));
  } catch (error) {
    const isTooLarge = error instanceof StillpointError && error.code === 'INVALID_REQUEST';
    if (!isTooLarge || rows.length === 1) throw error;
    const middle = rows.length >> 1;
    await putAll(database, rows.slice(0, middle));
    await putAll(database, rows.slice(middle));
  }
}

async function wholeGeometry(file: OpenFile): Promise<WalGeometry | undefined> {
  const { sizeBytes } = await file.stat();
  const geometry = await inferLogGeometry(file, sizeBytes);
  const isWhole = geometry !== undefined && walFileBytes(geometry) === sizeBytes && geometry.segmentCount > 1;
  return isWhole ? geometry : undefined;
}
