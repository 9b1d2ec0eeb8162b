import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { JobStore, Tick } from '../../src/backup/jobs/job-store.ts';
import { type Schedule, type ScheduledRun, Scheduler, schedulesOf } from '../../src/schedule/scheduler.ts';
import type { Plan } from '../../src/schedule/settings.ts';
import { perTier } from '../support/tier.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.parse('2026-10-20T12:00:10Z');

const aPlan = (about: Partial<Plan> = {}): Plan => ({
  name: 'nightly',
  store: { name: 'orders', dataDir: '/data', engine: 'auto' },
  repository: { name: 'offsite', destination: '/backups', compress: true, encryption: undefined },
  jobs: undefined,
  backup: '30 2 * * *',
  time_zone: 'Europe/Berlin',
  catch_up: true,
  local: true,
  overdue_after: HOUR,
  writtenAtMs: 0,
  ...about,
});

/** A machine with a clock that is moved, a job store, and a service that can die. */
class Machine {
  nowMs = START;
  readonly ticks: Tick[] = [];
  readonly told: ScheduledRun[] = [];
  readonly performed: number[] = [];
  isStoreAway = false;
  fails: string | undefined;
  readonly #schedules: readonly Schedule[];
  #scheduler: Scheduler;
  #alive = new Set<string>();
  #ends: (() => void)[] = [];
  holds = false;

  constructor(plans: readonly Plan[]) {
    this.#schedules = schedulesOf(plans);
    this.#scheduler = this.#start();
  }

  #start(): Scheduler {
    const alive = new Set<string>();
    this.#alive = alive;
    return new Scheduler(this.#schedules, {
      clock: { nowMs: () => this.nowMs, monotonicMs: () => this.nowMs, every: () => () => {} },
      openJobs: async () => this.#store(alive),
      perform: async () => {
        this.performed.push(this.nowMs);
        if (this.fails !== undefined) throw new Error(this.fails);
        if (this.holds) await new Promise<void>((resolve) => this.#ends.push(resolve));
      },
      onRun: (run) => this.told.push(run),
    });
  }

  #store(alive: Set<string>): JobStore {
    if (this.isStoreAway) throw new Error('the disk is away');
    return {
      claimTick: async (tick: Tick) => {
        if (this.ticks.some((one) => one.scheduleId === tick.scheduleId && one.dueMs === tick.dueMs))
          return false;
        alive.add(tick.id);
        this.ticks.push(tick);
        return true;
      },
      endTick: async (id: string, status: Tick['status'], error: string | null) => {
        const at = this.ticks.findIndex((one) => one.id === id && one.status === 'running');
        if (at >= 0 && alive.has(id))
          this.ticks[at] = { ...this.ticks[at]!, status, error, finishedAtMs: this.nowMs };
      },
      listTicks: async (scheduleId: string) => {
        for (const [at, tick] of this.ticks.entries()) {
          if (tick.status === 'running' && !this.#alive.has(tick.id))
            this.ticks[at] = { ...tick, status: 'interrupted' };
        }
        return this.ticks.filter((one) => one.scheduleId === scheduleId).sort((a, b) => b.dueMs - a.dueMs);
      },
      close: async () => {},
    } as unknown as JobStore;
  }

  /** Time goes on, with a tick every so often. */
  async pass(ms: number, step = MINUTE): Promise<void> {
    for (const end = this.nowMs + ms; this.nowMs < end; ) {
      this.nowMs = Math.min(end, this.nowMs + step);
      await this.tick();
    }
  }

  async tick(): Promise<void> {
    await this.#scheduler.tick();
    if (!this.holds) await this.#scheduler.idle();
  }

  async endRuns(): Promise<void> {
    this.holds = false;
    for (const end of this.#ends.splice(0)) end();
    await this.#scheduler.idle();
  }

  /** The process dies, with what it has under way. */
  die(): void {
    this.#ends = [];
    this.#scheduler = this.#start();
  }

  /** Rows that say that something was due. */
  get rows(): Tick[] {
    return this.ticks.filter(({ status }) => status !== 'begun');
  }

  dues(): string[] {
    return this.rows.map(({ dueMs, status }) => `${new Date(dueMs).toISOString()} ${status}`);
  }
}

