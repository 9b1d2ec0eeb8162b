import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decide, type RetainedBackup, type RetentionRule } from '../../src/backup/retention.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { perTier } from '../support/tier.ts';

const DAY = 24 * 60 * 60 * 1000;
const NOW = Date.UTC(2026, 10, 26, 12);

const backup = (daysAgo: number, about: Partial<RetainedBackup> = {}): RetainedBackup => {
  const createdAtMs = Math.floor(NOW - daysAgo * DAY);
  return {
    backupId: newUlid(createdAtMs),
    createdAtMs,
    pins: [],
    state: 'good',
    isLeftBehind: false,
    isReadSince: false,
    verifiedAtMs: null,
    level: 'full',
    ...about,
  };
};

const keptOf = (backups: readonly RetainedBackup[], rule: RetentionRule): number[] => {
  const { kept } = decide(backups, rule, NOW);
  return kept
    .map(({ backupId }) => backups.findIndex((one) => one.backupId === backupId))
    .sort((a, b) => a - b);
};

describe('retention keeps', () => {
  const daily = Array.from({ length: 40 }, (_, i) => backup(i));

  test('the newest so many, days, weeks and months', () => {
    expect(keptOf(daily, { keepLast: 3 })).toEqual([0, 1, 2]);
    expect(keptOf(daily, { keepDaily: 4 })).toEqual([0, 1, 2, 3]);
    // 26 November 2026 is a Thursday: the newest of the weeks before are Sundays.
    expect(keptOf(daily, { keepWeekly: 3 })).toEqual([0, 4, 11]);
    expect(keptOf(daily, { keepMonthly: 2 })).toEqual([0, 26]);
    expect(keptOf(daily, { keepWithinMs: 2.5 * DAY })).toEqual([0, 1, 2]);
    expect(keptOf(daily, { keepDaily: 2, keepMonthly: 2 })).toEqual([0, 1, 26]);
  });

  test('nothing because its clock was ahead', () => {
    const later = backup(0, { backupId: newUlid(NOW + 2 * DAY) });
    expect(keptOf([later, backup(-1), backup(1)], { keepLast: 1 })).toEqual([0]);
  });

  test('the newest of a day that has several', () => {
    const backups = [backup(0), backup(0.1), backup(0.2), backup(1), backup(1.2)];
    expect(keptOf(backups, { keepDaily: 2 })).toEqual([0, 3]);
  });

  test('damaged ones count for no rule; the newest good one stays', () => {
    const backups = [backup(0, { state: 'damaged' }), backup(1, { state: 'damaged' }), backup(2), backup(3)];
    expect(keptOf(backups, { keepLast: 1 })).toEqual([0, 2]);
  });

  test('the newest verified one, and what is pinned or cannot be read', () => {
    const backups = [
      backup(0),
      backup(1),
      backup(2, { verifiedAtMs: NOW }),
      backup(3, { verifiedAtMs: NOW }),
      backup(4, { pins: ['pinned'] }),
      backup(5, { state: 'unreadable' }),
    ];
    expect(keptOf(backups, { keepLast: 1 })).toEqual([0, 2, 4, 5]);
  });

  test('what the database went back after, and the newest good one up to it', () => {
    const backups = [
      backup(0),
      backup(1),
      backup(2, { isLeftBehind: true }),
      backup(3, { isLeftBehind: true, state: 'damaged' }),
      backup(4),
      backup(5),
    ];
    expect(keptOf(backups, { keepLast: 1 })).toEqual([0, 2, 3, 4]);
  });

  test('everything where there is no rule, and where nothing is good', () => {
    expect(keptOf(daily, {})).toHaveLength(40);
    expect(keptOf(daily, { keepLast: 0 })).toHaveLength(40);
    const damaged = daily.map((one): RetainedBackup => ({ ...one, state: 'damaged' }));
    expect(keptOf(damaged, { keepLast: 1 })).toHaveLength(40);
  });
});

