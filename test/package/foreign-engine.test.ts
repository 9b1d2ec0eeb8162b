import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { installPacked } from '../support/packed.ts';

// The worked example of `src/engine/README.md` as a user's project, against the packed package.

const EXAMPLE = join(import.meta.dirname, 'append-log');
const folder = mkdtempSync(join(tmpdir(), 'stillpoint-package-'));
const project = join(folder, 'append-log');

/** What a program of the user's project printed. */
function run(...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: project, encoding: 'utf8' });
  expect(`${status}`, stdout + stderr).toBe('0');
  return stdout;
}

beforeAll(() => {
  cpSync(EXAMPLE, project, { recursive: true });
  installPacked(folder, project, ['typescript', '@types/node', 'undici-types']);
  run('node_modules/typescript/bin/tsc'); // strict, and the declarations of the package are checked too
});

afterAll(() => rmSync(folder, { recursive: true }));

test('a program with an engine of its own takes, damages, verifies and restores snapshots', () => {
  expect(run('dist/use.js')).toBe('done\n');
});

test('the engine passes the contract suite under node:test', () => {
  const output = run('--test', '--test-reporter=tap', 'dist/contract.js');
  expect(output).toMatch(/^# fail 0$/m);
  expect(Number(/^# pass (\d+)$/m.exec(output)![1])).toBeGreaterThan(10);
});

test('the code in the README is that of the tested files', () => {
  const page = readFileSync(resolve(import.meta.dirname, '../../src/engine/README.md'), 'utf8');
  const examples = [...page.matchAll(/<!-- example: (\S+) -->\n```ts\n([\s\S]*?)```/g)];
  expect(examples.map(([, path]) => path)).toEqual([
    'test/package/append-log/engine.ts',
    'test/package/append-log/contract.ts',
  ]);
  for (const [, path, shown] of examples)
    expect(shown).toBe(readFileSync(resolve(import.meta.dirname, '../..', path!), 'utf8'));
});
