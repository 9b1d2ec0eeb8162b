import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type BackUpOptions, backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { BackupCoordinator, openLsm, Snapshots } from '../../src/index.ts';
import { lockForReading } from '../../src/snapshot/source/folder-source.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

const transientIn = (dataDir: string): string[] =>
  readdirSync(join(dataDir, '.lifecycle/transient')).filter((name) => name.startsWith('ts-'));

async function setUp() {
  const folder = await temporaryFolder();
  const [dataDir, to] = [join(folder, 'data'), join(folder, 'repository')];
  await initRepository(to);
  const db = await openLsm(dataDir, SMALL_LOG);
  await db.put(Buffer.from('key'), Buffer.from('value'));
  const coordinator = new BackupCoordinator({ dataDir, engine: 'lsm', checkpoint: () => db.hold() });
  const run = (options: Partial<BackUpOptions> = {}) => backUp(dataDir, { to, coordinator, ...options });
  return { folder, dataDir, to, db, coordinator, run };
}

test('with `local: false` no snapshot stays, the last one is `latest` as before, and the backup is whole', async () => {
  const { folder, dataDir, to, db, run } = await setUp();
  const { snapshot } = await run();
  await db.put(Buffer.from('later'), Buffer.from('too'));
  expect(await run({ local: false })).toMatchObject({ snapshot: null, report: { verdict: 'faithful' } });
  expect(transientIn(dataDir)).toEqual([]);
  const { latest, snapshots } = await new Snapshots({ dataDir }).list();
  expect([latest, snapshots.map(({ name }) => name)]).toEqual([snapshot, [snapshot]]);
  await db.close();
  const into = join(folder, 'restored');
  await restoreBackup('latest', { from: to, into });
  const restored = await openLsm(into);
  expect((await restored.get(Buffer.from('later')))?.toString()).toBe('too');
  await restored.close();
});

test('a run that fails leaves none either', async () => {
  const { dataDir, to, db, run } = await setUp();
  const { openDestination } = await import('../../src/destination/open.ts');
  const inner = await openDestination(to);
  const full = new Proxy(inner, {
    get(target, verb: keyof typeof inner) {
      if (verb === 'put') return () => Promise.reject(Object.assign(new Error('full'), { code: 'ENOSPC' }));
      const method = target[verb];
      return typeof method === 'function' ? method.bind(target) : method;
    },
  });
  await expect(run({ to: full, local: false })).rejects.toMatchObject({ code: 'NO_SPACE' });
  expect(transientIn(dataDir)).toEqual([]);
  await db.close();
});

test('what a process that died left is removed by the next run, unless somebody reads it', async () => {
  const { dataDir, db, coordinator } = await setUp();
  const options = { kind: 'transient', mode: 'link' } as const;
  const { location, name } = await coordinator.backup(options);
  const reader = await lockForReading(inlineEnvironment, location);
  await coordinator.backup();
  expect(transientIn(dataDir)).toEqual([name]);
  await reader!.release();
  await coordinator.backup();
  expect(transientIn(dataDir)).toEqual([]);
  await db.close();
});
