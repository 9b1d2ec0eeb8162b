import { basename } from 'node:path';
import { BackupCoordinator } from '../coordinator/backup.ts';
import type { Report } from '../engine/report.ts';
import { RunControl } from '../env/run-control.ts';
import { newUlid } from '../env/ulid.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { directoryOf, Lifecycle, requireSameFolder } from '../operation/lifecycle.ts';
import {
  checkArgument,
  OptionSet,
  type OptionsOf,
  optional,
  type ResolvedOf,
  required,
  withDefault,
  withoutDefaults,
} from '../options/option.ts';
import { hostSnapshotOptions } from '../options/snapshot.ts';
import { callback, folder, nested, text, trueOrFalse, withMethods } from '../options/values.ts';
import { recordReading } from '../repository/marks.ts';
import { withdraw } from '../repository/remove-backup.ts';
import type { Repository } from '../repository/repository.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import type { Uploaded } from '../repository/upload.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { Layout } from '../snapshot/store/layout.ts';
import { listedSnapshot } from '../snapshot/store/standing.ts';
import { ensureStoreFile, renewStoreFile } from '../snapshot/store/store-identity.ts';
import { readDigestLedger } from './digest-ledger.ts';
import { recordFailedStart } from './failed-start.ts';
import { refuseDamaged } from './find-backup.ts';
import type { Job, JobStatus, JobStore } from './jobs/job-store.ts';
import { jobsOption, openJobs } from './jobs/open-jobs.ts';
import { Lineage } from './lineage.ts';
import {
  addressOfChoice,
  type BackupProgress,
  backupFields,
  cancelledBy,
  destinationChoice,
  environmentOf,
  followed,
  repositoryOf,
  translated,
} from './options.ts';
import { refuseOverlap, sharedDisk } from './placement.ts';
import { type PruneBackupsResult, prune, retentionFields, ruleOf } from './prune-backups.ts';
import { adopt, reconcile } from './reconcile-backups.ts';
import { repositoryDestination } from './repository-destination.ts';
import { isEmptyRule, type RetentionRule } from './retention.ts';
import { type BackupPlace, type BackupRun, runBackup } from './run-backup.ts';
import { type LockedSnapshot, snapshotSource } from './snapshot-source.ts';

const hostOptions = new OptionSet(() => withoutDefaults(hostSnapshotOptions.fields));

export const backUpOptions = new OptionSet(() => ({
  ...backupFields(),
  to: required(destinationChoice(), {
    description: "The repository: a folder's path, `folder:/path`, or a destination of your own.",
    flag: { value: 'dest' },
  }),
  coordinator: optional(
    withMethods<BackupCoordinator>('a BackupCoordinator', 'startBackup', 'finished', 'status'),
    {
      description: 'Takes the snapshot. Share the one that your database has, with its checkpoint hook.',
      without: 'the files are captured from outside',
    },
  ),
  snapshot: optional(text(), {
    description: 'Backs up this snapshot instead of a new one: `latest`, a name or an id.',
  }),
  snapshotOptions: optional(nested(hostOptions.fields), { description: 'For the new snapshot.' }),
  local: withDefault(trueOrFalse(), () => true, {
    description:
      'Leaves the new snapshot beside the database. Otherwise it shares files with the database, takes next to no space, and is removed once the backup is made.',
    flag: {
      name: 'no-local',
      sets: false,
      description: 'leave no snapshot beside the database: it shares files while the backup is made',
    },
  }),
  claim: withDefault(trueOrFalse(), () => false, {
    description: "Goes on with the store's newest backup although it did not come from this directory.",
  }),
  newStore: withDefault(trueOrFalse(), () => false, {
    description: 'Gives this directory a new identity: it is a store of its own from now on.',
  }),
  retention: optional(nested(retentionFields()), {
    description: 'Prunes the repository once the backup is made: which backups it keeps.',
    without: 'nothing is pruned',
  }),
  readBack: withDefault(trueOrFalse(), () => false, {
    description:
      'Reads everything back from the repository, also what was there already, before the backup counts.',
  }),
  compress: withDefault(trueOrFalse(), () => true, {
    description: 'Stores data compressed that becomes smaller by it. What is there already stays as it is.',
    flag: { name: 'no-compress', sets: false, description: 'store all data as it is, not compressed' },
  }),
  jobs: jobsOption(),
  onJobCreated: optional(callback<(job: Job) => void>(), {
    description: 'Called once the job is on record, before the repository is touched.',
  }),
}));
export type BackUpOptions = OptionsOf<typeof backUpOptions>;

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
  /** Uploaded again, since the object that the repository had of them is damaged, missing or of another size. */
  readonly filesUploadedAgain: number;
  /** What the prune after it did; null where there was no rule, or it failed: then a warning says so. */
  readonly pruned: PruneBackupsResult | null;
  /** What an operator should know, such as a repository on the disk of the data. */
  readonly warnings: readonly string[];
  /** The snapshot that stands beside the database; null where there is none. */
  readonly snapshot: string | null;
  /** Of the snapshot's proof; null where an existing snapshot was backed up. */
  readonly report: Report | null;
  /** Whether every byte was read back from the repository. */
  readonly readBack: boolean;
  readonly durationsMs: Readonly<Record<string, number>>;
}

