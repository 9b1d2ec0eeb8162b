import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const page = readFileSync(resolve(root, 'src/snapshot/README.md'), 'utf8');
const rows = [...page.matchAll(/^\| (\d+) \|(.*)\|$/gm)].map(([, number, cells]) => {
  const [promise = '', keptBy = '', tests = ''] = cells!.split(' | ').map((cell) => cell.trim());
  return { number: Number(number), promise, keptBy, tests };
});

test('every invariant has its row: what keeps it, and which tests would fail', () => {
  expect(rows.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14]);
  for (const { number, promise, keptBy } of rows)
    expect(Math.min(promise.length, keptBy.length), `${number}`).toBeGreaterThan(20);
});

test('the tests that it names exist, and test something', () => {
  for (const { number, tests } of rows) {
    const names = [...tests.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
    expect(names.length, `row ${number}`).toBeGreaterThan(0);
    for (const name of names) {
      const file = resolve(root, 'test', name);
      expect(existsSync(file), `${name} of row ${number}`).toBe(true);
      expect(readFileSync(file, 'utf8'), name).toMatch(/\b(test|it)\b/);
    }
  }
});