describe('a scheduler', () => {
  test('runs each due time once, and none from before it began', async () => {
    const machine = new Machine([aPlan()]);
    await machine.pass(3 * DAY);
    expect(machine.dues()).toEqual([
      '2026-10-21T00:30:00.000Z succeeded',
      '2026-10-22T00:30:00.000Z succeeded',
      '2026-10-23T00:30:00.000Z succeeded',
    ]);
  });

  test('runs once a day over both changes of the clock', async () => {
    const machine = new Machine([aPlan()]);
    await machine.pass(180 * DAY, 10 * MINUTE);
    expect(machine.rows).toHaveLength(180);
    const gaps = machine.rows.slice(1).map(({ dueMs }, i) => (dueMs - machine.rows[i]!.dueMs) / HOUR);
    expect(gaps.filter((gap) => gap !== 24)).toEqual([25, 23.5, 23.5]); // 2:30, 2:30 of winter, 3:00, 2:30 of summer
  });

  test('makes up the newest of the runs that were missed, or none where it is told not to', async () => {
    for (const [catch_up, status] of [
      [true, 'succeeded'],
      [false, 'missed'],
    ] as const) {
      const machine = new Machine([aPlan({ catch_up })]);
      await machine.tick();
      machine.nowMs += 5 * DAY;
      await machine.pass(HOUR);
      expect(machine.dues()).toEqual([`2026-10-25T00:30:00.000Z ${status}`]);
    }
  });

  test('goes on after the process died in the middle, and runs that due time no second time', async () => {
    const machine = new Machine([aPlan()]);
    machine.holds = true;
    await machine.pass(DAY);
    machine.die();
    machine.holds = false;
    await machine.pass(DAY);
    expect(machine.dues()).toEqual([
      '2026-10-21T00:30:00.000Z interrupted',
      '2026-10-22T00:30:00.000Z succeeded',
    ]);
  });

  test('notes as skipped what is due while the run before is under way', async () => {
    const machine = new Machine([aPlan({ backup: '0 * * * *' })]);
    machine.holds = true;
    await machine.pass(3 * HOUR);
    await machine.endRuns();
    await machine.pass(HOUR);
    expect(machine.rows.map(({ status }) => status)).toEqual([
      'succeeded',
      'skipped',
      'skipped',
      'succeeded',
    ]);
  });

  test('backups of one data directory that are due together take turns; of two, they run at once', async () => {
    const hourly = { backup: '0 * * * *' };
    const other = { name: 'other', dataDir: '/other', engine: 'auto' as const };
    const machine = new Machine([
      aPlan(hourly),
      aPlan({ ...hourly, name: 'far' }),
      aPlan({ ...hourly, name: 'elsewhere', store: other }),
    ]);
    machine.holds = true;
    await machine.pass(HOUR);
    expect(machine.performed).toHaveLength(2);
    await machine.endRuns();
    expect(machine.performed).toHaveLength(3);
    expect(machine.rows.map(({ status }) => status)).toEqual(['succeeded', 'succeeded', 'succeeded']);
  });

  test('a clock that is set back repeats nothing; one that was years ahead stops nothing', async () => {
    const machine = new Machine([aPlan({ backup: '0 * * * *' })]);
    await machine.pass(3 * HOUR);
    machine.nowMs -= 2 * HOUR;
    await machine.pass(2 * HOUR);
    expect(machine.rows).toHaveLength(3);
    machine.nowMs += 1000 * DAY;
    await machine.tick();
    machine.nowMs -= 1000 * DAY;
    machine.die();
    await machine.pass(3 * HOUR);
    expect(machine.rows).toHaveLength(7);
  });

  test('two services share the runs', async () => {
    const one = new Machine([aPlan()]);
    const other = new Machine([aPlan()]);
    Object.defineProperty(other, 'ticks', { value: one.ticks });
    for (let i = 0; i < 5 * 24; i++) {
      await one.pass(HOUR, HOUR);
      await other.pass(HOUR, HOUR);
    }
    expect(one.rows).toHaveLength(5);
    expect(one.performed.length + other.performed.length).toBe(5);
  });

  test('a failure is on record, and the next one is tried; a store that is away is told, and does not stop the others', async () => {
    const machine = new Machine([aPlan()]);
    machine.fails = 'no such bucket';
    await machine.pass(DAY);
    machine.fails = undefined;
    await machine.pass(DAY);
    expect(machine.rows.map(({ status, error }) => [status, error])).toEqual([
      ['failed', 'no such bucket'],
      ['succeeded', null],
    ]);
    machine.isStoreAway = true;
    await machine.pass(2 * DAY, 10 * MINUTE);
    machine.isStoreAway = false;
    await machine.pass(HOUR);
    expect(machine.rows).toHaveLength(3);
    expect(machine.told.some(({ error }) => error === 'the disk is away')).toBe(true);
  });

  test('ten thousand ticks: exactly the runs that are due', async () => {
    const machine = new Machine([aPlan({ backup: '*/15 * * * *', verify: '5 4 * * 0', drill: '0 6 1 * *' })]);
    await machine.pass(10_000 * MINUTE);
    const by = (id: string) => machine.rows.filter(({ scheduleId }) => scheduleId === id).length;
    expect(by('nightly/backup')).toBe(Math.floor(10_000 / 15));
    expect(by('nightly/verify')).toBe(1);
    expect(by('nightly/drill')).toBe(0);
    expect(machine.performed).toHaveLength(machine.rows.length);
  });
});

