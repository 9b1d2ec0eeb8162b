import type { Kysely, Transaction } from 'kysely';
import type { Clock } from '../../env/clock.ts';
import { hintOf, StillpointError } from '../../errors.ts';
import { fromJson, type SnakeCased, toJson } from '../../options/casing.ts';
import type {
  BackupRecord,
  Job,
  JobChange,
  JobFilter,
  JobKind,
  JobStore,
  RecordState,
  Tick,
  TickStatus,
} from './job-store.ts';

export interface Tables {
  readonly jobs: SnakeCased<Job> & {
    readonly guard: string | null;
    readonly cancel_asked_at_ms: number | null;
  };
  readonly records: SnakeCased<BackupRecord>;
  readonly ticks: SnakeCased<Tick>;
}

/** Says which process works on a job, such that others can tell whether it lives. */
export interface Owners {
  /** From now on this process is known to work on the job. */
  claim(jobId: string): Promise<void>;
  /** It does not any more. */
  release(jobId: string): Promise<void>;
  releaseAll(): Promise<void>;
  /** Whether nobody works on the job any more. */
  isDead(jobId: string): Promise<boolean>;
}

const KEEP_JOBS = 1_000;
/** Of each schedule. */
const KEEP_TICKS = 1_000;
const LIST_LIMIT = 100;

/** These exclude each other: they add backups, take them away or replace the data. */
const GUARDED: ReadonlySet<JobKind> = new Set<JobKind>(['backup', 'restore', 'prune']);

/** Which jobs of the database are meant. */
export interface JobScope {
  /** Of jobs with the same guard one runs at a time. */
  readonly guard: string;
  /** Undefined where the database holds those of one data directory only. */
  readonly storeId: string | undefined;
}

/** Jobs and records of one data directory, in a SQL database. */
export class KyselyJobStore implements JobStore {
  readonly #db: Kysely<Tables>;
  readonly #owners: Owners;
  readonly #clock: Clock;
  readonly #scope: JobScope;

  constructor(db: Kysely<Tables>, owners: Owners, clock: Clock, scope: JobScope) {
    this.#scope = scope;
    this.#db = db;
    this.#owners = owners;
    this.#clock = clock;
  }

