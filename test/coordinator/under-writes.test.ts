import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, restoreSnapshot } from '../../src/index.ts';
import { openLsm } from '../../src/lsm-database/database.ts';
import { BUSY, Workload } from '../support/lsm-workload.ts';
import { temporaryFolder } from '../support/temp.ts';

// A sample; `npm run consistency` takes hundreds.
test.each([
  ['copy', 'hold'],
  ['link', 'hold'],
  ['copy', 'outside'],
] as const)('snapshots in mode %s, planned from %s, under four writers (invariant 5)', async (mode, from) => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  const database = await openLsm(dir, BUSY);
  const workload = new Workload(database);
  workload.start();
  const checkpoint = () => (from === 'hold' ? database.hold() : undefined);
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'lsm', checkpoint });
  const restored: { into: string; before: readonly number[] }[] = [];
  for (let i = 0; i < 8; i++) {
    const before = workload.acknowledged;
    const { location } = await backup.backup({ mode, keep: 3 });
    const into = join(root, `restored-${i}`);
    await restoreSnapshot(location, { into });
    restored.push({ into, before });
  }
  await workload.stop();
  const { tables, lastLsn } = database.stats();
  expect(tables).toBeGreaterThan(0);
  expect(Number(lastLsn)).toBeGreaterThan(100);
  for (const { into, before } of restored) expect(await workload.problemsOf(into, before)).toEqual([]);
  await database.close();
});
