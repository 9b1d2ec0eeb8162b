import type { JobStore, Tick } from '../backup/jobs/job-store.ts';
import type { Clock } from '../env/clock.ts';
import { warn } from '../env/safe-calls.ts';
import { newUlid } from '../env/ulid.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { Channel } from './alert-channels.ts';
import { type AlertEvent, alertOf, eventsOf, isHealthy } from './alert-events.ts';
import { believedTicks, type Schedule } from './scheduler.ts';
import type { Plan } from './settings.ts';

export interface AlertParts {
  readonly clock: Clock;
  readonly openJobs: (plan: Plan) => Promise<JobStore>;
  readonly channels: readonly Channel[];
  /** Called while all schedules are healthy, so often. */
  readonly heartbeat?: { readonly everyMs: number; readonly beat: () => Promise<void> } | undefined;
  readonly signal?: AbortSignal | undefined;
}

const LOOK_MS = 30_000;
/** Attempts of one alert are rows of the minute after its due time: due times are a minute apart at least. */
const MAX_ATTEMPTS = 50;
const FIRST_WAIT_MS = 30_000;
const LONGEST_WAIT_MS = 60 * 60 * 1000;

/**
 * Tells of failures, silences and their end through each channel, each once. What was told is on record beside the runs, so that it is
 * told once also across restarts and by several services. What could not be delivered is tried again, later each time.
 */
export class Alerts {
  readonly #schedules: readonly Schedule[];
  readonly #parts: AlertParts;
  #nextLookMs = 0;
  #nextBeatMs = 0;
  #work: Promise<void> | undefined;

  constructor(schedules: readonly Schedule[], parts: AlertParts) {
    this.#schedules = schedules;
    this.#parts = parts;
  }

  /** A run has ended: looks at once. */
  wake(): void {
    this.#nextLookMs = 0;
  }

  /** Begins to look for what is to be told, unless it does already. Call it every second or so. */
  tick(): void {
    const nowMs = this.#parts.clock.nowMs();
    const isSetBack = this.#nextLookMs > nowMs + LOOK_MS;
    if (this.#work !== undefined || (nowMs < this.#nextLookMs && !isSetBack)) return;
    this.#nextLookMs = nowMs + LOOK_MS;
    this.#work = this.#look()
      .catch(warn)
      .finally(() => {
        this.#work = undefined;
      });
  }

  /** Resolves when nothing is being told. */
  async idle(): Promise<void> {
    await this.#work;
  }

  async #look(): Promise<void> {
    let areHealthy = this.#schedules.length > 0;
    for (const schedule of this.#schedules) {
      try {
        const jobs = await this.#parts.openJobs(schedule.plan);
        try {
          areHealthy = (await this.#lookAt(jobs, schedule)) && areHealthy;
        } finally {
          await jobs.close();
        }
      } catch (error) {
        areHealthy = false; // what cannot be read is not known to be good
        warn(`alerts of ${schedule.id}: ${toStillpointError(error).message}`);
      }
    }
    if (areHealthy) await this.#beat();
  }

  /** Whether it is healthy. */
  async #lookAt(jobs: JobStore, schedule: Schedule): Promise<boolean> {
    const ticks = await believedTicks(jobs, schedule.id, this.#parts.clock.nowMs());
    const tellBy = async (channel: Channel) => {
      const told = {
        failed: await attempts(jobs, schedule, channel, 'failed'),
        overdue: await attempts(jobs, schedule, channel, 'overdue'),
        recovered: await attempts(jobs, schedule, channel, 'recovered'),
      };
      for (const event of eventsOf(schedule, ticks, this.#parts.clock.nowMs()))
        await this.#tell(jobs, schedule, channel, event, of(told[event.kind], event.dueMs));
    };
    // At once: a command that hangs keeps no webhook waiting.
    const ends = await Promise.allSettled(this.#parts.channels.map(tellBy));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    return isHealthy(schedule, ticks, this.#parts.clock.nowMs());
  }

  async #tell(
    jobs: JobStore,
    schedule: Schedule,
    channel: Channel,
    event: AlertEvent,
    before: readonly Tick[],
  ): Promise<void> {
    const { clock, signal } = this.#parts;
    if (signal?.aborted || before.length >= MAX_ATTEMPTS) return;
    if (before.some(({ status }) => status === 'succeeded' || status === 'running')) return;
    const nowMs = clock.nowMs();
    const lastMs = Math.max(0, ...before.map(({ startedAtMs }) => startedAtMs));
    const waitMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (before.length - 1));
    if (before.length > 0 && lastMs <= nowMs && nowMs < lastMs + waitMs) return;
    const id = newUlid(nowMs);
    const tick: Tick = {
      id,
      scheduleId: recordOf(schedule, channel, event.kind),
      dueMs: event.dueMs + before.length,
      status: 'running',
      startedAtMs: nowMs,
      finishedAtMs: null,
      error: null,
    };
    if (!(await jobs.claimTick(tick))) return; // another service tells it
    try {
      await channel.send(alertOf(schedule, event), signal);
      await jobs.endTick(id, 'succeeded', null);
    } catch (error) {
      const { message } = toStillpointError(error);
      await jobs.endTick(id, 'failed', message);
      warn(`the alert ${schedule.id} ${event.kind} was not delivered by ${channel.name}: ${message}`);
    }
  }

  async #beat(): Promise<void> {
    const { clock, heartbeat } = this.#parts;
    if (heartbeat === undefined) return;
    const nowMs = clock.nowMs();
    const isSetBack = this.#nextBeatMs > nowMs + heartbeat.everyMs;
    if (nowMs < this.#nextBeatMs && !isSetBack) return;
    try {
      await heartbeat.beat();
      this.#nextBeatMs = nowMs + heartbeat.everyMs;
    } catch (error) {
      warn(`the heartbeat was not delivered: ${toStillpointError(error).message}`);
    }
  }
}

/** No plan has a name with "#" in it. */
const recordOf = ({ id }: Schedule, { name }: Channel, kind: AlertEvent['kind']): string =>
  `${id}#${name}#${kind}`;

const attempts = (jobs: JobStore, schedule: Schedule, channel: Channel, kind: AlertEvent['kind']) =>
  jobs.listTicks(recordOf(schedule, channel, kind), 1000);

const of = (told: readonly Tick[], dueMs: number): Tick[] =>
  told.filter((tick) => tick.dueMs >= dueMs && tick.dueMs < dueMs + MAX_ATTEMPTS);

export const noAlerts = (file: string): StillpointError =>
  new StillpointError('INVALID_REQUEST', `${file} has no part "alerts"`, {
    path: file,
    hint: 'src/schedule/README.md shows one.',
  });
