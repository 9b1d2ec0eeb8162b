import { once } from 'node:events';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import {
  BackupCoordinator,
  Lifecycle,
  RestoreCoordinator,
  restoreSnapshot,
  type ThrottleOptions,
  verifyAllSnapshots,
  verifySnapshot,
} from '../../src/index.ts';
import type { Environment } from '../../src/snapshot/environment.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { temporaryFolder } from '../support/temp.ts';

const MiB = 1024 * 1024;
const NEVER_DONE: ThrottleOptions = { maxBytesPerSecond: 64 * 1024 };

/** A folder with 2 MiB in four files. */
async function twoMegabytes(): Promise<string> {
  const dir = join(await temporaryFolder(), 'data');
  writeTree(dir, Object.fromEntries([1, 2, 3, 4].map((n) => [`f${n}`, Buffer.alloc(MiB / 2, n)])));
  return dir;
}

const coordinators = (dir: string, environment?: Environment) => {
  const lifecycle = new Lifecycle({ dataDir: dir, ...(environment && { environment }) });
  const about = { dataDir: dir, engine: 'files', lifecycle } as const;
  return { backups: new BackupCoordinator(about), restores: new RestoreCoordinator(about) };
};

async function tookMs(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

test('a rate limit holds for a snapshot, its verification and its restore', async () => {
  const dir = await twoMegabytes();
  const { backups, restores } = coordinators(dir);
  const throttle = { maxBytesPerSecond: 5 * MiB };
  // What may be caught up on is a tenth of a second's worth: half a MiB.
  expect(await tookMs(() => backups.backup(throttle))).toBeGreaterThan((1000 * (4 - 0.5)) / 5);
  const latest = (await backups.latestLocation())!;
  expect(await tookMs(() => verifySnapshot(latest, throttle))).toBeGreaterThan((1000 * (2 - 0.5)) / 5);
  expect(await tookMs(() => verifyAllSnapshots(dir, throttle))).toBeGreaterThan((1000 * (2 - 0.5)) / 5);
  expect(await tookMs(() => restores.restore(throttle))).toBeGreaterThan((1000 * (4 - 0.5)) / 5);
  const into = join(await temporaryFolder(), 'restored');
  expect(await tookMs(() => restoreSnapshot(latest, { into, ...throttle }))).toBeGreaterThan(700);
  expect(readTree(into)).toEqual(readTree(dir));
});

test('a throttled run is cancelled at once and leaves nothing behind', async () => {
  const { backups } = coordinators(await twoMegabytes());
  const { id } = await backups.startBackup(NEVER_DONE);
  while ((await backups.status(id)).progress?.bytesProcessed === 0) await setTimeout(20);
  backups.cancel(id);
  await expect(backups.finished(id)).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(await backups.latestLocation()).toBeUndefined();
});

test('a background run asks the host whether it is busy, and finishes even if it always is', async () => {
  const dir = await twoMegabytes();
  const { backups } = coordinators(dir);
  let asked = 0;
  const isBusy = () => {
    asked++;
    return true;
  };
  const slow = { background: { isBusy }, ...NEVER_DONE };
  const { id } = await backups.startBackup(slow);
  while (asked === 0) await setTimeout(20);
  backups.cancel(id);
  await expect(backups.finished(id)).rejects.toMatchObject({ code: 'CANCELLED' });
  const askedInAll = asked;
  const { location } = await backups.backup({ background: { isBusy } });
  expect(readTree(location, ['snapshot.manifest'])).toEqual(readTree(dir));
  expect(asked).toBeGreaterThanOrEqual(askedInAll);
});

test('an isBusy that throws causes a warning and is not called again', async () => {
  const { backups } = coordinators(await twoMegabytes());
  let asked = 0;
  const warning = once(process, 'warning');
  const isBusy = () => {
    asked++;
    throw new RangeError('who knows');
  };
  await backups.backup({ background: { isBusy }, maxBytesPerSecond: 5 * MiB });
  expect(await warning).toMatchObject([
    {
      message: expect.stringMatching(/^isBusy failed: who knows; .* counts as not busy/),
      code: 'HOOK_FAILED',
    },
  ]);
  expect(asked).toBe(1);
});

/** Four processors, on which tasks are counted and yield before each is done. */
function countedEnvironment() {
  const peak = { tasks: 0 };
  let underWay = 0;
  const { pool } = inlineEnvironment;
  const environment: Environment = {
    ...inlineEnvironment,
    pool: {
      concurrency: 4,
      load() {},
      prepare() {},
      async run(name, args, control): Promise<never> {
        if (name === 'syncFiles') return (await pool.run(name, args, control)) as never; // waits for the disk and computes nothing
        peak.tasks = Math.max(peak.tasks, ++underWay);
        await setImmediate();
        try {
          return (await pool.run(name, args, control)) as never;
        } finally {
          underWay--;
        }
      },
    },
  };
  return { environment, peak };
}

test.each([
  { throttle: {}, most: 4 },
  { throttle: { concurrency: 1 }, most: 1 },
  { throttle: { concurrency: 3 }, most: 3 },
  { throttle: { concurrency: 1000 }, most: 4 },
  { throttle: { background: true }, most: 1 },
  { throttle: { background: true, concurrency: 2 }, most: 2 },
])('with $throttle at most $most tasks run at once (invariant 9)', async ({ throttle, most }) => {
  const dir = join(await temporaryFolder(), 'data');
  writeTree(dir, Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`f${n}`, `${n}`])));
  const { environment, peak } = countedEnvironment();
  const { backups } = coordinators(dir, environment);
  const { location } = await backups.backup(throttle);
  expect(peak.tasks).toBe(most);
  await verifySnapshot(location, { ...throttle, environment });
  expect(peak.tasks).toBe(most);
});

test('a wrong throttle option is named, and nothing begins', async () => {
  const dir = await plainDirectory();
  const { backups, restores } = coordinators(dir);
  const cases: [object, RegExp][] = [
    [{ maxBytesPerSecond: 0 }, /maxBytesPerSecond must be a whole number, 65536 or more/],
    [{ maxBytesPerSecond: 65_535 }, /maxBytesPerSecond must be a whole number, 65536 or more/],
    [{ maxBytesPerSecond: '5M' }, /maxBytesPerSecond must be a whole number, 65536 or more/],
    [{ concurrency: 1.5 }, /concurrency must be a whole number, 1 or more/],
    [{ background: 'yes' }, /background must be true, false or an object/],
    [{ background: null }, /background must be true, false or an object/],
    [{ background: { isBusy: true } }, /background.isBusy must be a function/],
    [{ background: { maxEventLoopDelayMs: -1 } }, /background.maxEventLoopDelayMs must be/],
    [{ background: { maxDelay: 5 } }, /there is no option "maxDelay"/],
  ];
  for (const [throttle, message] of cases) {
    const into = join(dir, '../new');
    const calls = [
      () => backups.startBackup(throttle),
      () => restores.startRestore(throttle),
      () => verifySnapshot(dir, throttle),
      () => verifyAllSnapshots(dir, throttle),
      () => restoreSnapshot(dir, { into, ...throttle }),
    ];
    for (const call of calls) {
      const error = await call().catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(TypeError);
      expect((error as TypeError).message).toMatch(message);
    }
  }
  await expect(restores.startRestore({ maxBytePerSecond: 1 } as object)).rejects.toThrow(
    /there is no option/,
  );
});
