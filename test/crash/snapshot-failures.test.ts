import { beforeAll, expect, test } from 'vitest';
import { describeFailures, everyFailure } from '../support/crash-faults.ts';
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
  'snapshot of %s %j: whichever operation fails, nothing is lost and the next run is well',
  async (engine, options) => {
    const flow = snapshotFlow(await stageOf(await SUBJECTS[engine]()), options);
    const failures = await everyFailure(flow);
    console.log(describeFailures(flow.name, failures));
    expect(failures.broken).toEqual([]);
    expect(failures.operations).toBeGreaterThan(20);
    expect(Object.keys(failures.codes).length).toBeGreaterThan(2);
  },
);
