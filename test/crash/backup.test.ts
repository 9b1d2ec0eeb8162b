import { expect, test } from 'vitest';
import { backupFlow } from '../support/backup-flow.ts';
import { describeCoverage, everyCrash } from '../support/crash-matrix.ts';
import { files, lsm, stageOf } from '../support/crash-subjects.ts';

test.each([
  ['files', files],
  ['lsm', lsm],
])('a crash in the middle of a backup into a folder: %s', async (_, subject) => {
  const flow = await backupFlow(await stageOf(subject, 1));
  const coverage = await everyCrash(flow);
  console.log(describeCoverage(flow.name, coverage));
  expect(coverage.points).toBeGreaterThan(30);
});
