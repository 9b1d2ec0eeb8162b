/** What is remembered of attempts, and of the backups that came of them. */

export const JOB_KINDS = ['backup', 'restore', 'verify', 'drill', 'prune'] as const;
export type JobKind = (typeof JOB_KINDS)[number];

export const JOB_STATUSES = ['pending', 'running', 'succeeded', 'failed', 'interrupted'] as const;
export type JobStatus = (typeof JOB_STATUSES)[number];

/** One attempt. */
export interface Job {
  readonly id: string;
  readonly kind: JobKind;
  readonly storeId: string;
  /** Null where the attempt failed before the repository was open. */
  readonly repositoryId: string | null;
  /** Where the repository is, without secrets. Null where the caller has a destination of its own, and in old rows. */
  readonly repositoryUrl: string | null;
  /** The backup that it makes, or reads. Null until it is known. */
  readonly backupId: string | null;
  /** Set once the record of the backup stands. */
  readonly backupRecordId: string | null;
  readonly status: JobStatus;
  readonly startedAtMs: number;
  readonly finishedAtMs: number | null;
  /** 0 to 100. */
  readonly progress: number;
  readonly error: string | null;
  readonly errorCode: string | null;
  /** What to do about it; in old rows what the catalogue says of the code. */
  readonly errorHint: string | null;
}

/**
 * - `present`: can be restored.
 * - `deleting`: is being removed; the removal is brought to its end.
 * - `lost`: its manifest was not there when somebody looked.
 */
export const RECORD_STATES = ['present', 'deleting', 'lost'] as const;
export type RecordState = (typeof RECORD_STATES)[number];

/** Says: this backup can be restored. There is none for an attempt that failed. */
export interface BackupRecord {
  readonly id: string;
  readonly repositoryId: string;
  readonly storeId: string;
  readonly createdAtMs: number;
  readonly sizeBytes: number;
  readonly state: RecordState;
  /** Key of the backup's manifest. */
  readonly manifestPath: string;
  /** Of the manifest. */
  readonly sha256: string;
}

/** A change of a job that is running. One that is over never changes again. */
export type JobChange = Partial<
  Pick<
    Job,
    | 'status'
    | 'finishedAtMs'
    | 'progress'
    | 'error'
    | 'errorCode'
    | 'errorHint'
    | 'storeId'
    | 'repositoryId'
    | 'backupId'
    | 'backupRecordId'
  >
>;

/** All that the executor needs. */
export interface ExecutorJobs {
  /** `BACKUP_ALREADY_RUNNING` when one that excludes it is under way; the message names that job. */
  createBackupJob(job: Job): Promise<void>;
  /** `CONFLICT` when the job is not running any more: somebody took it for dead. */
  updateBackupJob(id: string, change: JobChange): Promise<void>;
  updateBackupJobProgress(id: string, percent: number): Promise<void>;
  /** Nobody works on the job any more, and its end could not be written: the next reader ends it. */
  abandonBackupJob(id: string): Promise<void>;
  createBackupRecord(record: BackupRecord): Promise<void>;
  /** Whether somebody has asked for the end of the job. Asked about once a second, where the store can tell. */
  isCancelAsked?(id: string): Promise<boolean>;
}

/**
 * - `begun`: the schedule is known since then; nothing was due.
 * - `running`: somebody works on it.
 * - `skipped`: the run before was still under way.
 * - `missed`: nobody was there, and it is not to be made up.
 */
export const TICK_STATUSES = [
  'begun',
  'running',
  'succeeded',
  'failed',
  'skipped',
  'missed',
  'interrupted',
] as const;
export type TickStatus = (typeof TICK_STATUSES)[number];

/** One time at which a schedule was due, and what came of it. */
export interface Tick {
  readonly id: string;
  /** Of the schedule. */
  readonly scheduleId: string;
  readonly dueMs: number;
  readonly status: TickStatus;
  readonly startedAtMs: number;
  readonly finishedAtMs: number | null;
  readonly error: string | null;
}

export interface TickStore {
  /** False when somebody has it already: each time at which a schedule is due has one run. */
  claimTick(tick: Tick): Promise<boolean>;
  endTick(id: string, status: TickStatus, error: string | null): Promise<void>;
  /** The last due first. Those whose process died read as `interrupted`. */
  listTicks(scheduleId: string, limit?: number): Promise<Tick[]>;
}

export interface JobFilter {
  readonly kind?: JobKind | undefined;
  readonly status?: JobStatus | undefined;
  readonly repositoryId?: string | undefined;
  /** Only jobs that are older than the one with this id. */
  readonly before?: string | undefined;
  /** Newest first; default 100. */
  readonly limit?: number | undefined;
}

/** What those need who look on. */
export interface JobStore extends ExecutorJobs, TickStore {
  /** Newest first. Jobs whose process died read as `interrupted`. */
  listJobs(filter?: JobFilter): Promise<Job[]>;
  getJob(id: string): Promise<Job | undefined>;
  /** Newest first; of all repositories unless one is named. */
  listRecords(repositoryId?: string): Promise<BackupRecord[]>;
  /** Asks whoever works on the job to end it. False when it is over, or there is none. */
  askCancel(id: string): Promise<boolean>;
  getRecord(id: string): Promise<BackupRecord | undefined>;
  /** Where there is no such record, nothing happens. */
  updateBackupRecord(id: string, state: RecordState): Promise<void>;
  removeBackupRecord(id: string): Promise<void>;
  /** Abandons the jobs that are still open. */
  close(): Promise<void>;
}
