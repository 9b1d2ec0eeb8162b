import { join } from 'node:path';
import { inspectRegular, listTables, readCheckpointFile } from '../engine/lsm/directory.ts';
import { CHECKPOINT, LAST_SENSIBLE_NUMBER, LOCK, LOG, TABLES, tablePath } from '../engine/lsm/names.ts';
import { judgeTail } from '../engine/lsm/tail-search.ts';
import { refuseOccupiedFolder } from '../engine/occupied-folder.ts';
import { refuseUnfinishedRestore } from '../engine/unfinished-restore.ts';
import type { FileSystem } from '../env/file-system.ts';
import { listIfPresent, makeFolders, removeIfPresent } from '../env/io.ts';
import { StillpointError } from '../errors.ts';
import { decodeCheckpoint } from '../format/lsm/checkpoint.ts';
import { type ReplayResult, type WalEntry, WalReplay } from '../format/lsm/wal-replay.ts';
import type { Flusher } from './flusher.ts';
import type { ResolvedOptions } from './options.ts';
import { damagedLog, RingLog, TEMPORARY_LOG } from './ring-log.ts';
import { Store } from './shared-state.ts';
import { TableFile } from './table-file.ts';
import { isTemporaryTable } from './table-writer.ts';

const TEMPORARY_CHECKPOINT = `.${CHECKPOINT}.tmp`;

/**
 * Opens the files of a database, or makes those of a new one. Nothing that is damaged is skipped: a table that cannot be
 * opened, a log that is missing beside tables, a log whose frame does not hold are `DATABASE_DAMAGED` and change nothing.
 */
export async function openStore(dir: string, options: ResolvedOptions): Promise<Store> {
  const { fs, createIfMissing, walGeometry, verifyTablesOnOpen } = options;
  await refuseUnfinishedRestore(fs, dir);
  const ids = await listTables(fs, dir);
  const highest = ids.at(-1) ?? 0n;
  if (highest > LAST_SENSIBLE_NUMBER) {
    const table = join(dir, tablePath(highest));
    throw new StillpointError('DATABASE_DAMAGED', `the id of ${table} leaves none to follow`, {
      path: table,
    });
  }
  const checkpoint = await readCheckpointFile(fs, dir);
  const path = join(dir, LOG);
  if ((await inspectRegular(fs, path)) === undefined) {
    if (ids.length > 0 || checkpoint !== undefined) {
      throw new StillpointError('DATABASE_DAMAGED', `the log ${path} is missing beside what it belongs to`, {
        path,
      });
    }
    if (!createIfMissing) throw noDatabase(dir);
    await RingLog.create(fs, path, walGeometry);
  }
  await removeLeftOvers(fs, dir);
  const log = await RingLog.open(fs, path);
  const tables: TableFile[] = [];
  try {
    for (const id of ids) tables.push(await TableFile.open(fs, dir, id, verifyTablesOnOpen));
    await makeFolders(fs, join(dir, TABLES));
  } catch (error) {
    for (const table of tables) await table.release();
    await log.close();
    throw error;
  }
  // A damaged checkpoint is ignored, as in the engine: then all of the log is replayed.
  const lsn = checkpoint && decodeCheckpoint(checkpoint.bytes).checkpoint?.lsn;
  return new Store(dir, options, log, tables, { lsn: lsn ?? 0n, bytes: checkpoint?.bytes });
}

const OWN_NAMES = new Set([LOG, CHECKPOINT, TABLES, LOCK, TEMPORARY_LOG, TEMPORARY_CHECKPOINT]);

/**
 * `ENGINE_MISMATCH` where a new database would come to stand among files that are not its own. Asked before the lock file
 * is made, so that nothing is left in such a folder; one that has a log is a database, whatever else is in it.
 */
export async function refuseForeignFolder(dir: string, { fs }: ResolvedOptions): Promise<void> {
  if ((await fs.inspect(join(dir, LOG))) !== undefined) return;
  await refuseOccupiedFolder(fs, dir, 'lsm', (name) => OWN_NAMES.has(name));
}

export const noDatabase = (dir: string): StillpointError =>
  new StillpointError('NOT_FOUND', `there is no lsm database in ${dir}`, { path: dir });

async function removeLeftOvers(fs: FileSystem, dir: string): Promise<void> {
  await removeIfPresent(fs, join(dir, TEMPORARY_LOG));
  await removeIfPresent(fs, join(dir, TEMPORARY_CHECKPOINT));
  for (const { name } of await listIfPresent(fs, join(dir, TABLES))) {
    if (isTemporaryTable(name)) await removeIfPresent(fs, join(dir, TABLES, name));
  }
}

/**
 * Brings the commits of the log that are in no table yet back into memory. The log is read twice: once to see whether it
 * holds, and only then to apply it, since applying may already write tables. Resolves to the commits applied.
 */
export async function replayLog(store: Store, flusher: Flusher): Promise<number> {
  const { log, checkpoint } = store;
  const result = await readLog(log, async () => {});
  if (result.stop !== undefined) await cutTornTail(log, result, checkpoint.lsn);
  let replayed = 0;
  await readLog(log, async (entry, end) => {
    if (entry.lsn <= checkpoint.lsn) {
      store.flushedTo = end;
      return;
    }
    const ops = entry.ops().map((op) => {
      const key = Buffer.from(op.key);
      return op.type === 'put'
        ? { type: op.type, key, value: Buffer.from(op.value) }
        : { type: op.type, key };
    });
    store.active.apply(entry.lsn, ops);
    replayed++;
    if (!store.isActiveFull) return;
    store.freeze(end);
    flusher.wake();
    await flusher.idle();
    if (store.failure !== undefined) throw store.failure;
  });
  if (result.lastLsn !== undefined && result.lastLsn > store.lastLsn) store.lastLsn = result.lastLsn;
  if (store.lastLsn > LAST_SENSIBLE_NUMBER)
    throw damagedLog(log.path, `its LSN ${store.lastLsn} leaves none to follow`);
  return replayed;
}

async function readLog(
  log: RingLog,
  visit: (entry: WalEntry, end: number) => Promise<void>,
): Promise<ReplayResult> {
  const replay = new WalReplay({
    start: log.section.start,
    liveBytes: log.usedBytes,
    ringBytes: log.ringBytes,
  });
  let position = log.start;
  for await (const chunk of log.read(log.start, log.end)) {
    for (const entry of replay.push(chunk)) {
      position += entry.length;
      await visit(entry, position);
    }
    if (replay.hasStopped) break;
  }
  return replay.finish();
}

/**
 * What is cut off is overwritten with zeros if entries in it hold: else a later entry of the right length could one day
 * be followed by one of them.
 */
async function cutTornTail(log: RingLog, result: ReplayResult, checkpointLsn: bigint): Promise<void> {
  const { droppedBytes, message, offset } = result.stop!;
  const cut = log.end - droppedBytes;
  const tail = await judgeTail(log, cut, result.lastLsn ?? checkpointLsn);
  if (tail.damage !== undefined)
    throw damagedLog(log.path, `${message}, at ${offset} of the ring, and ${tail.damage}`);
  await log.moveEnd(cut, tail.hasEntries);
}
