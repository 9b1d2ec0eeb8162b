import { beforeAll, test } from 'vitest';
import { expectNoPromiseBroken } from '../support/crash-faults.ts';
import { deleteFlow, pruneFlow, undoFlow } from '../support/crash-flows.ts';
import { lsm, stageOf } from '../support/crash-subjects.ts';

// What goes wrong after a run has done its work is a warning of the process; here they would be thousands.
beforeAll(() => void process.removeAllListeners('warning'));

test.each([
  ['undo', undoFlow],
  ['prune', pruneFlow],
  ['delete', deleteFlow],
] as const)('%s loses nothing when any operation fails, and the next run succeeds', async (_, flowOf) => {
  const stage = await stageOf(lsm);
  await expectNoPromiseBroken(await flowOf(stage));
});