  async createBackupJob(job: Job): Promise<void> {
    await this.#owners.claim(job.id);
    try {
      await this.#db.transaction().execute(async (transaction) => {
        await this.#reap(transaction);
        await this.#prune(transaction);
        const guard = GUARDED.has(job.kind) ? this.#scope.guard : null;
        await this.#refuseSecond(transaction, guard);
        await transaction
          .insertInto('jobs')
          .values({ ...toJson(job), guard, cancel_asked_at_ms: null })
          .execute();
      });
    } catch (error) {
      await this.#owners.release(job.id);
      // Two transactions at once: each saw that nothing ran, and the index refused the second.
      if (isSecond(error)) throw alreadyRunning(job.kind, undefined);
      throw error;
    }
  }

  async updateBackupJob(id: string, change: JobChange): Promise<void> {
    const result = await this.#db
      .updateTable('jobs')
      .set(toJson(change))
      .where('id', '=', id)
      .where('status', '=', 'running')
      .executeTakeFirst();
    if (result.numUpdatedRows !== 1n) {
      await this.#owners.release(id);
      throw new StillpointError('CONFLICT', `job ${id} is not running any more`, {
        hint: 'Another process took it for dead.',
      });
    }
    if (change.status !== undefined && change.status !== 'running') await this.#owners.release(id);
  }

  async updateBackupJobProgress(id: string, percent: number): Promise<void> {
    await this.#db
      .updateTable('jobs')
      .set({ progress: percent })
      .where('id', '=', id)
      .where('status', '=', 'running')
      .execute();
  }

  abandonBackupJob(id: string): Promise<void> {
    return this.#owners.release(id);
  }

  async createBackupRecord(record: BackupRecord): Promise<void> {
    // Whoever asks again after a lost answer has written it already.
    await this.#db
      .insertInto('records')
      .values(toJson(record))
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute();
  }

  async listJobs({ kind, status, repositoryId, before, limit = LIST_LIMIT }: JobFilter = {}): Promise<Job[]> {
    await this.#db.transaction().execute((transaction) => this.#reap(transaction));
    let query = this.#db.selectFrom('jobs').selectAll().orderBy('id', 'desc').limit(limit);
    if (kind !== undefined) query = query.where('kind', '=', kind);
    if (status !== undefined) query = query.where('status', '=', status);
    if (repositoryId !== undefined) query = query.where('repository_id', '=', repositoryId);
    if (before !== undefined) query = query.where('id', '<', before);
    const { storeId } = this.#scope;
    if (storeId !== undefined) query = query.where('store_id', '=', storeId);
    return (await query.execute()).map(toJob);
  }

  async getJob(id: string): Promise<Job | undefined> {
    await this.#db.transaction().execute((transaction) => this.#reap(transaction));
    const row = await this.#db.selectFrom('jobs').selectAll().where('id', '=', id).executeTakeFirst();
    return row && toJob(row);
  }

  async askCancel(id: string): Promise<boolean> {
    await this.#db.transaction().execute((transaction) => this.#reap(transaction));
    const result = await this.#db
      .updateTable('jobs')
      .set({ cancel_asked_at_ms: this.#clock.nowMs() })
      .where('id', '=', id)
      .where('status', '=', 'running')
      .executeTakeFirst();
    return result.numUpdatedRows === 1n;
  }

  async isCancelAsked(id: string): Promise<boolean> {
    const row = await this.#db
      .selectFrom('jobs')
      .select('cancel_asked_at_ms')
      .where('id', '=', id)
      .executeTakeFirst();
    return row !== undefined && row.cancel_asked_at_ms !== null;
  }

  async listRecords(repositoryId?: string): Promise<BackupRecord[]> {
    let query = this.#db.selectFrom('records').selectAll().orderBy('id', 'desc');
    if (repositoryId !== undefined) query = query.where('repository_id', '=', repositoryId);
    return (await query.execute()).map(toRecord);
  }

  async getRecord(id: string): Promise<BackupRecord | undefined> {
    const row = await this.#db.selectFrom('records').selectAll().where('id', '=', id).executeTakeFirst();
    return row && toRecord(row);
  }

  async updateBackupRecord(id: string, state: RecordState): Promise<void> {
    await this.#db.updateTable('records').set({ state }).where('id', '=', id).execute();
  }

  async removeBackupRecord(id: string): Promise<void> {
    await this.#db.deleteFrom('records').where('id', '=', id).execute();
  }

  async claimTick(tick: Tick): Promise<boolean> {
    await this.#owners.claim(tick.id);
    let isOurs = false;
    try {
      const result = await this.#db
        .insertInto('ticks')
        .values(toJson(tick))
        .onConflict((conflict) => conflict.columns(['schedule_id', 'due_ms']).doNothing())
        .executeTakeFirst();
      isOurs = result.numInsertedOrUpdatedRows === 1n;
      if (isOurs) await this.#pruneTicks(tick.scheduleId);
      return isOurs;
    } finally {
      if (!isOurs || tick.status !== 'running') await this.#owners.release(tick.id);
    }
  }

  async endTick(id: string, status: TickStatus, error: string | null): Promise<void> {
    await this.#db
      .updateTable('ticks')
      .set({ status, error, finished_at_ms: this.#clock.nowMs() })
      .where('id', '=', id)
      .where('status', '=', 'running')
      .execute()
      .finally(() => this.#owners.release(id));
  }

  async listTicks(scheduleId: string, limit = LIST_LIMIT): Promise<Tick[]> {
    const all = () =>
      this.#db
        .selectFrom('ticks')
        .selectAll()
        .where('schedule_id', '=', scheduleId)
        .orderBy('due_ms', 'desc')
        .limit(limit)
        .execute();
    for (const { id, status } of await all()) {
      if (status === 'running' && (await this.#owners.isDead(id)))
        await this.endTick(id, 'interrupted', 'the process ended in the middle of it');
    }
    return (await all()).map(toTick);
  }

  async #pruneTicks(scheduleId: string): Promise<void> {
    const kept = this.#db
      .selectFrom('ticks')
      .select('id')
      .where('schedule_id', '=', scheduleId)
      .orderBy('due_ms', 'desc')
      .limit(KEEP_TICKS);
    await this.#db
      .deleteFrom('ticks')
      .where('schedule_id', '=', scheduleId)
      .where('status', '!=', 'running')
      .where('id', 'not in', kept)
      .execute();
  }

  async close(): Promise<void> {
    await this.#owners.releaseAll().finally(() => this.#db.destroy());
  }

  /** Ends the jobs whose process died. Of a job that makes a backup, its record says that it succeeded. */
  async #reap(transaction: Transaction<Tables>): Promise<void> {
    const running = await transaction
      .selectFrom('jobs')
      .selectAll()
      .where('status', '=', 'running')
      .execute();
    for (const { id, kind, backup_id } of running) {
      if (!(await this.#owners.isDead(id))) continue;
      const record =
        kind !== 'backup' || backup_id === null
          ? undefined
          : await transaction
              .selectFrom('records')
              .select('id')
              .where('id', '=', backup_id)
              .executeTakeFirst();
      const end: JobChange =
        record === undefined
          ? {
              status: 'interrupted',
              error: 'the process ended in the middle of it',
              errorCode: 'INTERRUPTED',
            }
          : { status: 'succeeded', progress: 100, backupRecordId: record.id };
      await transaction
        .updateTable('jobs')
        .set({ ...toJson(end), finished_at_ms: this.#clock.nowMs() })
        .where('id', '=', id)
        .where('status', '=', 'running')
        .execute();
    }
  }

  /** Each store keeps its last ones. */
  async #prune(transaction: Transaction<Tables>): Promise<void> {
    const { storeId } = this.#scope;
    let kept = transaction.selectFrom('jobs').select('id').orderBy('id', 'desc').limit(KEEP_JOBS);
    if (storeId !== undefined) kept = kept.where('store_id', '=', storeId);
    let old = transaction.deleteFrom('jobs').where('status', '!=', 'running').where('id', 'not in', kept);
    if (storeId !== undefined) old = old.where('store_id', '=', storeId);
    await old.execute();
  }

  /** The unique index would refuse it, too; but it does not tell which job is in the way. */
  async #refuseSecond(transaction: Transaction<Tables>, guard: string | null): Promise<void> {
    if (guard === null) return;
    const other = await transaction
      .selectFrom('jobs')
      .selectAll()
      .where('guard', '=', guard)
      .where('status', '=', 'running')
      .executeTakeFirst();
    if (other === undefined) return;
    throw alreadyRunning(other.kind, other.id);
  }
}

const alreadyRunning = (kind: string, jobId: string | undefined): StillpointError =>
  new StillpointError(
    'BACKUP_ALREADY_RUNNING',
    `a ${kind} of this data directory is running already${jobId === undefined ? '' : `: job ${jobId}`}`,
    { ...(jobId !== undefined && { data: { jobId } }) },
  );

/** PostgreSQL's code for a row that a unique index refuses. */
const isSecond = (error: unknown): boolean => (error as { code?: unknown }).code === '23505';

/** PostgreSQL answers a bigint as text. */
const count = (value: number | null): number | null => (value === null ? null : Number(value));

function toJob({ guard: _, cancel_asked_at_ms: __, ...row }: Tables['jobs']): Job {
  const times = { started_at_ms: Number(row.started_at_ms), finished_at_ms: count(row.finished_at_ms) };
  const error_hint = row.error_hint ?? hintOf(row.error_code);
  return fromJson({ ...row, ...times, error_hint }) as Job;
}

const toTick = (row: Tables['ticks']): Tick =>
  fromJson({
    ...row,
    due_ms: Number(row.due_ms),
    started_at_ms: Number(row.started_at_ms),
    finished_at_ms: count(row.finished_at_ms),
  }) as Tick;

const toRecord = (row: Tables['records']): BackupRecord =>
  fromJson({
    ...row,
    created_at_ms: Number(row.created_at_ms),
    size_bytes: Number(row.size_bytes),
  }) as BackupRecord;