test('whatever happens to clock and process, what is due runs once and nothing else runs', async () => {
  const event = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('pass' as const),
        ms: fc.integer({ min: 1000, max: 8 * HOUR }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('sleep' as const),
        ms: fc.integer({ min: 1000, max: 40 * DAY }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('back' as const),
        ms: fc.integer({ min: 1000, max: 5 * HOUR }),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ kind: 'die' as const, ms: 0 }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'hold' as const, ms: 0 }) },
    { weight: 1, arbitrary: fc.constant({ kind: 'release' as const, ms: 0 }) },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(event, { maxLength: 25 }),
      fc.constantFrom('30 2 * * *', '0 */3 * * *', '15 1 * * 0', '*/20 * * * *'),
      async (events, backup) => {
        const plan = aPlan({ backup });
        const [{ times }] = schedulesOf([plan]) as [Schedule];
        const machine = new Machine([plan]);
        await machine.tick();
        let latest = START;
        for (const { kind, ms } of events) {
          if (kind === 'pass') await machine.pass(ms, 5 * MINUTE);
          else if (kind === 'sleep') machine.nowMs += ms;
          else if (kind === 'back') machine.nowMs -= ms;
          else if (kind === 'die') machine.die();
          else if (kind === 'hold') machine.holds = true;
          else await machine.endRuns();
          await machine.tick();
          latest = Math.max(latest, machine.nowMs);
          const newest = times.newestUpTo(machine.nowMs);
          // What is due now has its row, at the latest after this tick.
          if (newest !== undefined && newest > START) {
            expect(machine.rows.some(({ dueMs }) => dueMs >= newest)).toBe(true);
          }
        }
        await machine.endRuns();
        const dues = machine.rows.map(({ dueMs }) => dueMs);
        expect(new Set(dues).size).toBe(dues.length);
        for (const due of dues) {
          expect(times.newestUpTo(due)).toBe(due);
          expect(due).toBeGreaterThan(START);
          expect(due).toBeLessThanOrEqual(latest);
        }
        const ran = machine.rows.filter(({ status }) => status !== 'skipped' && status !== 'missed');
        expect(machine.performed).toHaveLength(ran.length);
      },
    ),
    { numRuns: perTier(100, 5_000) },
  );
});
