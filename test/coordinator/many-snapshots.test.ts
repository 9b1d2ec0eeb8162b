import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, Snapshots } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { plainDirectory } from '../support/folders.ts';
import { rot } from '../support/rot.ts';

test('many snapshots are looked at in threads, which tell the same as a look at each one', {
  timeout: 60_000,
}, async () => {
  const dir = await plainDirectory();
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const taken: string[] = [];
  for (let i = 0; i < 34; i++) taken.push((await backup.backup({ reuse: i % 2 === 0 })).location);
  const at = (index: number, name: string) => join(taken[index]!, name);
  rmSync(at(1, 'a.txt'));
  writeFileSync(at(3, 'extra'), '');
  rmSync(at(5, 'snapshot.manifest'));
  rot(at(7, 'a.txt'));
  rot(at(9, 'snapshot.manifest'));
  // One of another tool: entries alone.
  const { entries, entry_count, total_size } = JSON.parse(readFileSync(at(11, 'snapshot.manifest'), 'utf8'));
  writeFileSync(at(11, 'snapshot.manifest'), JSON.stringify({ entries, entry_count, total_size }));
  expect((await new Snapshots({ dataDir: dir }).verifyAll()).totals.damaged).toBeGreaterThan(0);

  const answers: unknown[][] = [];
  const counting = {
    ...systemEnvironment.pool,
    async run(name: string, args: never, ...more: [never]) {
      const answer: unknown = await systemEnvironment.pool.run(name as never, args, ...more);
      if (name === 'lookAtSnapshots') answers.push(answer as never);
      return answer;
    },
  };
  const withPool = (pool: object) =>
    new Snapshots({ dataDir: dir, environment: { ...systemEnvironment, pool: pool as never } });
  const store = withPool(counting);
  const inThreads = await store.list();
  // The one of another tool and the two without a manifest that can be trusted are left to the main thread.
  expect(answers.map((looks) => looks.filter((look) => look === undefined).length)).toEqual([3, 0, 0]);
  expect(
    inThreads.snapshots.map(({ damage }) => damage).filter((damage) => damage !== null).length,
  ).toBeGreaterThan(4);

  // Without what only a list knows.
  const timeless = (snapshot: object) => ({ ...snapshot, ageMs: 0, deleteRefused: null });
  const oneByOne = await Promise.all(inThreads.snapshots.map(({ name }) => store.get(name)));
  expect(inThreads.snapshots.map(timeless)).toEqual(oneByOne.map(timeless));

  const noThread = { ...systemEnvironment.pool, run: () => Promise.reject(new Error('no thread')) };
  const here = await withPool(noThread).list();
  expect(here.snapshots.map(timeless)).toEqual(inThreads.snapshots.map(timeless));
  expect(here).toMatchObject({ latestGood: inThreads.latestGood, total: inThreads.total });
  expect((await store.prune({ keep: 3, dryRun: true })).decisions).toEqual(
    (await withPool(noThread).prune({ keep: 3, dryRun: true })).decisions,
  );
});
