import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cronProblem, dueTimes, isTimeZone } from '../../src/schedule/due-times.ts';
import { perTier } from '../support/tier.ts';

const iso = (ms: number | undefined): string | undefined =>
  ms === undefined ? undefined : new Date(ms).toISOString();
const at = (text: string): number => Date.parse(text);

describe('due times', () => {
  test('are those of the time zone, also where an hour is missing or comes twice', () => {
    const nightly = dueTimes('a', '30 2 * * *', 'Europe/Berlin', 0);
    expect(iso(nightly.firstAfter(at('2026-03-28T12:00:00Z')))).toBe('2026-03-29T01:00:00.000Z'); // 3:00, there is no 2:30
    expect(iso(nightly.firstAfter(at('2026-03-29T12:00:00Z')))).toBe('2026-03-30T00:30:00.000Z');
    expect(iso(nightly.firstAfter(at('2026-10-24T12:00:00Z')))).toBe('2026-10-25T00:30:00.000Z');
    expect(iso(nightly.firstAfter(at('2026-10-25T00:30:00Z')))).toBe('2026-10-26T01:30:00.000Z'); // not at the second 2:30
    expect(iso(nightly.newestUpTo(at('2026-10-25T12:00:00Z')))).toBe('2026-10-25T00:30:00.000Z');
  });

  test('are later by a part of the jitter that is always the same', () => {
    const hour = 60 * 60 * 1000;
    const shiftOf = (id: string) =>
      dueTimes(id, '0 3 * * *', 'UTC', hour).firstAfter(at('2026-11-26T12:00:00Z'))! -
      at('2026-11-27T03:00:00Z');
    const shifts = Array.from({ length: 100 }, (_, i) => shiftOf(`plan ${i}`));
    expect(shifts.every((shift) => shift >= 0 && shift < hour)).toBe(true);
    expect(new Set(shifts).size).toBeGreaterThan(90);
    expect(shiftOf('plan 7')).toBe(shifts[7]);
  });

  test('looking forward and back agree, whatever the pattern', () => {
    const field = (low: number, high: number) =>
      fc.oneof(
        fc.constant('*'),
        fc.integer({ min: low, max: high }).map(String),
        fc.integer({ min: 2, max: 7 }).map((step) => `*/${step}`),
      );
    const pattern = fc
      .tuple(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6))
      .map((fields) => fields.join(' '));
    fc.assert(
      fc.property(
        pattern,
        fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe'),
        fc.integer({ min: 0, max: 3_600_000 }),
        fc.integer({ min: at('2025-01-01T00:00:00Z'), max: at('2027-12-31T00:00:00Z') }),
        (text, zone, jitter, now) => {
          const times = dueTimes('a plan', text, zone, jitter);
          const next = times.firstAfter(now)!;
          expect(next).toBeGreaterThan(now);
          expect(times.newestUpTo(next)).toBe(next);
          const before = times.newestUpTo(next - 1);
          if (before !== undefined) {
            expect(before).toBeLessThanOrEqual(now);
            expect(times.firstAfter(before)).toBe(next);
          }
        },
      ),
      { numRuns: perTier(300, 20_000) },
    );
  });

  test('what is no pattern, is never due, or is no time zone is told', () => {
    expect(cronProblem('0 3 * * *', 'UTC')).toBeUndefined();
    for (const text of ['', '* * * *', '0 3 * * * *', 'nonsense', '61 * * * *'])
      expect(cronProblem(text, 'UTC'), text).toMatch(/five fields/);
    expect(cronProblem('0 0 30 2 *', 'UTC')).toMatch(/never/);
    expect(isTimeZone('Europe/Berlin')).toBe(true);
    expect(isTimeZone('Europe/Nowhere')).toBe(false);
  });
});
