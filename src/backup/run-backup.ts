import { type Clock, pause } from '../env/clock.ts';
import { RunControl } from '../env/run-control.ts';
import { callSafely, warn } from '../env/safe-calls.ts';
import { newUlid, newUlidAfter } from '../env/ulid.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { OptionSet, optional, required } from '../options/option.ts';
import { clock } from '../options/system-parts.ts';
import { abortSignal, callback, text, withMethods } from '../options/values.ts';
import type { BackupRecord, ExecutorJobs, Job, JobChange } from './jobs/job-store.ts';

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
const STEP = 5;
const ASK_MS = 1000;

/**
 * Runs one attempt. Rejects with a `TypeError` for a mistake in the call, and with what `createBackupJob` rejects with; there is no
 * job then. Every other failure is written into the job first: `failed`, or `interrupted` if it was cancelled.
 * `BACKUP_NOT_RECORDED`: the backup exists and its record could not be written.
 */
export async function runBackup<S extends OpenSource, B extends StoredBackup>(
  options: RunBackupOptions<S> & { readonly destination: { store(source: S, run: BackupRun): Promise<B> } },
): Promise<BackupOutcome<B>> {
  runBackupOptions.check('runBackup', options);
  const attempt = new Attempt(options);
  await options.jobs.createBackupJob(attempt.job);
  return attempt.run() as Promise<BackupOutcome<B>>;
}

class Attempt<S extends OpenSource> {
  job: Job;
  readonly #options: RunBackupOptions<S>;
  readonly #control: RunControl;
  readonly #abort = new AbortController();
  #backupId = '';
  #progress: Promise<void> = Promise.resolve();

  constructor(options: RunBackupOptions<S>) {
    const { clock, control = new RunControl(), repositoryId, storeId } = options;
    this.#options = options;
    this.#control = control;
    const nowMs = clock.nowMs();
    this.job = {
      id: newUlid(nowMs),
      kind: 'backup',
      storeId,
      repositoryId,
      backupId: null,
      backupRecordId: null,
      status: 'running',
      startedAtMs: nowMs,
      finishedAtMs: null,
      progress: 0,
      error: null,
      errorCode: null,
    };
  }

  async run(): Promise<BackupOutcome> {
    const { onJobCreated, signal } = this.#options;
    if (onJobCreated !== undefined) callSafely(() => onJobCreated(this.job));
    const cancel = () => this.#control.cancel();
    const forget = this.#control.onCancel(() => this.#abort.abort());
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted) cancel();
    if (this.#control.isCancelled) this.#abort.abort();
    const stopAsking = this.#options.clock.every(ASK_MS, () => void this.#askForCancel());
    try {
      const stored = await this.#store();
      this.#tell(STORED);
      const record = await this.#record(stored);
      return { job: await this.#succeed(record), record, stored };
    } catch (error) {
      throw await this.#fail(error);
    } finally {
      stopAsking();
      forget();
      signal?.removeEventListener('abort', cancel);
    }
  }

  /** Best effort: a store that cannot be asked now is asked again. */
  async #askForCancel(): Promise<void> {
    const { jobs } = this.#options;
    if (await jobs.isCancelAsked?.(this.job.id).catch(() => false)) this.#control.cancel();
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
        this.#tell(Math.floor(OPENED + (STORED - OPENED) * Math.min(1, Math.max(0, share)))),
      confirmAlive: () => this.#update({ progress: this.job.progress }),
    };
    const opened = await source.open(run);
    try {
      this.#tell(OPENED);
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
    await this.#update({ storeId: place.storeId, backupId: this.#backupId });
  }

  async #update(change: JobChange): Promise<void> {
    this.job = { ...this.job, ...change };
    await this.#progress;
    await this.#options.jobs.updateBackupJob(this.job.id, change);
  }

  async #record({ sizeBytes, manifestPath, sha256 }: StoredBackup): Promise<BackupRecord> {
    const { jobs, clock, repositoryId } = this.#options;
    const { storeId } = this.job;
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

  /** The backup exists and is on record: that its job cannot be ended is no failure of it. */
  async #succeed(record: BackupRecord): Promise<Job> {
    try {
      await this.#end({ status: 'succeeded', progress: 100, backupRecordId: record.id });
    } catch (error) {
      this.#warn(error);
    }
    return this.job;
  }

  async #fail(cause: unknown): Promise<StillpointError> {
    const known = toStillpointError(cause);
    // A backup that exists is no cancelled one, whatever was asked for since.
    const isCancelled =
      this.#control.isCancelled &&
      known.code !== 'BACKUP_NOT_RECORDED' &&
      known.code !== 'PUBLICATION_UNKNOWN';
    const error = isCancelled ? new StillpointError('CANCELLED', 'cancelled on request', { cause }) : known;
    try {
      await this.#end({
        status: isCancelled ? 'interrupted' : 'failed',
        error: error.message,
        errorCode: error.code,
      });
    } catch (problem) {
      this.#warn(problem);
    }
    return error;
  }

  async #end(change: JobChange): Promise<void> {
    const { jobs, clock } = this.#options;
    const end = { ...change, finishedAtMs: clock.nowMs() };
    this.job = { ...this.job, ...end };
    await this.#progress;
    try {
      await retried(() => jobs.updateBackupJob(this.job.id, end));
    } catch (error) {
      // A full disk, for instance. Without an owner the job blocks nobody, and the next reader ends it.
      await jobs.abandonBackupJob(this.job.id).catch((problem) => this.#warn(problem));
      throw error;
    }
  }

  /** Best effort, one after the other. */
  #tell(percent: number): void {
    if (percent < this.job.progress + STEP) return;
    this.job = { ...this.job, progress: percent };
    this.#progress = this.#progress
      .then(() => this.#options.jobs.updateBackupJobProgress(this.job.id, percent))
      .catch((error) => this.#warn(error));
  }

  #warn(error: unknown): void {
    const { onWarning = warn } = this.#options;
    callSafely(() => onWarning(toStillpointError(error)));
  }
}

const ATTEMPTS = 3;
const PAUSE_MS = 100;

/** What says how a run ended is written whatever it takes. */
async function retried(write: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await write();
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      await pause(attempt * PAUSE_MS);
    }
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
