import type { BackupPlaceInRepository } from '../backup/find-backup.ts';
import type { Job } from '../backup/jobs/job-store.ts';
import { openBackup } from '../backup/restore-backup.ts';
import type { BackupCoordinator } from '../coordinator/backup.ts';
import { isoTime } from '../env/clock.ts';
import { realPlace } from '../env/io.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import { directoryOf } from '../operation/lifecycle.ts';
import type { AlertSettings } from '../schedule/alert-settings.ts';
import { runPlans, type ScheduleState, statesOf } from '../schedule/index.ts';
import { perform } from '../schedule/perform.ts';
import type { ScheduledRun } from '../schedule/scheduler.ts';
import { type Action, type Plan, type RepositorySettings, readSettings } from '../schedule/settings.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { SnapshotSource } from '../snapshot/source/snapshot-source.ts';
import { lineWriter } from './line-writer.ts';
import type { ResolvedOptions } from './options.ts';

/** What a server reads of its settings file: the plans of its own data directory, and all repositories. */
export interface ServerSettings {
  readonly plans: readonly Plan[];
  readonly repositories: readonly RepositorySettings[];
  readonly alerts: AlertSettings | undefined;
}

/** `INVALID_REQUEST` for a file that is wrong, and for one without a plan of this data directory. */
export async function readServerSettings(
  { dataDir }: ResolvedOptions,
  { fs }: Environment,
  file: string,
): Promise<ServerSettings> {
  const { plans, repositories, alerts } = await readSettings(fs, file);
  const own = await realPlace(fs, dataDir);
  const ofThis: Plan[] = [];
  for (const plan of plans) if ((await realPlace(fs, plan.store.dataDir)) === own) ofThis.push(plan);
  if (ofThis.length > 0) return { plans: ofThis, repositories, alerts };
  throw new StillpointError('INVALID_REQUEST', `${file} has no plan for ${dataDir}`, {
    path: file,
    hint: 'Add a store with this `data_dir`, and a plan for it: src/schedule/README.md shows a whole file.',
  });
}

/** How long something took that ended then. */
export interface Measured {
  readonly atMs: number;
  readonly tookMs: number;
}

interface Parts {
  readonly options: ResolvedOptions;
  readonly environment: Environment;
  readonly backups: BackupCoordinator;
  /** Throws when no snapshot may be taken now. */
  readonly admit: () => void;
  readonly closing: AbortSignal;
  /** A run of a plan, or a push, has ended. */
  readonly onEnd: () => void;
}

/** The plans of a server: run when they are due, and on request. */
export class Plans {
  readonly #settings: ServerSettings;
  readonly #parts: Parts;
  /** Runs on request that are under way, by plan and action. */
  readonly #requested = new Map<string, Promise<unknown>>();
  /** The same by their jobs. */
  readonly #byJob = new Map<string, Promise<unknown>>();
  readonly #pushes = new Set<Promise<unknown>>();
  #schedule: Promise<void> | undefined;

  constructor(settings: ServerSettings, parts: Parts) {
    this.#settings = settings;
    this.#parts = parts;
  }

