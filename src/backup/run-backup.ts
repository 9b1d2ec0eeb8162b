import type { Clock } from '../env/clock.ts';
import { RunControl } from '../env/run-control.ts';
import { callSafely, warn } from '../env/safe-calls.ts';
import { newUlidAfter } from '../env/ulid.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { OptionSet, optional, required } from '../options/option.ts';
import { clock } from '../options/system-parts.ts';
import { abortSignal, callback, text, withMethods } from '../options/values.ts';
import type { BackupRecord, ExecutorJobs, Job } from './jobs/job-store.ts';
import { RunningJob, retried } from './running-job.ts';

/**
 * The executor: one attempt to make one backup, from its job row to its end. It knows no engine, no snapshot, no destination,
 * and neither who asked for the backup nor when the next one is due.
 *
 *     pending ──▶ running ──▶ succeeded | failed | interrupted
 *
 * What a user can rely on: no record without a backup that can be restored; no job that stays `running`; of several failures the
 * first is told.
 */

/** Where the data comes from. What `open` resolves to is `S`; the destination knows what to do with it. */
export interface BackupSource<S extends OpenSource> {
  /** `SOURCE_UNAVAILABLE`, or what else kept it from being there. */
  open(run: BackupRun): Promise<S>;
}

export interface OpenSource {
  /** Called once, in every case, when the destination is done with it. */
  close(): Promise<void>;
}

/** Where the data goes. */
export interface BackupDestination<S extends OpenSource> {
  /** Stores everything and then, last, what makes the backup exist. Rejects only if it does not exist. */
  store(source: S, run: BackupRun): Promise<StoredBackup>;
}

export interface StoredBackup {
  readonly sizeBytes: number;
  readonly manifestPath: string;
  /** Of the manifest. */
  readonly sha256: string;
}

/** What source and destination know of the attempt. */
export interface BackupRun {
  readonly backupId: string;
  readonly control: RunControl;
  /** Aborted when the attempt is cancelled. */
  readonly signal: AbortSignal;
  /** How far the storing is, from 0 to 1. */
  onStored(share: number): void;
  /**
   * Call it right before the backup comes into existence. `CONFLICT` when another process took this attempt for dead: it may
   * have made a newer backup since.
   */
  confirmAlive(): Promise<void>;
}

export interface RunBackupOptions<S extends OpenSource> {
  readonly source: BackupSource<S>;
  readonly destination: BackupDestination<S>;
  readonly jobs: ExecutorJobs;
  readonly clock: Clock;
  readonly repositoryId: string;
  /** Where the repository is, for people; it must hold no secret. */
  readonly repositoryUrl?: string | undefined;
  readonly storeId: string;
  /**
   * Called once, when no attempt that this one excludes can run any more, and before the source is opened. Says which store the
   * backup belongs to and after which id its own must sort. Default: `storeId`, and any id.
   */
  readonly begin?: (() => Promise<BackupPlace>) | undefined;
  /** Called once, when the job row is durable and before the destination is touched. If it throws, the run goes on. */
  readonly onJobCreated?: ((job: Job) => void) | undefined;
  readonly onWarning?: ((warning: StillpointError) => void) | undefined;
  readonly control?: RunControl;
  readonly signal?: AbortSignal | undefined;
}

export interface BackupPlace {
  readonly storeId: string;
  readonly afterBackupId?: string | undefined;
}

export interface BackupOutcome<B extends StoredBackup = StoredBackup> {
  readonly job: Job;
  readonly record: BackupRecord;
  readonly stored: B;
}

/** Progress once the source is open, and once the backup exists. Between them it follows the storing. */
const OPENED = 10;
const STORED = 95;

/**
 * Runs one attempt. Rejects with a `TypeError` for a mistake in the call, and with what `createBackupJob` rejects with; there is no
 * job then. Every other failure is written into the job first: `failed`, or `interrupted` if it was cancelled.
 * `BACKUP_NOT_RECORDED`: the backup exists and its record could not be written.
 */
