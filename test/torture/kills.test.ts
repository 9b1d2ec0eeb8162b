import { join } from 'node:path';
import { expect, test } from 'vitest';
import { killAgainAndAgain } from '../support/killing.ts';
import { temporaryFolder } from '../support/temp.ts';

// A sample, each flow once with one of the engines; `npm run torture` kills hundreds of times.
test.each([
  { engine: 'lsm', first: 0, kills: 6, seed: 11 },
  { engine: 'leveldb', first: 6, kills: 5, seed: 12 },
] as const)(
  'a host of $engine, killed amid $kills flows, breaks no promise (invariants 2, 5, 7)',
  async (run) => {
    const summary = await killAgainAndAgain({ root: join(await temporaryFolder(), 'killing'), ...run });
    expect(summary.kills).toBe(run.kills);
    expect(summary.acknowledged).toBeGreaterThan(20);
    expect(summary.snapshotsVerified).toBeGreaterThan(0);
  },
);
