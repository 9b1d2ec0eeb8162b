import { join } from 'node:path';
import { expect, test } from 'vitest';
import { killAgainAndAgain } from '../support/killing.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier, SEED } from '../support/tier.ts';

// A sample is each flow once with one of the engines.
test.each([
  { engine: 'lsm', first: 0, kills: perTier(6, 220), seed: SEED + 10 },
  { engine: 'leveldb', first: 6, kills: perTier(5, 220), seed: SEED + 11 },
] as const)(
  'a host of $engine, killed amid $kills flows, breaks no promise (invariants 2, 5, 7)',
  async (run) => {
    const summary = await killAgainAndAgain({ root: join(await temporaryFolder(), 'killing'), ...run });
    expect(summary.kills).toBe(run.kills);
    expect(summary.acknowledged).toBeGreaterThan(20);
    expect(summary.snapshotsVerified).toBeGreaterThan(0);
  },
);
