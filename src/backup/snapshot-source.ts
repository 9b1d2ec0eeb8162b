import type { BackupCoordinator, SnapshotResult } from '../coordinator/backup.ts';
import type { Report } from '../engine/report.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import { directoryOf } from '../operation/lifecycle.ts';
import type { StartBackupOptions } from '../options/snapshot.ts';
import { lockForReading } from '../snapshot/source/folder-source.ts';
import { findSnapshot } from '../snapshot/store/find-snapshot.ts';
import { nameOf } from '../snapshot/store/layout.ts';
import { removeSnapshot } from '../snapshot/store/prune.ts';
import type { BackupSource, OpenSource } from './run-backup.ts';

/** A proven snapshot that nobody deletes until it is closed. */
export interface LockedSnapshot extends OpenSource {
  readonly folder: string;
  /** Of its proof, where it was made for this backup. */
  readonly report: Report | null;
  /** What stands beside the database once the backup is made; null where that is nothing. */
  readonly name: string | null;
}

export interface SnapshotSourceRequest {
  readonly coordinator: BackupCoordinator;
  /** `latest`, a name or an id. Default: a new one is taken. */
  readonly snapshot?: string | undefined;
  /** Whether the new one stays beside the database. Otherwise it shares files with it, and goes when it is closed. */
  readonly local: boolean;
  /** For the new one. */
  readonly options?: Omit<StartBackupOptions, 'signal'>;
  /** Called with the id of the run that takes the snapshot. */
  readonly onSnapshot?: (runId: string) => void;
  /** Called with the name of the new snapshot, which stands from then on. */
  readonly onTaken?: (name: string) => void;
}

/** The snapshots of one data directory as the source of backups. */
export function snapshotSource(request: SnapshotSourceRequest): BackupSource<LockedSnapshot> {
  const { coordinator, snapshot, local, options = {}, onSnapshot, onTaken } = request;
  const transient = local ? {} : ({ kind: 'transient', mode: 'link' } as const);
  const directory = directoryOf(coordinator.lifecycle);
  const { environment } = directory;
  return {
    async open({ signal }) {
      let taken: SnapshotResult | undefined;
      if (snapshot === undefined) {
        const { id } = await coordinator.startBackup({ ...options, ...transient, signal });
        onSnapshot?.(id);
        taken = await coordinator.finished(id);
        if (local) onTaken?.(taken.name);
      }
      const layout = await directory.layout();
      const wanted = taken?.location ?? snapshot!;
      const folder = await findSnapshot(environment, layout, wanted, [layout.lifecycle]);
      const lock = await lockForReading(environment, folder);
      if (lock === undefined) {
        throw new StillpointError('SOURCE_UNAVAILABLE', `${folder} has no manifest`, { path: folder });
      }
      const isTransient = taken !== undefined && !local;
      return {
        folder,
        report: taken?.report ?? null,
        name: isTransient ? null : nameOf(folder),
        async close() {
          await lock.release();
          if (!isTransient) return;
          // What stays is removed by the next run.
          await removeSnapshot(environment, layout, { name: taken!.name, location: folder }).catch(warn);
        },
      };
    },
  };
}