/**
 * Takes a snapshot of a data directory and makes a backup of it in a repository; what the repository has is not sent again. The
 * attempt is on record in the job store of the data directory. Rejects with `DESTINATION_NOT_FOUND` when there is no
 * repository, `DESTINATION_PATH_CONFLICT` when it and the data lie in one another, `BACKUP_ALREADY_RUNNING`, `STORE_DIVERGED` when
 * the newest backup of this store came from elsewhere, and with what kept the snapshot or the upload from its end. There is no backup then, but for `PUBLICATION_UNKNOWN` and `BACKUP_NOT_RECORDED`.
 */
export async function backUp(dataDir: string, options: BackUpOptions): Promise<BackUpResult> {
  checkArgument('backUp: dataDir', folder(), dataDir);
  const resolved = backUpOptions.resolve('backUp', options);
  requireSameFolder('backUp', dataDir, resolved.coordinator?.lifecycle);
  return translated(async () => {
    const { coordinator } = resolved;
    const lifecycle =
      coordinator?.lifecycle ?? new Lifecycle({ dataDir, environment: environmentOf(resolved) });
    const directory = directoryOf(lifecycle);
    const env = directory.environment;
    const layout = await directory.layout();
    const control = new RunControl();
    return cancelledBy(resolved.signal, control, async () => {
      // A cancel by job ends the requests of a bucket as one by the caller does.
      const repository = await openRepository(env, layout, { ...resolved, signal: control.signal });
      const { store_id: storeId } = await ensureStoreFile(env, layout);
      const jobs = await openJobs(env, layout, resolved.jobs);
      try {
        return await attempt(resolved, { lifecycle, env, layout, repository, jobs, storeId, control });
      } finally {
        await jobs.close();
      }
    });
  });
}

/** The repository, which lies apart from the data. A failure is put on record. */
async function openRepository(
  env: Environment,
  layout: Layout,
  options: ResolvedOf<typeof backUpOptions>,
): Promise<Repository> {
  try {
    const repository = await repositoryOf(env, options.to, options);
    await refuseOverlap(env, repository.destination, layout.dataDir);
    return repository;
  } catch (error) {
    await recordFailedStart(env, layout, error, addressOfChoice(options.to), options.jobs);
    throw error;
  }
}

interface Parts {
  readonly lifecycle: Lifecycle;
  readonly env: Environment;
  readonly layout: Layout;
  readonly repository: Repository;
  readonly jobs: JobStore;
  /** Of the directory when it was looked up; another run may still change it. */
  readonly storeId: string;
  readonly control: RunControl;
}

async function attempt(
  options: ResolvedOf<typeof backUpOptions>,
  { lifecycle, env, layout, repository, jobs, ...parts }: Parts,
): Promise<BackUpResult> {
  const coordinator = options.coordinator ?? new BackupCoordinator({ dataDir: lifecycle.dataDir, lifecycle });
  let storeId = parts.storeId;
  let isFirst = false;
  const storeNow = () => repository.store(storeId);
  const lineageNow = () => new Lineage(env, layout, storeId);
  /** No other run of this directory can change its identity or its lineage now. */
  const begin = async (): Promise<BackupPlace> => {
    storeId = options.newStore ? newUlid(env.clock.nowMs()) : (await ensureStoreFile(env, layout)).store_id;
    if (options.claim && !options.newStore) await lineageNow().claim(storeNow());
    const afterBackupId = (await lineageNow().known(repository.id)).at(-1);
    isFirst = afterBackupId === undefined;
    return { storeId, afterBackupId };
  };
  const phases = new Phases(() => env.clock.monotonicMs());
  let snapshotRun: string | undefined;
  let taken: string | undefined;
  const look = async (control: RunControl): Promise<BackupProgress> => {
    if (phases.current !== 'snapshot' || snapshotRun === undefined) {
      return { phase: phases.current, bytesProcessed: control.bytes, bytesTotal: phases.bytesTotal };
    }
    const { phase, progress } = await coordinator.status(snapshotRun);
    const { bytesProcessed, bytesTotal } = progress ?? {};
    return { phase: phase ?? '', bytesProcessed: bytesProcessed ?? 0, bytesTotal: bytesTotal ?? 0 };
  };
  const work = (control: RunControl) =>
    runBackup({
      source: snapshotSource({
        coordinator,
        snapshot: options.snapshot,
        local: options.local,
        ...(options.snapshotOptions && { options: options.snapshotOptions }),
        onSnapshot: (id) => {
          snapshotRun = id;
        },
        onTaken: (name) => {
          taken = name;
        },
      }),
      destination: {
        store: async (snapshot: LockedSnapshot, run: BackupRun) => {
          if (options.snapshot !== undefined) await refuseDamaged(env, storeNow(), snapshot.folder);
          // On record before the backup exists: a prune would take it for proven.
          if (await isUnread(env, snapshot)) await recordReading(storeNow(), run.backupId, 'unread');
          return repositoryDestination({
            store: storeNow(),
            lineage: lineageNow(),
            digests: await readDigestLedger(env, layout),
            name: basename(layout.dataDir),
            readBack: options.readBack,
            compress: options.compress,
            beforeStoring: async () => {
              if (!options.newStore) return settlePending(jobs, lineageNow(), storeNow());
              await renewStoreFile(env, layout, storeId);
              return false;
            },
            onPhase: (phase) => phases.enter(phase),
            onPlanned: (bytes) => {
              phases.bytesTotal = bytes;
            },
          }).store(snapshot, run);
        },
      },
      jobs,
      clock: env.clock,
      repositoryId: repository.id,
      repositoryUrl: addressOfChoice(options.to),
      storeId,
      begin,
      onJobCreated: options.onJobCreated,
      control,
    });
  const { job, record, stored } = await followed(env, options, look, work, parts.control).catch((error) => {
    throw taken === undefined ? error : standing(error, taken);
  });
  const warnings: string[] = [];
  const shared = await sharedDisk(env, repository.destination, layout.dataDir);
  if (shared !== undefined) warnings.push(shared);
  if (isFirst && !options.newStore)
    warnings.push(...(await namesakes(repository, storeNow()).catch(() => [])));
  if (stored.uploaded.setback !== undefined) warnings.push(wentBack(stored.uploaded));
  const pruned = await pruneAfter(storeNow(), jobs, options.retention).catch((error) => {
    warnings.push(`the backup is made, and nothing was pruned: ${toStillpointError(error).message}`);
    return null;
  });
  if (pruned !== null && pruned.notSwept !== null)
    warnings.push(`the backup is made, and no data of removed backups was deleted: ${pruned.notSwept}`);
  const { uploaded, source } = stored;
  const { uploadedBytes, reusedBytes, objectsUploaded, objectsReused, filesUploadedAgain, manifest } =
    uploaded;
  return {
    jobId: job.id,
    backupId: record.id,
    storeId,
    repositoryId: repository.id,
    state: job.status,
    totalBytes: manifest.snapshot.entries.reduce((sum, { size }) => sum + size, 0),
    uploadedBytes,
    reusedBytes,
    objectsUploaded,
    objectsReused,
    filesUploadedAgain,
    readBack: options.readBack,
    pruned,
    warnings,
    snapshot: source.name,
    report: source.report,
    durationsMs: phases.durationsMs(),
  };
}

