import type { JobStore, Tick, TickStatus } from '../backup/jobs/job-store.ts';
import type { Clock } from '../env/clock.ts';
import { callSafely, warn } from '../env/safe-calls.ts';
import { newUlid } from '../env/ulid.ts';
import { toStillpointError } from '../errors.ts';
import { type DueTimes, dueTimes } from './due-times.ts';
import { ACTIONS, type Action, type Plan } from './settings.ts';

/** One action of one plan, with its times. */
export interface Schedule {
  readonly id: string;
  readonly plan: Plan;
  readonly action: Action;
  readonly times: DueTimes;
}

export const schedulesOf = (plans: readonly Plan[]): Schedule[] =>
  plans.flatMap((plan) =>
    ACTIONS.flatMap((action): Schedule | [] => {
      const pattern = plan[action];
      const id = `${plan.name}/${action}`;
      if (pattern === undefined) return [];
      return { id, plan, action, times: dueTimes(id, pattern, plan.time_zone, plan.jitter ?? 0) };
    }),
  );

export interface ScheduledRun {
  readonly schedule: Schedule;
  readonly dueMs: number;
  readonly status: TickStatus;
  readonly error: string | null;
}

export interface SchedulerParts {
  readonly clock: Clock;
  /** Of the data directory of a plan; closed by the scheduler. */
  readonly openJobs: (plan: Plan) => Promise<JobStore>;
  /** Does the work; rejects when it failed. */
  readonly perform: (schedule: Schedule) => Promise<void>;
  /** Told when a run begins and when it has ended, and of what was not run. */
  readonly onRun?: (run: ScheduledRun) => void;
}

/** A run that begins so long after it was due makes up a missed one. */
const LATE_MS = 60_000;
/** What is on record as done further ahead was done by a clock that was wrong. */
const AHEAD_MS = 24 * 60 * 60 * 1000;
/** Between two attempts to reach the job store of a schedule. */
const RETRY_MS = 60_000;

/**
 * Runs what is due. Each due time has one run, whoever else runs the same plans: who writes its row first has it. Of those that
 * nobody has run, the newest counts. A clock that is set back repeats none.
 */
export class Scheduler {
  readonly #schedules: readonly Schedule[];
  readonly #parts: SchedulerParts;
  /** By schedule: up to when all is settled, and from when on it is worth a look. */
  readonly #settled = new Map<string, number>();
  readonly #nextLook = new Map<string, number>();
  readonly #running = new Map<string, Promise<void>>();
  /** By data directory: the last backup that has begun or waits. It has one at a time, so plans that are due together take turns. */
  readonly #backups = new Map<string, Promise<void>>();

  constructor(schedules: readonly Schedule[], parts: SchedulerParts) {
    this.#schedules = schedules;
    this.#parts = parts;
  }

  /** Begins what is due now. Resolves once that is on record; the runs go on. Call it every second or so. */
  async tick(): Promise<void> {
    const nowMs = this.#parts.clock.nowMs();
    for (const schedule of this.#schedules) {
      if (nowMs < (this.#nextLook.get(schedule.id) ?? 0)) continue;
      try {
        await this.#look(schedule, nowMs);
        this.#nextLook.delete(schedule.id);
      } catch (error) {
        // The disk of this store may be away. The others are due all the same, and this one is once it is back.
        this.#nextLook.set(schedule.id, nowMs + RETRY_MS);
        this.#tell({ schedule, dueMs: nowMs, status: 'failed', error: toStillpointError(error).message });
      }
    }
  }

  /** Resolves when no run is under way. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running.values());
  }

  async #look(schedule: Schedule, nowMs: number): Promise<void> {
    const { id, plan, times } = schedule;
    const due = times.newestUpTo(nowMs);
    const settled = this.#settled.get(id);
    if (settled !== undefined && settled <= nowMs + AHEAD_MS && (due === undefined || due <= settled)) return;
    const jobs = await this.#parts.openJobs(plan);
    let isKept = false;
    try {
      const [last] = await believedTicks(jobs, id, nowMs);
      if (last === undefined) {
        // The schedule begins now: what was due before is none of its runs.
        await this.#claim(jobs, schedule, nowMs, 'begun');
        this.#settled.set(id, nowMs);
        return;
      }
      this.#settled.set(id, Math.max(last.dueMs, due ?? 0));
      if (due === undefined || due <= last.dueMs) return;
      const isBusy = this.#running.has(id) || last.status === 'running';
      const isMissed = !plan.catch_up && nowMs - due > LATE_MS;
      const status = isBusy ? 'skipped' : isMissed ? 'missed' : 'running';
      const tick = await this.#claim(jobs, schedule, due, status);
      if (tick === undefined) return; // another service has it
      this.#tell({ schedule, dueMs: due, status, error: null });
      if (status !== 'running') return;
      isKept = true;
      const run = this.#run(jobs, schedule, tick).finally(() => this.#running.delete(id));
      this.#running.set(id, run);
    } finally {
      if (!isKept) await jobs.close();
    }
  }

  async #claim(
    jobs: JobStore,
    { id: scheduleId }: Schedule,
    dueMs: number,
    status: TickStatus,
  ): Promise<Tick | undefined> {
    const startedAtMs = this.#parts.clock.nowMs();
    const finishedAtMs = status === 'running' ? null : startedAtMs;
    const id = newUlid(startedAtMs);
    const tick: Tick = { id, scheduleId, dueMs, status, startedAtMs, finishedAtMs, error: null };
    return (await jobs.claimTick(tick)) ? tick : undefined;
  }

  async #run(jobs: JobStore, schedule: Schedule, { id, dueMs }: Tick): Promise<void> {
    let error: string | null = null;
    try {
      await this.#inTurn(schedule);
    } catch (problem) {
      error = toStillpointError(problem).message;
    }
    const status = error === null ? 'succeeded' : 'failed';
    try {
      await jobs.endTick(id, status, error);
    } catch (problem) {
      warn(problem);
    } finally {
      await jobs.close().catch(warn);
    }
    this.#tell({ schedule, dueMs, status, error });
  }

  #inTurn(schedule: Schedule): Promise<void> {
    const { perform } = this.#parts;
    if (schedule.action !== 'backup') return perform(schedule);
    const { dataDir } = schedule.plan.store;
    const before = this.#backups.get(dataDir) ?? Promise.resolve();
    const work = before.then(() => perform(schedule));
    const end = work
      .catch(() => undefined)
      .then(() => {
        if (this.#backups.get(dataDir) === end) this.#backups.delete(dataDir);
      });
    this.#backups.set(dataDir, end);
    return work;
  }

  #tell(run: ScheduledRun): void {
    const { onRun } = this.#parts;
    if (onRun !== undefined) callSafely(() => onRun(run));
  }
}

const MOST_TICKS = 1000;

/** What is on record of a schedule and can be believed, newest first. */
export async function believedTicks(jobs: JobStore, scheduleId: string, nowMs: number): Promise<Tick[]> {
  const ticks = await jobs.listTicks(scheduleId, MOST_TICKS);
  return ticks.filter(({ dueMs }) => dueMs <= nowMs + AHEAD_MS);
}
