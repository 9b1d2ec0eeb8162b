import type { Tick } from '../backup/jobs/job-store.ts';
import { isoTime } from '../env/clock.ts';
import type { Alert } from './alert-channels.ts';
import type { Schedule } from './scheduler.ts';

/** What is worth an alert, by what is on record. All is computed; nothing here knows what time it is. */

export interface AlertEvent {
  readonly kind: 'failed' | 'overdue' | 'recovered';
  /** With the schedule and the kind, this is what the event is known by. */
  readonly dueMs: number;
  readonly error: string | null;
}

/** What is older is not alerted any more: nobody could act on it, and an alert that is new to a settings file begins now. */
const YOUNG_MS = 24 * 60 * 60 * 1000;

const isFailure = ({ status }: Tick): boolean => status === 'failed' || status === 'interrupted';

/**
 * Each failed run is an event. A silence is one, from the first due time without a success until there is one; a due time whose run
 * failed is none. The first success after either is one. All follows from the record, so it does not matter who looks when.
 *
 * @param ticks Of the schedule, the last due first.
 */
export function eventsOf(schedule: Schedule, ticks: readonly Tick[], nowMs: number): AlertEvent[] {
  const youngest = nowMs - YOUNG_MS;
  const ended = ticks.flatMap((tick, at) => {
    const isOver = tick.status === 'succeeded' || isFailure(tick);
    if (!isOver || (tick.finishedAtMs ?? tick.startedAtMs) < youngest) return [];
    // When an interrupted run ended is not known: its record says when that was noticed.
    const atMs = tick.status === 'interrupted' ? tick.startedAtMs : (tick.finishedAtMs ?? tick.startedAtMs);
    return [{ tick, atMs, before: ticks.slice(at + 1) }];
  });
  const events: AlertEvent[] = [];
  const silences = new Set<number>();
  for (const { atMs, before } of [{ atMs: nowMs, before: ticks }, ...ended]) {
    const since = silenceAt(schedule, before, atMs);
    if (since !== undefined) silences.add(since);
  }
  for (const dueMs of silences) events.push({ kind: 'overdue', dueMs, error: null });
  for (const { tick, before } of ended) {
    const { dueMs, error } = tick;
    if (isFailure(tick)) events.push({ kind: 'failed', dueMs, error });
    else if (endsTrouble(schedule, before, silences)) events.push({ kind: 'recovered', dueMs, error: null });
  }
  return events.sort((a, b) => a.dueMs - b.dueMs);
}

/** Since which due time there was nothing at that moment, by the runs before it; undefined if it was not silent. */
function silenceAt({ plan, times }: Schedule, before: readonly Tick[], atMs: number): number | undefined {
  const fromMs = lastGood(before);
  const lateMs = times.newestUpTo(atMs - plan.overdue_after);
  if (fromMs === undefined || lateMs === undefined || lateMs <= fromMs) return undefined;
  if (before.some((tick) => isFailure(tick) && tick.dueMs >= lateMs)) return undefined;
  return times.firstAfter(fromMs);
}

/** Whether a success after these runs is good news. */
function endsTrouble({ times }: Schedule, before: readonly Tick[], silences: ReadonlySet<number>): boolean {
  const success = before.findIndex(({ status }) => status === 'succeeded');
  if (before.slice(0, success < 0 ? undefined : success).some(isFailure)) return true;
  const fromMs = lastGood(before);
  const since = fromMs === undefined ? undefined : times.firstAfter(fromMs);
  return since !== undefined && silences.has(since);
}

/** When the last success was due, or when the schedule began. */
const lastGood = (ticks: readonly Tick[]): number | undefined =>
  (ticks.find(({ status }) => status === 'succeeded') ?? ticks.at(-1))?.dueMs;

export function alertOf({ id, plan, action }: Schedule, { kind, dueMs, error }: AlertEvent): Alert {
  const due = isoTime(dueMs);
  const what = `${plan.name}: ${action} of ${plan.store.dataDir}`;
  const text = {
    failed: `${what}, due ${due}, failed: ${error}`,
    overdue: `${what} is overdue: nothing has succeeded since it was due at ${due}`,
    recovered: `${what} works again: the one due ${due} succeeded`,
  }[kind];
  return {
    id: `${id}/${kind}/${due}`,
    kind,
    text,
    plan: plan.name,
    action,
    data_dir: plan.store.dataDir,
    due_at: due,
    error,
  };
}

/** Whether what the schedule is for is as it should be: not late, its last run no failure, its proof young enough. */
export function isHealthy({ plan, action, times }: Schedule, ticks: readonly Tick[], nowMs: number): boolean {
  const last = ticks.find((tick) => tick.status === 'succeeded' || isFailure(tick));
  if (last !== undefined && isFailure(last)) return false;
  const success = ticks.find(({ status }) => status === 'succeeded');
  const lateMs = times.newestUpTo(nowMs - plan.overdue_after);
  const fromMs = lastGood(ticks);
  if (fromMs === undefined || (lateMs !== undefined && lateMs > fromMs)) return false;
  if (action !== 'backup') return true;
  return success !== undefined && nowMs - success.startedAtMs <= (plan.max_age ?? Number.POSITIVE_INFINITY);
}
