import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../support/temp.ts';
import { torture } from '../support/torture.ts';

// A sample; `npm run torture` kills hundreds of times.
test('a server killed under writes, snapshots and restores breaks no promise (invariants 2, 5, 7)', async () => {
  const root = await temporaryFolder();
  const main = resolve(import.meta.dirname, '../../src/cli/main.ts');
  const command = [process.execPath, '--import', 'tsx', main];
  const summary = await torture({
    root: join(root, 'torture'),
    command,
    kills: 5,
    seed: 7,
    longestMs: 3_000,
  });
  expect(summary.kills).toBe(5);
  expect(summary.acknowledged).toBeGreaterThan(20);
  expect(summary.snapshots + summary.interrupted).toBeGreaterThan(0);
});
