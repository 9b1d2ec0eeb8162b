import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '..');
const page = readFileSync(resolve(root, 'src/snapshot/README.md'), 'utf8');
const rows = [...page.matchAll(/^\| (\d+) \|(.*)\|$/gm)].map(([, number, cells]) => {
  const [promise = '', keptBy = '', tests = ''] = cells!.split(' | ').map((cell) => cell.trim());
  const files = [...tests.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
  return { number: Number(number), promise, keptBy, files };
});

/** The numbers in the names of a file's tests, such as `(invariant 5)`, `(invariants 2, 5, 7)` or `(invariants 1 to 6)`. */
function invariantsOf(source: string): Set<number> {
  const numbers = new Set<number>();
  const code = source.replaceAll(/^\s*(\/\/|\*|\/\*).*$/gm, '');
  for (const [, list] of code.matchAll(/['"`][^'"`\n]*\(invariants? ([^)]*)\)/g)) {
    for (const part of list!.split(/, | and /)) {
      const [from, to = from] = part.split(' to ').map(Number);
      for (let number = from!; number <= to!; number++) numbers.add(number);
    }
  }
  return numbers;
}

const guarded = new Map(
  readdirSync(resolve(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => [file, invariantsOf(readFileSync(resolve(root, 'test', file), 'utf8'))] as const),
);

test('each invariant has a row: its promise, what keeps it, and the tests that guard it', () => {
  const numbers = rows.map(({ number }) => number);
  expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
  expect(numbers.slice(0, 11)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  for (const { number, promise, keptBy, files } of rows) {
    expect(Math.min(promise.length, keptBy.length), `row ${number}`).toBeGreaterThan(20);
    expect(files, `row ${number}`).not.toEqual([]);
  }
});

test('the files of a row hold tests whose names carry its number', () => {
  const missing = rows.flatMap(({ number, files }) =>
    files.filter((file) => !guarded.get(file)?.has(number)).map((file) => `${number}: ${file}`),
  );
  expect(missing).toEqual([]);
});

test('a test that names an invariant names one that has a row', () => {
  const unknown = [...guarded].flatMap(([file, numbers]) =>
    [...numbers]
      .filter((number) => !rows.some((row) => row.number === number))
      .map((number) => `${number}: ${file}`),
  );
  expect(unknown).toEqual([]);
});
