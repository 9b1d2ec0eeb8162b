import { beforeAll, test } from 'vitest';
import { expectNoPromiseBroken } from '../support/crash-faults.ts';
import { snapshotFlow } from '../support/crash-flows.ts';
import { files, leveldb, lsm, stageOf } from '../support/crash-subjects.ts';

const SUBJECTS = { files: async () => files, lsm: async () => lsm, leveldb };

// What goes wrong after a run has done its work is a warning of the process; here they would be thousands.
beforeAll(() => void process.removeAllListeners('warning'));

test.each([
  ['files', {}],
  ['lsm', { mode: 'link' }],
  ['lsm', { reuse: false, keep: 1 }],
  ['leveldb', {}],
] as const)(
  'a snapshot of %s with %j loses nothing when any operation fails, and the next one succeeds',
  async (engine, options) => {
    await expectNoPromiseBroken(snapshotFlow(await stageOf(await SUBJECTS[engine]()), options));
  },
);
