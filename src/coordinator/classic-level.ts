import { join } from 'node:path';
import { createLeveldbEngine } from '../engine/leveldb/create-engine.ts';
import { isOpenElsewhere } from '../env/engine-locks.ts';
import { directoryOf } from '../operation/lifecycle.ts';
import { folderReplaced } from '../operation/meant-folder.ts';
import { type SnapshotClassicLevelOptions, snapshotClassicLevelOptions } from '../options/snapshot.ts';
import { BackupCoordinator, type SnapshotResult } from './backup.ts';
import { translated } from './long-call.ts';

/** LevelDB keeps it open. */
const LOCK = 'LOCK';

/** What `snapshotClassicLevel` needs of an open database. `ClassicLevel` of `classic-level` is one. */
export interface ClassicLevelDatabase {
  /** The folder that it was opened on. */
  readonly location: string;
  readonly status: string;
  open(): Promise<void>;
}

/**
 * Takes a proven snapshot of an open LevelDB database, below `.lifecycle` in its own folder, while it is read and written.
 * Makes no call into the engine. Rejects like `BackupCoordinator.backup`; with `FOLDER_REPLACED` when the open database is not the one
 * at its path any more, after a link was turned or the working directory changed; a `TypeError` when `database` is no open LevelDB.
 *
 * ```ts
 * const { location } = await snapshotClassicLevel(db, { keep: 7 });
 * ```
 */
export async function snapshotClassicLevel(
  database: ClassicLevelDatabase,
  options: SnapshotClassicLevelOptions = {},
): Promise<SnapshotResult> {
  const { pauseWrites, ...start } = snapshotClassicLevelOptions.resolve('snapshotClassicLevel', options);
  if (typeof database?.location !== 'string' || database.location === '') {
    throw new TypeError('snapshotClassicLevel: database must be an open ClassicLevel (it has no location)');
  }
  if (database.status === 'opening') await database.open(); // it opens itself when it is made
  if (database.status !== 'open') {
    throw new TypeError(`snapshotClassicLevel: database must be open; its status is ${database.status}`);
  }
  const engine = createLeveldbEngine(pauseWrites ? { database } : {});
  try {
    const backup = new BackupCoordinator({ dataDir: database.location, engine });
    await translated(() => directoryOf(backup.lifecycle).layout()); // what is wrong with the path itself comes first
    // From here on the coordinator knows which folder it is.
    if (isOpenElsewhere(join(database.location, LOCK))) throw folderReplaced(database.location);
    return await backup.backup({ pace: 'quiet', ...start }); // the database is open in this process
  } finally {
    engine.detach();
  }
}
