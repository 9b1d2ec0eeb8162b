import { describe, expect, test } from 'vitest';
import { snapshotFlow } from '../support/crash-flows.ts';
import { describeCoverage, everyCrash } from '../support/crash-matrix.ts';
import { files, leveldb, lsm, stageOf } from '../support/crash-subjects.ts';

const SUBJECTS = { files: async () => files, lsm: async () => lsm, leveldb };

describe('a crash in the middle of a snapshot (invariants 1 to 6)', () => {
  test.each([
    ['files', {}, 0],
    ['files', {}],
    ['lsm', { reuse: false }],
    ['lsm', {}],
    ['lsm', { mode: 'link' }],
    ['lsm', { keep: 1 }],
    ['leveldb', {}],
    ['leveldb', { mode: 'link' }],
  ] as const)('%s %j', async (engine, options, before: number = 2) => {
    const stage = await stageOf(await SUBJECTS[engine](), before);
    const flow = snapshotFlow(stage, options);
    const coverage = await everyCrash(flow);
    console.log(describeCoverage(flow.name, coverage));
    expect(coverage.points).toBeGreaterThan(8);
  });
});
