import { LEVELS, type Level } from '../options/choices.ts';

/** Which backups stay and which go: a decision over what is known of them, without a look at anything. */

export interface RetentionRule {
  /** The newest so many. */
  readonly keepLast?: number | undefined;
  /** All that are younger. */
  readonly keepWithinMs?: number | undefined;
  /** The newest of each of the last so many days that have one; days, weeks (from Monday) and months are those of UTC. */
  readonly keepDaily?: number | undefined;
  readonly keepWeekly?: number | undefined;
  readonly keepMonthly?: number | undefined;
}

export interface RetainedBackup {
  readonly backupId: string;
  readonly createdAtMs: number;
  /** What pins it, for people; empty when nothing does. */
  readonly pins: readonly string[];
  /** - `good`: can be trusted, as far as is known. - `damaged`: an object of it is, or its content. - `unreadable`: its manifest cannot be trusted. */
  readonly state: 'good' | 'damaged' | 'unreadable';
  /**
   * A damaged one of which nothing is wrong but objects that were once found so, and that was read whole since. It is not trusted, as a medium
   * that failed may fail again. But what was only away for a while is back, so a rule does not remove it either.
   */
  readonly isReadSince: boolean;
  /** The database went back after it, or was begun anew: it may hold what no later one has. */
  readonly isLeftBehind: boolean;
  /** When it was last read and found whole; null: never. */
  readonly verifiedAtMs: number | null;
  /** How deep its content was ever proven; null: that is not known. */
  readonly level: Level | null;
}

export interface Decision {
  readonly kept: readonly { readonly backupId: string; readonly reasons: readonly string[] }[];
  readonly removed: readonly string[];
}

/** Whether it says anything: a rule that says nothing removes nothing. */
export const isEmptyRule = (rule: RetentionRule): boolean =>
  Object.values(rule).every((value) => value === undefined || value === 0);

const byAge = (backups: readonly RetainedBackup[]): RetainedBackup[] =>
  [...backups].sort((a, b) => (a.backupId < b.backupId ? 1 : -1));

/** The newest that is good. */
export const newestGood = (backups: readonly RetainedBackup[]): RetainedBackup | undefined =>
  byAge(backups).find(({ state }) => state === 'good');

/** The newest good one of the deepest proof: it stays whatever the rule. */
export function bestBackup(backups: readonly RetainedBackup[]): RetainedBackup | undefined {
  const good = byAge(backups).filter(({ state }) => state === 'good');
  const deepest = Math.max(...good.map(depthOf));
  return good.find((one) => depthOf(one) === deepest);
}

const depthOf = ({ level }: RetainedBackup): number => (level === null ? -1 : LEVELS.indexOf(level));

/**
 * Backups are given in any order. Whatever the rule, these stay: pinned ones, those whose manifest cannot be read, the newest, the
 * newest good one, that of the deepest proof, the newest good one that was verified, and those that the database went back after, with the newest good one and the best one up to each. Damaged ones count towards no number. Without a good one all stay.
 */
export function decide(backups: readonly RetainedBackup[], rule: RetentionRule, nowMs: number): Decision {
  const newestFirst = byAge(backups);
  const good = newestFirst.filter(({ state }) => state === 'good');
  const reasons = new Map<string, string[]>(newestFirst.map(({ backupId }) => [backupId, []]));
  const keep = (backup: RetainedBackup | undefined, reason: string): void => {
    if (backup === undefined) return;
    const why = reasons.get(backup.backupId)!;
    if (!why.includes(reason)) why.push(reason);
  };
  for (const backup of newestFirst) {
    for (const pinned of backup.pins) keep(backup, pinned);
    if (backup.state === 'unreadable') keep(backup, 'its manifest cannot be read');
    else if (isEmptyRule(rule)) keep(backup, 'there is no rule');
    else if (good.length === 0) keep(backup, 'no backup is good');
  }
  keep(newestFirst[0], 'newest');
  keep(good[0], 'newest good');
  const best = bestBackup(good);
  if (best !== good[0]) keep(best, `newest proven at level ${best?.level}`);
  keep(
    good.find(({ verifiedAtMs }) => verifiedAtMs !== null),
    'newest verified',
  );
  for (const left of newestFirst.filter(({ isLeftBehind }) => isLeftBehind)) {
    // A damaged one, too: something of it may be salvaged, and it says where the good one before it belongs.
    keep(left, 'the database went back after it');
    const before = good.filter(({ backupId }) => backupId <= left.backupId);
    keep(before[0], 'last before the database went back');
    if (bestBackup(before) !== before[0]) keep(bestBackup(before), 'best before the database went back');
  }
  applyRule(good, rule, nowMs, keep);
  applyRule(
    newestFirst.filter((one) => one.state === 'good' || one.isReadSince),
    rule,
    nowMs,
    keep,
  );
  const all = [...reasons].reverse();
  return {
    kept: all.flatMap(([backupId, why]) => (why.length === 0 ? [] : [{ backupId, reasons: why }])),
    removed: all.flatMap(([backupId, why]) => (why.length === 0 ? [backupId] : [])),
  };
}

type Keep = (backup: RetainedBackup, reason: string) => void;

function applyRule(
  newestFirst: readonly RetainedBackup[],
  rule: RetentionRule,
  nowMs: number,
  keep: Keep,
): void {
  for (const backup of newestFirst.slice(0, rule.keepLast ?? 0)) keep(backup, `last ${rule.keepLast}`);
  const { keepWithinMs } = rule;
  if (keepWithinMs !== undefined)
    for (const backup of newestFirst)
      if (backup.createdAtMs > nowMs - keepWithinMs) keep(backup, 'young enough');
  keepPeriods(newestFirst, rule.keepDaily, dayOf, keep);
  keepPeriods(newestFirst, rule.keepWeekly, weekOf, keep);
  keepPeriods(newestFirst, rule.keepMonthly, monthOf, keep);
}

function keepPeriods(
  newestFirst: readonly RetainedBackup[],
  periods: number | undefined,
  periodOf: (ms: number) => string,
  keep: Keep,
): void {
  const seen = new Set<string>();
  for (const backup of newestFirst) {
    const period = periodOf(backup.createdAtMs);
    if (seen.has(period)) continue;
    if (seen.size >= (periods ?? 0)) return;
    seen.add(period);
    keep(backup, period);
  }
}

const DAY_MS = 24 * 60 * 60 * 1000;

/** The last moment that a `Date` can have. */
const LAST_MS = 8.64e15;

const dateOf = (ms: number): string => new Date(Math.min(ms, LAST_MS)).toISOString().slice(0, 10);
const dayOf = (ms: number): string => `day ${dateOf(ms)}`;
const monthOf = (ms: number): string => `month ${dateOf(ms).slice(0, 7)}`;

function weekOf(ms: number): string {
  const sinceMonday = (new Date(Math.min(ms, LAST_MS)).getUTCDay() + 6) % 7;
  return `week from ${dateOf(ms - sinceMonday * DAY_MS)}`;
}
