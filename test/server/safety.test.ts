import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, Lifecycle } from '../../src/index.ts';
import { Safety } from '../../src/server/safety.ts';
import { type Environment, systemEnvironment } from '../../src/snapshot/environment.ts';
import { plainDirectory } from '../support/folders.ts';

/** A directory with two snapshots, whose looks are counted by how often the folder with them is listed; `ms` is what a look takes. */
async function withTwo({ ms }: { ms: number }) {
  const dataDir = await plainDirectory();
  const backup = join(dataDir, '.lifecycle/backup');
  const taken = [];
  for (let i = 0; i < 2; i++)
    taken.push((await new BackupCoordinator({ dataDir, engine: 'files' }).backup({ reuse: false })).name);
  const seen = { looks: 0, nowMs: 1000 };
  const environment: Environment = {
    ...systemEnvironment,
    clock: { ...systemEnvironment.clock, monotonicMs: () => seen.nowMs },
    fs: {
      ...systemEnvironment.fs,
      async list(path) {
        if (path === backup) {
          seen.looks++;
          seen.nowMs += ms;
        }
        return systemEnvironment.fs.list(path);
      },
    },
  };
  const safety = new Safety(environment, new Lifecycle({ dataDir, environment }), () => undefined);
  const names = async () => (await safety.list()).snapshots.map(({ name }) => name);
  return { safety, names, taken, backup, seen };
}

test('all who ask at once share a look, and it counts for some seconds', async () => {
  const { safety, names, taken, seen } = await withTwo({ ms: 0 });
  const [first, second] = await Promise.all([names(), safety.status(undefined)]);
  expect(first).toEqual(taken);
  expect(second.newestGood?.name).toBe(taken[1]);
  const { looks } = seen;
  seen.nowMs += 4_900;
  await names();
  expect(seen.looks).toBe(looks);
  seen.nowMs += 200;
  await names();
  expect(seen.looks).toBe(2 * looks);
  safety.forget();
  await names();
  expect(seen.looks).toBe(3 * looks);
});

test('what others did is seen at once, however long a look takes', async () => {
  const { names, taken, backup, seen } = await withTwo({ ms: 1_000 });
  expect(await names()).toEqual(taken);
  const { looks } = seen;
  seen.nowMs += 18_000; // a look of one second and more counts for twenty
  expect(await names()).toEqual(taken);
  expect(seen.looks).toBe(looks);
  rmSync(join(backup, taken[0]!), { recursive: true });
  expect(await names()).toEqual([taken[1]]);
  mkdirSync(join(backup, 'ts-1'));
  expect(await names()).toEqual(['ts-1', taken[1]]);
  const before = seen.looks;
  seen.nowMs += 61_000; // but a file that was changed in place is seen after a minute at the latest
  await names();
  expect(seen.looks).toBeGreaterThan(before);
});
