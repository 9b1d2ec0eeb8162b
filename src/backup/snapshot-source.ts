import type { BackupCoordinator, SnapshotResult } from '../coordinator/backup.ts';
import type { Report } from '../engine/report.ts';
import { StillpointError } from '../errors.ts';
import { directoryOf } from '../operation/lifecycle.ts';
import type { StartBackupOptions } from '../options/snapshot.ts';
import { lockForReading } from '../snapshot/source/folder-source.ts';
import { findSnapshot } from '../snapshot/store/find-snapshot.ts';
import type { BackupSource, OpenSource } from './run-backup.ts';

/** A proven snapshot that nobody deletes until it is closed. */
export interface LockedSnapshot extends OpenSource {
  readonly folder: string;
  /** Of its proof, where it was made for this backup. */
  readonly report: Report | null;
}

export interface SnapshotSourceRequest {
  readonly coordinator: BackupCoordinator;
  /** `latest`, a name or an id. Default: a new one is taken. */
  readonly snapshot?: string | undefined;
  /** For the new one. */
  readonly options?: Omit<StartBackupOptions, 'signal'>;
  /** Called with the id of the run that takes the snapshot. */
  readonly onSnapshot?: (runId: string) => void;
  /** Called with the name of the new snapshot, which stands from then on. */
  readonly onTaken?: (name: string) => void;
}

/** The snapshots of one data directory as the source of backups. */
export function snapshotSource(request: SnapshotSourceRequest): BackupSource<LockedSnapshot> {
  const { coordinator, snapshot, options = {}, onSnapshot, onTaken } = request;
  const directory = directoryOf(coordinator.lifecycle);
  const { environment } = directory;
  return {
    async open({ signal }) {
      let taken: SnapshotResult | undefined;
      if (snapshot === undefined) {
        const { id } = await coordinator.startBackup({ ...options, signal });
        onSnapshot?.(id);
        taken = await coordinator.finished(id);
        onTaken?.(taken.name);
      }
      const layout = await directory.layout();
      const folder = await findSnapshot(environment, layout, taken?.name ?? snapshot!, [layout.lifecycle]);
      const lock = await lockForReading(environment, folder);
      if (lock === undefined) {
        throw new StillpointError('SOURCE_UNAVAILABLE', `${folder} has no manifest`, { path: folder });
      }
      return { folder, report: taken?.report ?? null, close: () => lock.release() };
    },
  };
}
