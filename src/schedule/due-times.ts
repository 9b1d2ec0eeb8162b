import { createHash } from 'node:crypto';
import { Cron } from 'croner';

/**
 * When a schedule is due: the times of a cron pattern in a time zone, each later by the same part of the jitter, which follows from the
 * schedule's id. All is computed from the pattern; nothing here knows what time it is.
 */
export interface DueTimes {
  /** The newest due time up to and with this moment; undefined when there is none. */
  newestUpTo(ms: number): number | undefined;
  /** The first one after this moment; undefined when there is none. */
  firstAfter(ms: number): number | undefined;
}

/** @param pattern Five fields: minute, hour, day of the month, month, day of the week. Throws what `cronProblem` tells. */
export function dueTimes(id: string, pattern: string, timeZone: string, jitterMs: number): DueTimes {
  const cron = cronOf(pattern, timeZone);
  const shift = jitterMs === 0 ? 0 : createHash('sha256').update(id).digest().readUIntBE(0, 6) % jitterMs;
  const shifted = (date: Date | null | undefined): number | undefined =>
    date == null ? undefined : date.getTime() + shift;
  return {
    // Both look strictly before and after.
    newestUpTo: (ms) => shifted(cron.previousRuns(1, new Date(ms - shift + 1))[0]),
    firstAfter: (ms) => shifted(cron.nextRun(new Date(ms - shift))),
  };
}

/** Why it is no pattern that is ever due; undefined when it is one. */
export function cronProblem(pattern: string, timeZone: string): string | undefined {
  try {
    return cronOf(pattern, timeZone).nextRun(new Date(0)) === null
      ? 'must be due at some time; it never is'
      : undefined;
  } catch {
    return 'must be five fields of cron: minute, hour, day of the month, month, day of the week';
  }
}

export function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}

const cronOf = (pattern: string, timezone: string): Cron =>
  new Cron(pattern, { timezone, mode: '5-part', paused: true });
