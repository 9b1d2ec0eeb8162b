import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fork } from '../../bench/lib/folders.ts';
import { alternate, Times, type Way } from '../../bench/lib/measure.ts';
import { parseBytes, parseOptions } from '../../bench/lib/options.ts';
import { compare } from '../../bench/lib/part.ts';
import { logSlope, median, percentile, ratios } from '../../bench/lib/stats.ts';
import { draw } from '../../bench/lib/svg.ts';
import { markdown } from '../../bench/lib/table.ts';

// A figure that is reckoned wrongly is worse than none: what stands between the clock and the table.

describe('of a list of measurements', () => {
  test('the median lies in the middle', () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([4, 1, 2, 9])).toBe(3);
  });

  test('a percentile is a value that was measured', () => {
    const values = Array.from({ length: 1000 }, (_, index) => 1000 - index);
    expect(percentile(values, 0.99)).toBe(990);
    expect(percentile(values, 0.999)).toBe(999);
    expect(percentile([7], 0.5)).toBe(7);
  });

  test('ratios are taken round by round', () => {
    expect(ratios([1, 4, 9], [2, 2, 3])).toEqual({ median: 2, min: 0.5, max: 3 });
  });

  test('the slope is the exponent', () => {
    const points = (exponent: number) => [1, 3, 10, 50].map((x) => ({ x, y: 7 * x ** exponent }));
    expect(logSlope(points(1))).toBeCloseTo(1);
    expect(logSlope(points(2))).toBeCloseTo(2);
    expect(logSlope(points(0))).toBeCloseTo(0);
  });
});

describe('a comparison', () => {
  const times = new Times([
    { name: 'ours', bytes: 200 },
    { name: 'theirs', bytes: 100 },
  ]);
  for (const ms of [100, 200, 300]) {
    times.add('ours', ms);
    times.add('theirs', ms);
  }
  const common = { measure: 1, what: 'it', ours: 'ours', limit: 'none' };

  test('is computed per byte, and says whether the target is met', () => {
    expect(compare(times, { ...common, theirs: 'theirs', most: 0.6 })).toMatchObject({
      ratio: { median: 0.5, min: 0.5, max: 0.5 },
      isMet: true,
    });
    expect(compare(times, { ...common, theirs: 'theirs', most: 0.4 }).isMet).toBe(false);
  });

  test('of speeds says how many times as fast', () => {
    const row = compare(times, { ...common, theirs: 'theirs', most: 1 / 2, isSpeed: true });
    expect(row).toMatchObject({ ratio: { median: 2 }, isMet: true, target: '≥ 2 × as fast' });
  });

  test('with a peer that is not installed has no verdict', () => {
    const row = compare(times, { ...common, theirs: 'nobody', most: 1 });
    expect(row).toMatchObject({ ratio: null, isMet: null });
    expect(row.measured).toContain('not installed: nobody');
  });
});

describe('options', () => {
  test('sizes carry units of 1000', () => {
    expect(parseBytes('1GB')).toBe(1_000_000_000);
    expect(parseBytes('1.5 mb')).toBe(1_500_000);
    expect(parseBytes('4096')).toBe(4096);
    for (const text of ['', 'GB', '-1GB', '1TB', '1e3'])
      expect(() => parseBytes(text), text).toThrow(/a size/);
  });

  test('each phase of the host comes to 20 seconds over all rounds', () => {
    const { phaseMs, rounds } = parseOptions(['--rounds', '8'], ['host']);
    expect(phaseMs * rounds).toBeGreaterThanOrEqual(20_000);
  });

  test('--quick is small, and what is given goes before it', () => {
    expect(parseOptions(['--quick'], []).sizeBytes).toBeLessThan(100e6);
    expect(parseOptions(['--quick', '--size', '1GB'], []).sizeBytes).toBe(1e9);
  });
});

describe('on a disk', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'stillpoint-figures-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  test('each candidate starts on a clean disk, and the first round does not count', async () => {
    const target = join(root, 'target');
    let calls = 0;
    const make = (name: string): Way => ({
      name,
      bytes: 1,
      leaves: [target],
      async work() {
        calls++;
        mkdirSync(target); // fails where one is left
      },
    });
    const times = await alternate(root, [make('a'), make('b')], 3);
    expect(calls).toBe(8);
    expect(times.toJSON().a!.ms).toHaveLength(3);
    expect(statSync(target, { throwIfNoEntry: false })).toBeUndefined();
  });

  test('a fork shares tables and nothing else', async () => {
    const from = join(root, 'from');
    mkdirSync(join(from, 'sst'), { recursive: true });
    mkdirSync(join(from, '.lifecycle'));
    writeFileSync(join(from, 'sst', '1.sst'), 'table');
    writeFileSync(join(from, 'lsm.wal'), 'log');
    const into = await fork(from, join(root, 'into'));
    writeFileSync(join(into, 'lsm.wal'), 'another');
    expect(readFileSync(join(from, 'lsm.wal'), 'utf8')).toBe('log');
    expect(statSync(join(into, 'sst', '1.sst')).ino).toBe(statSync(join(from, 'sst', '1.sst')).ino);
    expect(statSync(join(into, '.lifecycle'), { throwIfNoEntry: false })).toBeUndefined();
  });
});

test('tables are Markdown with columns of one width', () => {
  expect(
    markdown(
      ['a', 'b'],
      [
        ['1', '22222'],
        ['333', ''],
      ],
    ),
  ).toBe(['| a   | b     |', '| --- | ----- |', '| 1   | 22222 |', '| 333 |       |'].join('\n'));
});

test('a curve in proportion is drawn as a straight line, inside of its frame', () => {
  const points = [1, 10, 100].map((x) => ({ x, y: 3 * x }));
  const svg = draw({
    name: 'it',
    title: 'a < b',
    xLabel: 'x',
    yLabel: 'y',
    formatX: String,
    formatY: String,
    curves: [{ name: 'one', colour: 0, isPeer: false, points }],
  });
  expect(svg).toContain('a &lt; b');
  const [, line] = /<polyline[^>]*points="([^"]*)"/.exec(svg)!;
  const [[x0, y0], [x1, y1], [x2, y2]] = line!.split(' ').map((place) => place.split(',').map(Number)) as [
    [number, number],
    [number, number],
    [number, number],
  ];
  expect(x1 - x0).toBeCloseTo(x2 - x1, 0);
  expect(y0 - y1).toBeCloseTo(y1 - y2, 0);
  expect(Math.min(x0, y2)).toBeGreaterThan(0);
});
