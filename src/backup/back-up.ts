import { basename } from 'node:path';
import { BackupCoordinator, SNAPSHOT, type StartBackupOptions } from '../coordinator/backup.ts';
import type { Report } from '../engine/report.ts';
import {
  aBoolean,
  aFolder,
  aFunction,
  aText,
  type Checks,
  checkOptions,
  optional,
  optionsOf,
  withMethods,
} from '../env/checks.ts';
import { warn } from '../env/safe-calls.ts';
import { RunControl } from '../env/worker-pool.ts';
import { StillpointError } from '../errors.ts';
import { Lifecycle } from '../operation/lifecycle.ts';
import { sameFolder } from '../operation/option-checks.ts';
import { objectsOf } from '../repository/backup-manifest.ts';
import type { Repository } from '../repository/repository.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import { confirm } from '../repository/upload.ts';
import type { Layout } from '../snapshot/store/layout.ts';
import { ensureStoreFile, renewStoreFile } from '../snapshot/store/store-identity.ts';
import { readDigestLedger } from './digest-ledger.ts';
import type { Job, JobStatus, JobStore } from './jobs/job-store.ts';
import { Lineage } from './lineage.ts';
import {
  aDestination,
  type BackupOptions,
  type BackupProgress,
  COMMON,
  type DestinationChoice,
  environmentOf,
  followed,
  repositoryOf,
  translated,
} from './options.ts';
import { repositoryDestination } from './repository-destination.ts';
import { runBackup } from './run-backup.ts';
import { snapshotSource } from './snapshot-source.ts';

export interface BackUpOptions extends BackupOptions {
  /** The repository: a folder's path, `folder:/path`, or a destination of your own. */
  readonly to: DestinationChoice;
  /** Takes the snapshot. Share the one that your database has, with its checkpoint hook. Default: one from outside. */
  readonly coordinator?: BackupCoordinator;
  /** `latest`, a name or an id of a snapshot that stands. Default: a new one is taken. */
  readonly snapshot?: string;
  /** For the new snapshot. */
  readonly snapshotOptions?: Omit<StartBackupOptions, 'kind' | 'signal'>;
  /** Default false. Goes on with the store's newest backup although it did not come from this directory. */
  readonly claim?: boolean;
  /** Default false. Gives this directory a new identity: it is a store of its own from now on. */
  readonly newStore?: boolean;
  /** Called once the job is on record, before the repository is touched. */
  readonly onJobCreated?: (job: Job) => void;
}

/** What a finished backup is; in JSON the names are in snake_case. */
export interface BackUpResult {
  readonly jobId: string;
  readonly backupId: string;
  readonly storeId: string;
  readonly repositoryId: string;
  readonly state: JobStatus;
  /** Of the files, holes included. */
  readonly totalBytes: number;
  readonly uploadedBytes: number;
  /** That the repository had already. */
  readonly reusedBytes: number;
  readonly objectsUploaded: number;
  readonly objectsReused: number;
  /** Of the snapshot's proof; null where an existing snapshot was backed up. */
  readonly report: Report | null;
  readonly durationsMs: Readonly<Record<string, number>>;
}

const OPTIONS: Checks<BackUpOptions> = {
  ...COMMON,
  to: aDestination,
  coordinator: optional(withMethods('a BackupCoordinator', 'startBackup', 'finished', 'status')),
  snapshot: optional(aText),
  snapshotOptions: optional(optionsOf(SNAPSHOT)),
  claim: optional(aBoolean),
  newStore: optional(aBoolean),
  onJobCreated: optional(aFunction),
};

/**
 * Takes a snapshot of a data directory and makes a backup of it in a repository; what the repository has is not sent again. The
 * attempt is on record in the job store of the data directory. Rejects with `DESTINATION_NOT_FOUND` when there is no
 * repository, `BACKUP_ALREADY_RUNNING`, `STORE_DIVERGED` when the newest backup of this store came from elsewhere, and with what
 * kept the snapshot or the upload from its end. There is no backup then, but for `PUBLICATION_UNKNOWN` and `BACKUP_NOT_RECORDED`.
 */
export async function backUp(dataDir: string, options: BackUpOptions): Promise<BackUpResult> {
  aFolder('backUp: dataDir', dataDir);
  checkOptions('backUp', options, OPTIONS);
  sameFolder('backUp', dataDir, options.coordinator?.lifecycle);
  return translated(async () => {
    const env = environmentOf(options);
    const lifecycle = options.coordinator?.lifecycle ?? new Lifecycle({ dataDir, environment: env });
    const layout = await lifecycle.layout();
    const repository = await repositoryOf(env, options.to);
    const identity = await (options.newStore ? renewStoreFile : ensureStoreFile)(env, layout);
    const { openSqliteJobStore } = await import('./jobs/sqlite-job-store.ts');
    const jobs = await openSqliteJobStore(env, layout);
    try {
      return await attempt(options, {
        lifecycle,
        layout,
        repository,
        jobs,
        store: repository.store(identity.store_id),
      });
    } finally {
      await jobs.close();
    }
  });
}

