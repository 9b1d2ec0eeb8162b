import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compiled } from '../support/build.ts';
import { makeSmallLsm } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';
import { torture } from '../support/torture.ts';

const kills = perTier(3, 100);

test('a server killed under writes, snapshots and restores breaks no promise (invariants 2, 5, 7)', async () => {
  const root = await temporaryFolder();
  await makeSmallLsm(join(root, 'torture', 'data'));
  const summary = await torture({
    root: join(root, 'torture'),
    command: [process.execPath, compiled('src/cli/main.ts')],
    kills,
    seed: 7,
    longestMs: 3_000,
  });
  expect(summary.kills).toBe(kills);
  expect(summary.acknowledged).toBeGreaterThan(20);
  expect(summary.snapshots + summary.interrupted).toBeGreaterThan(0);
});
