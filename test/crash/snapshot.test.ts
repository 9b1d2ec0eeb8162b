import { describe, expect, test } from 'vitest';
import { snapshotFlow } from '../support/crash-flows.ts';
import { describeCoverage, everyCrash } from '../support/crash-matrix.ts';
import { files, leveldb, lsm, type Place, stageOf } from '../support/crash-subjects.ts';

const SUBJECTS = { files: async () => files, lsm: async () => lsm, leveldb };

describe('a crash in the middle of a snapshot (invariants 1 to 6)', () => {
  test.each([
    ['files', {}, 0],
    ['lsm', { reuse: false }],
    ['lsm', {}],
    ['lsm', { mode: 'link' }],
    ['lsm', { keep: 1 }],
    ['leveldb', {}],
    ['leveldb', { mode: 'link' }],
    ['files', {}, 0, 'elsewhere'],
  ] as const)('%s %j %#', async (engine, options, before: number = 2, place: Place = 'inside') => {
    const stage = await stageOf(await SUBJECTS[engine](), before, place);
    const flow = snapshotFlow(stage, options);
    const coverage = await everyCrash(flow);
    console.log(describeCoverage(flow.name, coverage));
    expect(coverage.points).toBeGreaterThan(8);
  });
});