interface Parts {
  readonly lifecycle: Lifecycle;
  readonly layout: Layout;
  readonly repository: Repository;
  readonly jobs: JobStore;
  readonly store: StoreBackups;
}

async function attempt(options: BackUpOptions, { lifecycle, layout, repository, jobs, store }: Parts) {
  const env = lifecycle.environment;
  const coordinator = options.coordinator ?? new BackupCoordinator({ dataDir: lifecycle.dataDir, lifecycle });
  const lineage = new Lineage(env, layout, store.storeId);
  if (options.claim) await lineage.claim(store);
  const { published, pending } = await lineage.of(repository.id);
  const phases = new Phases(() => env.clock.monotonicMs());
  let snapshotRun: string | undefined;
  const look = async (control: RunControl): Promise<BackupProgress> => {
    if (phases.current !== 'snapshot' || snapshotRun === undefined) {
      return { phase: phases.current, bytesProcessed: control.bytes, bytesTotal: phases.bytesTotal };
    }
    const { phase, progress } = await coordinator.status(snapshotRun);
    const { bytesProcessed, bytesTotal } = progress ?? {};
    return { phase: phase ?? '', bytesProcessed: bytesProcessed ?? 0, bytesTotal: bytesTotal ?? 0 };
  };
  const { job, record, stored } = await followed(env, options, look, async (control) =>
    runBackup({
      source: snapshotSource({
        coordinator,
        snapshot: options.snapshot,
        ...(options.snapshotOptions && { options: options.snapshotOptions }),
        onSnapshot: (id) => {
          snapshotRun = id;
        },
      }),
      destination: repositoryDestination({
        store,
        lineage,
        digests: await readDigestLedger(env, layout),
        name: basename(layout.dataDir),
        beforeStoring: () => adoptPending(jobs, lineage, store),
        onPhase: (phase) => phases.enter(phase),
        onPlanned: (bytes) => {
          phases.bytesTotal = bytes;
        },
      }),
      jobs,
      clock: env.clock,
      repositoryId: repository.id,
      storeId: store.storeId,
      afterBackupId: [published, pending].sort().findLast((id) => id !== undefined),
      onJobCreated: options.onJobCreated,
      control,
    }),
  );
  const { uploaded, source } = stored;
  const { uploadedBytes, reusedBytes, objectsUploaded, objectsReused, manifest } = uploaded;
  return {
    jobId: job.id,
    backupId: record.id,
    storeId: store.storeId,
    repositoryId: repository.id,
    state: job.status,
    totalBytes: manifest.snapshot.entries.reduce((sum, { size }) => sum + size, 0),
    uploadedBytes,
    reusedBytes,
    objectsUploaded,
    objectsReused,
    report: source.report,
    durationsMs: phases.durationsMs(),
  };
}

/** A backup whose publication was unknown, or could not be recorded: if it stands and is whole, it gets its record now. */
async function adoptPending(jobs: JobStore, lineage: Lineage, store: StoreBackups): Promise<void> {
  const { published, pending } = await lineage.of(store.repositoryId);
  for (const id of [published, pending]) {
    if (id === undefined || (await jobs.getRecord(id)) !== undefined) continue;
    try {
      const found = await store.readWithBytes(id);
      if (found === undefined) continue;
      const { manifest, key, sha256 } = found;
      await confirm(store, objectsOf(manifest), new RunControl());
      await jobs.createBackupRecord({
        id,
        repositoryId: store.repositoryId,
        storeId: store.storeId,
        createdAtMs: manifest.createdAtMs,
        sizeBytes: manifest.storedBytes,
        state: 'present',
        manifestPath: key,
        sha256,
      });
    } catch (error) {
      if (!(error instanceof StillpointError) || error.code !== 'BACKUP_DAMAGED') throw error;
      warn(error);
    }
  }
}

/** How long each phase took. */
class Phases {
  current = 'snapshot';
  bytesTotal = 0;
  readonly #now: () => number;
  readonly #began = new Map<string, number>();

  constructor(now: () => number) {
    this.#now = now;
    this.#began.set(this.current, now());
  }

  enter(phase: string): void {
    this.current = phase;
    this.#began.set(phase, this.#now());
  }

  durationsMs(): Record<string, number> {
    const names = [...this.#began.keys()];
    const ends = [...[...this.#began.values()].slice(1), this.#now()];
    return Object.fromEntries(names.map((name, i) => [name, Math.round(ends[i]! - this.#began.get(name)!)]));
  }
}
