import { type Clock, pause } from '../env/clock.ts';
import type { RunControl } from '../env/run-control.ts';
import { callSafely, warn } from '../env/safe-calls.ts';
import { newUlid } from '../env/ulid.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { ExecutorJobs, Job, JobChange, JobKind } from './jobs/job-store.ts';

export interface JobRequest {
  readonly jobs: ExecutorJobs;
  readonly clock: Clock;
  readonly kind: JobKind;
  readonly storeId: string;
  /** Null while the repository is not open. */
  readonly repositoryId: string | null;
  readonly repositoryUrl?: string | undefined;
  readonly control: RunControl;
  /** Called once, when the row is durable. If it throws, the work goes on. */
  readonly onJobCreated?: ((job: Job) => void) | undefined;
  readonly onWarning?: ((warning: StillpointError) => void) | undefined;
}

const STEP = 5;
const ASK_MS = 1000;

/** The row of one attempt while the work is under way: its progress, a cancel that somebody asks for, its end. */
export class RunningJob {
  job: Job;
  readonly #request: JobRequest;
  readonly #stopAsking: () => void;
  #progress: Promise<void> = Promise.resolve();

  /** Rejects with what `createBackupJob` rejects with; there is no job then. */
  static async create(request: JobRequest): Promise<RunningJob> {
    const { jobs, clock, kind, storeId, repositoryId, repositoryUrl = null, onJobCreated } = request;
    const nowMs = clock.nowMs();
    const job: Job = {
      id: newUlid(nowMs),
      kind,
      storeId,
      repositoryId,
      repositoryUrl,
      backupId: null,
      backupRecordId: null,
      status: 'running',
      startedAtMs: nowMs,
      finishedAtMs: null,
      progress: 0,
      error: null,
      errorCode: null,
      errorHint: null,
    };
    await jobs.createBackupJob(job);
    if (onJobCreated !== undefined) callSafely(() => onJobCreated(job));
    return new RunningJob(request, job);
  }

  private constructor(request: JobRequest, job: Job) {
    this.job = job;
    this.#request = request;
    this.#stopAsking = request.clock.every(ASK_MS, () => void this.#askForCancel());
  }

  /** `CONFLICT` when another process took the job for dead. */
  async update(change: JobChange): Promise<void> {
    this.job = { ...this.job, ...change };
    await this.#progress;
    await this.#request.jobs.updateBackupJob(this.job.id, change);
  }

  /** Best effort, one after the other. */
  tell(percent: number): void {
    if (percent < this.job.progress + STEP) return;
    this.job = { ...this.job, progress: percent };
    this.#progress = this.#progress
      .then(() => this.#request.jobs.updateBackupJobProgress(this.job.id, percent))
      .catch((error) => this.#warn(error));
  }

  /** The work is done: that its job cannot be ended is no failure of it. */
  async succeed(change: JobChange = {}): Promise<Job> {
    await this.#end({ status: 'succeeded', progress: 100, ...change });
    return this.job;
  }

  /** Writes down why the work failed. Resolves to what the caller is to reject with. */
  async fail(cause: unknown): Promise<StillpointError> {
    const known = toStillpointError(cause);
    // A backup that exists is no cancelled one, whatever was asked for since.
    const isCancelled =
      this.#request.control.isCancelled &&
      known.code !== 'BACKUP_NOT_RECORDED' &&
      known.code !== 'PUBLICATION_UNKNOWN';
    const error = isCancelled ? new StillpointError('CANCELLED', 'cancelled on request', { cause }) : known;
    await this.#end({
      status: isCancelled ? 'interrupted' : 'failed',
      error: error.message,
      errorCode: error.code,
      errorHint: error.hint,
    });
    return error;
  }

  async #end(change: JobChange): Promise<void> {
    const { jobs, clock } = this.#request;
    this.#stopAsking();
    const end = { ...change, finishedAtMs: clock.nowMs() };
    this.job = { ...this.job, ...end };
    await this.#progress;
    try {
      await retried(() => jobs.updateBackupJob(this.job.id, end));
    } catch (error) {
      this.#warn(error);
      // A full disk, for instance. Without an owner the job blocks nobody, and the next reader ends it.
      await jobs.abandonBackupJob(this.job.id).catch((problem) => this.#warn(problem));
    }
  }

  /** Best effort: a store that cannot be asked now is asked again. */
  async #askForCancel(): Promise<void> {
    const { jobs, control } = this.#request;
    if (await jobs.isCancelAsked?.(this.job.id).catch(() => false)) control.cancel();
  }

  #warn(error: unknown): void {
    const { onWarning = warn } = this.#request;
    callSafely(() => onWarning(toStillpointError(error)));
  }
}

const ATTEMPTS = 3;
const PAUSE_MS = 100;

/** What says how a run ended is written whatever it takes. */
export async function retried(write: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await write();
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
      await pause(attempt * PAUSE_MS);
    }
  }
}
