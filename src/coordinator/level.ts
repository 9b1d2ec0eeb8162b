import { createLeveldbEngine } from '../engine/leveldb/index.ts';
import { aBoolean, aSignal, type Checks, checkOptions, optional } from '../env/checks.ts';
import { BackupCoordinator, SNAPSHOT, type SnapshotResult, type StartBackupOptions } from './backup.ts';

/** What `snapshotLevel` needs of an open database: `ClassicLevel` of `classic-level` is one. */
export interface LevelDatabase {
  /** The folder that it was opened on. */
  readonly location: string;
  readonly status: string;
  open(): Promise<void>;
}

export interface SnapshotLevelOptions extends Omit<StartBackupOptions, 'kind'> {
  /**
   * Default true: new writes wait for the few milliseconds in which the files are looked at, so that the snapshot holds
   * exactly the writes that were acknowledged at one moment. With false no write ever waits, and one that is under way
   * may or may not be in the snapshot; it is one state of the database all the same.
   */
  readonly gate?: boolean;
}

/**
 * A proven snapshot of an open LevelDB database, below `.lifecycle` in its own folder, while it is read and written. Makes no
 * call into the engine. Rejects like `BackupCoordinator.backup`; a `TypeError` when `database` is no open LevelDB.
 *
 * ```ts
 * const { location } = await snapshotLevel(db, { keep: 7 });
 * ```
 */
export async function snapshotLevel(
  database: LevelDatabase,
  options: SnapshotLevelOptions = {},
): Promise<SnapshotResult> {
  checkOptions('snapshotLevel', options, OPTIONS);
  if (typeof database?.location !== 'string' || database.location === '') {
    throw new TypeError('snapshotLevel: database must be an open ClassicLevel (it has no location)');
  }
  if (database.status === 'opening') await database.open(); // it opens itself when it is made
  if (database.status !== 'open') {
    throw new TypeError(`snapshotLevel: database must be open; its status is ${database.status}`);
  }
  const { gate = true, ...start } = options;
  const engine = createLeveldbEngine(gate ? { database } : {});
  try {
    return await new BackupCoordinator({ dataDir: database.location, engine }).backup(start);
  } finally {
    engine.detach();
  }
}

const OPTIONS: Checks<SnapshotLevelOptions> = {
  ...SNAPSHOT,
  signal: optional(aSignal),
  gate: optional(aBoolean),
};