  /** Runs what is due, until the server is closed. */
  begin(): void {
    const { options, environment, closing, onEnd } = this.#parts;
    const log = lineWriter(options.log);
    const onRun = ({ schedule, status, error }: ScheduledRun) => {
      onEnd();
      if (status !== 'failed') return;
      const time = isoTime(environment.clock.nowMs());
      log({ time, level: 'error', plan: schedule.plan.name, action: schedule.action, message: error });
    };
    const about = { environment, signal: closing, onRun, coordinatorOf: () => this.#coordinator() };
    this.#schedule = runPlans(this.#settings.plans, this.#settings.alerts, about).catch(warn);
  }

  /** Resolves once the server is being closed and no run is under way. */
  async ended(): Promise<void> {
    await this.#schedule;
    await Promise.all([...this.#requested.values(), ...this.#pushes]);
  }

  get plans(): readonly Plan[] {
    return this.#settings.plans;
  }

  get repositories(): readonly RepositorySettings[] {
    return this.#settings.repositories;
  }

  /** Where jobs and records are kept, if not in the data directory. */
  get jobs(): string | undefined {
    return this.plans[0]?.jobs;
  }

  states(): Promise<ScheduleState[]> {
    return statesOf(this.plans, this.#parts.environment);
  }

  /**
   * Runs an action of a plan now. Resolves once its job is on record; the work goes on. `NOT_FOUND`; `CONFLICT` while the last
   * request for it is under way; and what kept the job from being made.
   */
  async run(name: string, action: Action): Promise<Job> {
    const plan = this.plans.find((one) => one.name === name);
    if (plan === undefined)
      throw new StillpointError('NOT_FOUND', `there is no plan ${JSON.stringify(name)}`);
    const id = `${name}/${action}`;
    if (this.#requested.has(id)) {
      throw new StillpointError('CONFLICT', `the ${action} of ${name} is under way already`, {
        hint: 'Its job is in `GET /api/admin/jobs?status=running`.',
      });
    }
    const { environment, closing: signal } = this.#parts;
    const coordinatorOf = () => this.#coordinator();
    return new Promise<Job>((resolve, reject) => {
      let job: Job | undefined;
      const onJobCreated = (created: Job) => {
        job = created;
        this.#byJob.set(job.id, end);
        resolve(job);
      };
      const end = perform({ plan, action }, { environment, signal, coordinatorOf, onJobCreated })
        .catch(reject) // does nothing once the job is on record, which tells how it ended
        .finally(() => {
          this.#requested.delete(id);
          if (job !== undefined) this.#byJob.delete(job.id);
          this.#parts.onEnd();
        });
      this.#requested.set(id, end);
    });
  }

  /** A job that did not succeed is told once its place is free: whoever reads that may start the next one at once. After a success old backups may still have to go. */
  async settled(job: Job): Promise<Job> {
    if (job.status === 'failed' || job.status === 'interrupted') await this.#byJob.get(job.id);
    return job;
  }

  /** The backup that was made of a snapshot. `NOT_FOUND` for the repository. */
  async pushed(repository: string, snapshotId: string): Promise<BackupPlaceInRepository | undefined> {
    const { destination: from, encryption } = this.repository(repository);
    const { environment, backups, closing: signal } = this.#parts;
    const layout = await directoryOf(backups.lifecycle).layout();
    const { findBackupOf } = await import('../backup/find-backup.ts');
    return findBackupOf(environment, layout, snapshotId, {
      from,
      signal,
      jobs: this.jobs,
      ...(encryption && { encryption }),
    });
  }

  /**
   * Makes a backup of a snapshot that stands. Resolves once its job is on record; the work goes on. `NOT_FOUND` for the repository,
   * `BACKUP_ALREADY_RUNNING`.
   */
  async push(repository: string, snapshot: string): Promise<Job> {
    const { destination: to, encryption, compress } = this.repository(repository);
    const { environment, backups: coordinator, options, closing: signal } = this.#parts;
    const { backUp } = await import('../backup/back-up.ts');
    return new Promise<Job>((resolve, reject) => {
      const about = { environment, to, compress, coordinator, snapshot, signal, onJobCreated: resolve };
      const end = backUp(options.dataDir, {
        ...about,
        ...(encryption && { encryption }),
        ...(this.jobs !== undefined && { jobs: this.jobs }),
      })
        .catch(reject) // does nothing once the job is on record, which tells how it ended
        .finally(() => {
          this.#pushes.delete(end);
          this.#parts.onEnd();
        });
      this.#pushes.add(end);
    });
  }

  /** The newest drill of this data directory that succeeded. */
  async lastDrill(): Promise<Measured | undefined> {
    const { options, environment } = this.#parts;
    const { listJobs } = await import('../backup/list-jobs.ts');
    const filter = { kind: 'drill', status: 'succeeded', limit: 1 } as const;
    const [drill] = (await listJobs(options.dataDir, { environment, jobs: this.jobs, ...filter })).jobs;
    if (drill === undefined || drill.finishedAtMs === null) return undefined;
    return { atMs: drill.finishedAtMs, tookMs: drill.finishedAtMs - drill.startedAtMs };
  }

  /** `NOT_FOUND`. */
  repository(name: string): RepositorySettings {
    const found = this.repositories.find((one) => one.name === name);
    if (found !== undefined) return found;
    throw new StillpointError('NOT_FOUND', `there is no repository ${JSON.stringify(name)}`);
  }

  /** A backup of this server's own store, as what a restore in place takes. */
  async source(repository: string, backup: string): Promise<SnapshotSource> {
    const { destination: from, encryption } = this.repository(repository);
    const { environment, options, closing: signal } = this.#parts;
    const { dataDir } = options;
    const about = { environment, from, dataDir, signal, ...(encryption && { encryption }) };
    return (await openBackup(backup, about)).source;
  }

  #coordinator(): BackupCoordinator {
    this.#parts.admit();
    return this.#parts.backups;
  }
}