export async function runBackup<S extends OpenSource, B extends StoredBackup>(
  options: RunBackupOptions<S> & { readonly destination: { store(source: S, run: BackupRun): Promise<B> } },
): Promise<BackupOutcome<B>> {
  runBackupOptions.check('runBackup', options);
  const { jobs, clock, storeId, repositoryId, repositoryUrl } = options;
  const { onJobCreated, onWarning, control = new RunControl() } = options;
  const about = { jobs, clock, storeId, repositoryId, repositoryUrl, onJobCreated, onWarning, control };
  const running = await RunningJob.create({ ...about, kind: 'backup' });
  return new Attempt(options, running, control).run() as Promise<BackupOutcome<B>>;
}

class Attempt<S extends OpenSource> {
  readonly #options: RunBackupOptions<S>;
  readonly #running: RunningJob;
  readonly #control: RunControl;
  readonly #abort = new AbortController();
  #backupId = '';

  constructor(options: RunBackupOptions<S>, running: RunningJob, control: RunControl) {
    this.#options = options;
    this.#running = running;
    this.#control = control;
  }

  async run(): Promise<BackupOutcome> {
    const { signal } = this.#options;
    const cancel = () => this.#control.cancel();
    const forget = this.#control.onCancel(() => this.#abort.abort());
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted) cancel();
    if (this.#control.isCancelled) this.#abort.abort();
    try {
      const stored = await this.#store();
      this.#running.tell(STORED);
      const record = await this.#record(stored);
      return { job: await this.#running.succeed({ backupRecordId: record.id }), record, stored };
    } catch (error) {
      throw await this.#running.fail(error);
    } finally {
      forget();
      signal?.removeEventListener('abort', cancel);
    }
  }

  async #store(): Promise<StoredBackup> {
    this.#control.checkCancelled();
    await this.#begin();
    const { source, destination } = this.#options;
    const run: BackupRun = {
      backupId: this.#backupId,
      control: this.#control,
      signal: this.#abort.signal,
      onStored: (share) =>
        this.#running.tell(Math.floor(OPENED + (STORED - OPENED) * Math.min(1, Math.max(0, share)))),
      confirmAlive: () => this.#running.update({ progress: this.#running.job.progress }),
    };
    const opened = await source.open(run);
    try {
      this.#running.tell(OPENED);
      return await destination.store(opened, run);
    } finally {
      await opened.close().catch((error) => this.#warn(error));
    }
  }

  /** Only now, with all others excluded: what was read before may have changed since. */
  async #begin(): Promise<void> {
    const { begin, clock, storeId } = this.#options;
    const place = (await begin?.()) ?? { storeId };
    this.#backupId = newUlidAfter(clock.nowMs(), place.afterBackupId);
    await this.#running.update({ storeId: place.storeId, backupId: this.#backupId });
  }

  async #record({ sizeBytes, manifestPath, sha256 }: StoredBackup): Promise<BackupRecord> {
    const { jobs, clock, repositoryId } = this.#options;
    const { storeId } = this.#running.job;
    const record: BackupRecord = {
      id: this.#backupId,
      repositoryId,
      storeId,
      createdAtMs: clock.nowMs(),
      sizeBytes,
      state: 'present',
      manifestPath,
      sha256,
    };
    try {
      await retried(() => jobs.createBackupRecord(record));
    } catch (cause) {
      const why = toStillpointError(cause).message;
      throw new StillpointError(
        'BACKUP_NOT_RECORDED',
        `backup ${record.id} is published, but not recorded: ${why}`,
        { path: manifestPath, cause },
      );
    }
    return record;
  }

  #warn(error: unknown): void {
    const { onWarning = warn } = this.#options;
    callSafely(() => onWarning(toStillpointError(error)));
  }
}

const runBackupOptions = new OptionSet(() => {
  const given = { description: 'As in `RunBackupOptions`.' };
  return {
    source: required(withMethods('a source of backups', 'open'), given),
    destination: required(withMethods('a destination of backups', 'store'), given),
    jobs: required(withMethods('a job store', ...JOB_CALLS), given),
    clock: required(clock(), given),
    repositoryId: required(text(), given),
    repositoryUrl: optional(text(), given),
    storeId: required(text(), given),
    begin: optional(callback(), given),
    onJobCreated: optional(callback(), given),
    onWarning: optional(callback(), given),
    control: optional(withMethods('a RunControl', 'cancel', 'checkCancelled'), given),
    signal: optional(abortSignal(), given),
  };
});

const JOB_CALLS = [
  'createBackupJob',
  'updateBackupJob',
  'updateBackupJobProgress',
  'abandonBackupJob',
  'createBackupRecord',
] as const;
