import { describe, expect, test } from 'vitest';
import { deleteFlow, pruneFlow } from '../support/crash-flows.ts';
import { describeCoverage, everyCrash } from '../support/crash-matrix.ts';
import { files, lsm, stageOf } from '../support/crash-subjects.ts';

describe('a crash while snapshots are removed (invariants 2, 3, 11)', () => {
  test.each([
    ['prune', files, pruneFlow],
    ['prune', lsm, pruneFlow],
    ['delete', lsm, deleteFlow],
  ] as const)('%s', async (_, subject, flowOf) => {
    const flow = flowOf(await stageOf(subject, 3));
    const coverage = await everyCrash(flow);
    console.log(describeCoverage(flow.name, coverage));
    expect(coverage.points).toBeGreaterThan(8);
  });
});
