import { describe, expect, test } from 'vitest';
import {
  refusedRestoreFlow,
  restoreFlow,
  restoreIntoFlow,
  restoreStreamsFlow,
  rewritingRestoreFlow,
  undoFlow,
} from '../support/crash-flows.ts';
import { describeCoverage, everyCrash } from '../support/crash-matrix.ts';
import { files, leveldb, lsm, type Place, stageOf } from '../support/crash-subjects.ts';
import { perTier } from '../support/tier.ts';

const SUBJECTS = { files: async () => files, lsm: async () => lsm, leveldb };
const FLOWS = {
  restore: restoreFlow,
  rewriting: rewritingRestoreFlow,
  refused: refusedRestoreFlow,
  undo: undoFlow,
  into: restoreIntoFlow,
  streams: restoreStreamsFlow,
};

describe('a crash in the middle of a restore ends in the old state or the new one (invariant 7)', () => {
  test.each([
    ['files', 'restore'],
    ['files', 'refused'],
    ['files', 'undo'],
    ['files', 'into'],
    ['files', 'streams'],
    ['lsm', 'restore'],
    ['lsm', 'undo'],
    ['lsm', 'into'],
    ['leveldb', 'restore'],
    ['files', 'restore', 'elsewhere'],
    ...perTier([], [['leveldb', 'rewriting']] as const),
  ] as const)('%s: %s, snapshots %s', async (engine, kind, place: Place = 'inside') => {
    const flow = await FLOWS[kind](await stageOf(await SUBJECTS[engine](), 2, place));
    const coverage = await everyCrash(flow);
    console.log(describeCoverage(flow.name, coverage));
    expect(coverage.points).toBeGreaterThan(8);
  });
});
