import { expect, test } from 'vitest';
import { backupFlow, keysFlow } from '../support/backup-flow.ts';
import { describeCoverage, everyCrash } from '../support/crash-matrix.ts';
import { files, lsm, type Subject, stageOf } from '../support/crash-subjects.ts';
import { perTier } from '../support/tier.ts';

const BACKUPS: [string, Subject, boolean][] = [
  ['files, in clear', files, false],
  ['lsm, encrypted', lsm, true],
  ['files, encrypted', files, true],
  ['lsm, in clear', lsm, false],
];

test.each(perTier(BACKUPS.slice(0, 2), BACKUPS))(
  'a crash in the middle of a backup into a folder: %s',
  async (_, subject, isSealed) => {
    const flow = await backupFlow(await stageOf(subject, 1), isSealed);
    const coverage = await everyCrash(flow);
    console.log(describeCoverage(flow.name, coverage));
    expect(coverage.points).toBeGreaterThan(30);
  },
);

test('a crash in the middle of a change of keys leaves every backup to whoever could read it', async () => {
  const flow = await keysFlow(await stageOf(files, 1));
  const coverage = await everyCrash(flow);
  console.log(describeCoverage(flow.name, coverage));
  expect(coverage.points).toBeGreaterThan(10);
});
