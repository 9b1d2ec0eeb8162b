import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import type { KnownDigests } from '../repository/digests.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import { type Uploaded, type UploadPhase, upload } from '../repository/upload.ts';
import type { Lineage } from './lineage.ts';
import type { BackupRun, StoredBackup } from './run-backup.ts';
import type { LockedSnapshot } from './snapshot-source.ts';

export interface RepositoryBackup extends StoredBackup {
  readonly uploaded: Uploaded;
  readonly source: Pick<LockedSnapshot, 'report' | 'name'>;
}

export interface RepositoryDestinationRequest {
  readonly store: StoreBackups;
  readonly lineage: Lineage;
  readonly digests: KnownDigests;
  readonly name: string;
  readonly readBack: boolean;
  readonly compress: boolean;
  /** Called when the lineage has been checked, right before anything is stored. Resolves to whether it removed a backup. */
  readonly beforeStoring: () => Promise<boolean>;
  readonly onPhase: (phase: UploadPhase) => void;
  /** Called when it is known up to which number of bytes the run's control will count. */
  readonly onPlanned: (bytes: number) => void;
}

/** A store in a repository as the destination of backups. */
export function repositoryDestination(request: RepositoryDestinationRequest) {
  const { store, lineage, digests, name, readBack, compress, beforeStoring, onPhase, onPlanned } = request;
  const { repositoryId } = store;
  return {
    async store(
      { folder, report, name: snapshot }: LockedSnapshot,
      run: BackupRun,
    ): Promise<RepositoryBackup> {
      const { backupId, control } = run;
      let previousId = await lineage.check(store);
      if (previousId !== undefined && backupId <= previousId) {
        throw new StillpointError('CONFLICT', `the newest backup is ${previousId} by now`, {
          hint: 'Run it again: its snapshot was taken before that backup.',
        });
      }
      if (await beforeStoring()) previousId = await lineage.check(store);
      // Left-overs cost room, and are no reason to make no backup.
      await store.destination.abortStale(STALE_MS).catch(warn);
      let bytesTotal = 0;
      const stop = store.environment.clock.every(TICK_MS, () => {
        if (bytesTotal > 0) run.onStored(control.bytes / bytesTotal);
      });
      try {
        const uploaded = await upload(store, {
          folder,
          backupId,
          previousId,
          name,
          readBack,
          compress,
          known: digests,
          control,
          onPhase,
          onPlanned: (total) => {
            bytesTotal = total;
            onPlanned(total);
          },
          beforePublishing: async () => {
            await lineage.expect(store, backupId);
            await run.confirmAlive();
          },
        });
        await lineage.published(repositoryId, backupId).catch(warn); // it is expected, which is as good
        const { manifest, manifestKey: manifestPath, manifestSha256: sha256 } = uploaded;
        return {
          sizeBytes: manifest.storedBytes,
          manifestPath,
          sha256,
          uploaded,
          source: { report, name: snapshot },
        };
      } finally {
        stop();
      }
    },
  };
}

const TICK_MS = 200;
/** Long enough that no upload of another store that still goes on is taken for dead. */
const STALE_MS = 7 * 24 * 60 * 60 * 1000;