test('what was found damaged and read whole since counts by a rule of its own', () => {
  const since = { state: 'damaged', isReadSince: true } as const;
  const backups = [
    backup(0),
    backup(1, { state: 'damaged' }),
    backup(2, since),
    backup(3, since),
    backup(4),
    backup(5),
  ];
  expect(keptOf(backups, { keepLast: 2 })).toEqual([0, 2, 4]);
  expect(keptOf(backups, { keepLast: 3 })).toEqual([0, 2, 3, 4, 5]);
  expect(keptOf(backups, { keepDaily: 1 })).toEqual([0]);
});

describe('whatever the backups and the rule', () => {
  const backups = fc
    .array(
      fc.record({
        daysAgo: fc.double({ min: -5, max: 400, noNaN: true }),
        pins: fc.constantFrom([], ['pinned'], ['pinned by the fleet backup f']),
        isLeftBehind: fc.constantFrom(false, false, false, true),
        state: fc.constantFrom('good', 'good', 'damaged', 'unreadable'),
        isReadSince: fc.boolean(),
        verifiedAtMs: fc.constantFrom(null, null, NOW),
      }),
      { maxLength: 30 },
    )
    .map((all) => all.map(({ daysAgo, ...about }) => backup(daysAgo, about as Partial<RetainedBackup>)));
  const number = fc.option(fc.integer({ min: 1, max: 10 }), { nil: undefined });
  const rules = fc.record({
    keepLast: number,
    keepWithinMs: fc.option(fc.integer({ min: 0, max: 100 * DAY }), { nil: undefined }),
    keepDaily: number,
    keepWeekly: number,
    keepMonthly: number,
  });
  const numRuns = perTier(300, 200_000);

  test('each backup is told of once, and what must stay does', () => {
    fc.assert(
      fc.property(backups, rules, (all, rule) => {
        const { kept, removed } = decide(all, rule, NOW);
        const keptIds = kept.map(({ backupId }) => backupId);
        expect([...keptIds, ...removed].sort()).toEqual(all.map(({ backupId }) => backupId).sort());
        expect(kept.every(({ reasons }) => reasons.length > 0)).toBe(true);
        const newest = [...all].sort((a, b) => (a.backupId < b.backupId ? 1 : -1));
        const good = newest.filter(({ state }) => state === 'good');
        const must = [
          newest[0],
          good[0],
          good.find(({ verifiedAtMs }) => verifiedAtMs !== null),
          ...all.filter(({ pins, state }) => pins.length > 0 || state === 'unreadable'),
          ...all.filter(({ isLeftBehind }) => isLeftBehind),
          ...all
            .filter(({ isLeftBehind }) => isLeftBehind)
            .map((left) => good.find(({ backupId }) => backupId <= left.backupId)),
          ...good.slice(0, rule.keepLast ?? 0),
          ...good.filter(({ createdAtMs }) => createdAtMs > NOW - (rule.keepWithinMs ?? 0)),
        ];
        for (const one of must) if (one !== undefined) expect(keptIds).toContain(one.backupId);
        if (good.length === 0) expect(removed).toEqual([]);
      }),
      { numRuns },
    );
  });

  test('after a prune the same rule removes nothing more', () => {
    fc.assert(
      fc.property(backups, rules, (all, rule) => {
        const { kept } = decide(all, rule, NOW);
        const left = all.filter(({ backupId }) => kept.some((one) => one.backupId === backupId));
        expect(decide(left, rule, NOW).removed).toEqual([]);
      }),
      { numRuns },
    );
  });

  test('a rule that says more keeps more', () => {
    fc.assert(
      fc.property(backups, rules, fc.integer({ min: 1, max: 5 }), (all, rule, more) => {
        const wider = Object.fromEntries(
          Object.entries(rule).map(([name, value]) => [name, value === undefined ? value : value + more]),
        );
        const before = decide(all, rule, NOW).kept.map(({ backupId }) => backupId);
        const after = decide(all, wider, NOW).kept.map(({ backupId }) => backupId);
        // A rule that said nothing kept all.
        if (Object.values(rule).some((value) => value !== undefined && value > 0))
          expect(after).toEqual(expect.arrayContaining(before));
      }),
      { numRuns },
    );
  });
});
