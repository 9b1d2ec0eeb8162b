import { expect, test } from 'vitest';
import { CrashFileSystem } from '../support/crash-file-system.ts';
import {
  deleteFlow,
  pruneFlow,
  restoreFlow,
  restoreIntoFlow,
  restoreStreamsFlow,
  snapshotFlow,
  undoFlow,
} from '../support/crash-flows.ts';
import { DATA, files, lsm, openLsmIn, stageOf } from '../support/crash-subjects.ts';
import { type Traced, traceOf } from '../support/crash-trace.ts';

// Golden: a sync that is lost, or an order that changes, is a difference here. `npx vitest run … -u` writes them anew; read what changed.
const FLOWS = {
  'snapshot-full': () => stageOf(lsm).then((stage) => snapshotFlow(stage, { reuse: false })),
  'snapshot-incremental': () => stageOf(lsm).then((stage) => snapshotFlow(stage, {})),
  'snapshot-link': () => stageOf(lsm).then((stage) => snapshotFlow(stage, { mode: 'link' })),
  'snapshot-first-of-files': () => stageOf(files, 0).then((stage) => snapshotFlow(stage, {})),
  'restore-in-place': () => stageOf(files).then(restoreFlow),
  'restore-into': () => stageOf(files).then(restoreIntoFlow),
  'restore-streams': () => stageOf(files).then(restoreStreamsFlow),
  undo: () => stageOf(files).then(undoFlow),
  prune: () => stageOf(lsm, 3).then(pruneFlow),
  delete: () => stageOf(lsm).then(deleteFlow),
  database: async () => database,
};

const database: Traced = {
  name: 'lsm: a new database, commits, checkpoints, a compaction, opened again',
  before: new CrashFileSystem(),
  async run(world) {
    await world.fs.makeFolder('/disk');
    const first = await openLsmIn(world, DATA);
    await first.put('a', '1');
    await first.checkpoint();
    await first.batch([
      { type: 'put', key: 'b', value: '2' },
      { type: 'delete', key: 'a' },
    ]);
    await first.checkpoint();
    await first.compact();
    await first.put('c', '3');
    await first.close();
    await (await openLsmIn(world, DATA)).close();
  },
};

test.each(Object.entries(FLOWS))('%s reaches the disk as it always has', async (name, flowOf) => {
  await expect(await traceOf(await flowOf())).toMatchFileSnapshot(`../../fixtures/traces/${name}.txt`);
});