/** One that stood before has no report: then its ledger tells. */
const isUnread = async (env: Environment, { folder, report }: LockedSnapshot): Promise<boolean> =>
  report?.verdict === 'unread' || (await listedSnapshot(env, folder)).state === 'unread';

const wentBack = ({ setback, manifest }: Uploaded): string =>
  `this is an older state than that of backup ${manifest.previous}, or one of a database that was begun anew: ${setback}; that backup stays until \`stillpoint backup delete\` removes it`;

/** A folder that was restored has no identity, so its backups are a store beside that of the database which it was. */
async function namesakes(repository: Repository, store: StoreBackups): Promise<string[]> {
  const name = await store.name();
  const others: string[] = [];
  for (const other of await repository.stores())
    if (other.storeId !== store.storeId && (await other.name()) === name) others.push(other.storeId);
  if (name === null || others.length === 0) return [];
  return [
    `this is the first backup of a new store, ${store.storeId}: the repository has another with the same name "${name}", ${others.join(', ')}. If this folder was restored from that one and shall go on with it, see "Stores" in src/backup/README.md`,
  ];
}

/** The backup is made: whatever goes wrong here is no failure of it. */
async function pruneAfter(
  store: StoreBackups,
  jobs: JobStore,
  rule: RetentionRule | undefined,
): Promise<PruneBackupsResult | null> {
  if (rule === undefined || isEmptyRule(rule)) return null;
  await reconcile(store, jobs);
  return prune(store, { rule: ruleOf(rule), dryRun: false, jobs });
}

/** A cancelled run says what stands: the snapshot was taken, and is worth a backup. */
function standing(error: unknown, snapshot: string): unknown {
  if (!(error instanceof StillpointError) || error.code !== 'CANCELLED') return error;
  return new StillpointError('CANCELLED', `${error.message}; there is no new backup`, {
    cause: error.cause,
    data: { snapshot },
    hint: `The snapshot ${snapshot} stands. To back it up: \`stillpoint backup run DIR --to DEST --snapshot ${snapshot}\`.`,
  });
}

/**
 * A backup whose publication was unknown, or could not be recorded: if it stands and is whole, it gets its record now. One that was
 * never confirmed and is not whole is withdrawn: nobody was told of it. Resolves to whether one was.
 */
async function settlePending(jobs: JobStore, lineage: Lineage, store: StoreBackups): Promise<boolean> {
  const { published, pending } = await lineage.last(store.repositoryId);
  let isWithdrawn = false;
  for (const id of [...(published === undefined ? [] : [published]), ...pending]) {
    if ((await jobs.getRecord(id)) !== undefined) continue;
    if ((await adopt(store, jobs, id)) !== 'broken' || id === published) continue;
    await withdraw(store, id);
    isWithdrawn = true;
  }
  return isWithdrawn;
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
