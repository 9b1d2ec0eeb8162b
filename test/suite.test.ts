import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const SELF = 'suite.test.ts';
const sources = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && file !== SELF)
  .map((file) => ({ file, text: readFileSync(join(import.meta.dirname, file), 'utf8') }));

const filesWith = (pattern: RegExp): string[] =>
  sources.filter(({ text }) => pattern.test(text)).map(({ file }) => file);

test('a test is skipped by support/needs.ts, which says why, and by nothing else', () => {
  expect(filesWith(/\b(test|it|describe|context)\.(skip|skipIf|runIf|todo|only|fails)\b/)).toEqual([
    'support/needs.ts',
  ]);
});

test('a thread or process of a test starts from the compiled code, without a loader', () => {
  expect(filesWith(/['"](--import|tsx)['"]/)).toEqual([]);
});

test('a temporary folder comes from support/temp.ts, which puts it in memory or on the disk', () => {
  expect(filesWith(/(?:mkdtemp|mkdir)\w*\(['"]\/|['"]\/dev\/shm/)).toEqual(['vitest.config.ts']);
});
