import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { BackupCoordinator, Lifecycle } from '../../src/index.ts';
import { Safety } from '../../src/server/safety.ts';
import { type Environment, systemEnvironment } from '../../src/snapshot/environment.ts';
import { plainDirectory } from '../support/folders.ts';
import { untilFinished } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';
import { watchedPage } from '../support/watched-page.ts';
import { checkFaces, DAY, FIRST_DAY, HOUR, type Truth, watchedMachine } from '../support/watched-week.ts';

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
  return { dataDir, safety, names, taken, backup, seen };
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

test('a backup that another process made is seen at once', async () => {
  const { dataDir, safety } = await withTwo({ ms: 0 });
  const repositories = async () => (await safety.status(undefined)).repositories;
  expect(await repositories()).toEqual([]);
  const to = join(await temporaryFolder(), 'repository');
  await initRepository(to);
  const { backupId } = await backUp(dataDir, { to, snapshot: 'latest' });
  expect(await repositories()).toMatchObject([{ newestBackup: { backupId } }]);
});

test.for(perTier([], [7]))(
  'in %i days of failures and silences every face is right at every hour, and each is told once',
  async (days, context) => {
    const subject = await watchedMachine();
    const page = await watchedPage(context, () => subject.server()!);
    const { world, alerts, dataDir, now } = subject;
    const repository = join(dirname(dataDir), 'repository');
    const backups = join(dataDir, '.lifecycle/backup');
    const expected: string[] = [];
    const truth: Truth = {
      good: [],
      lastSuccessMs: 0,
      isDamaged: false,
      isBackupFailing: false,
      newestBackupMs: null,
      drill: null,
      overdue: { backup: false, drill: false },
    };
    const taken = () => {
      truth.good.push({ atMs: now(), provenMs: now() });
      truth.lastSuccessMs = now();
    };
    const backedUp = () => {
      taken();
      Object.assign(truth, { newestBackupMs: now(), isBackupFailing: false });
      truth.overdue.backup = false;
    };
    const { rpc } = await subject.start();
    const { handle } = (await rpc('POST', '/api/admin/backup')).json;
    await untilFinished(async () => (await rpc('GET', `/api/admin/backup/${handle}`)).json);
    taken();
    await subject.ran('drill', null);
    for (let day = 0; day < days; day++) {
      const atHour = (hour: number) => FIRST_DAY + day * DAY + hour * HOUR;
      const due = (hour: number) => new Date(atHour(hour)).toISOString();
      for (let hour = 0; hour < 24; hour++) {
        await subject.server()?.rpc('PUT', '/kv/key', `${day} ${hour}`);
        world.isFull = hour === 6;
        if (hour === 12) renameSync(repository, `${repository}-away`);
        if (hour === 17 || hour === 20) await subject.kill();
        if (hour === 22) world.drillMs = 90_000 + day * 1000;
        subject.moveTo(atHour(hour));
        if (hour === 19 || hour === 22) await subject.start();
        if (hour === 0) {
          expect(await subject.ran('backup', atHour(0))).toBe('succeeded');
          backedUp();
        }
        if (hour === 6 || hour === 12) {
          expect(await subject.ran('backup', atHour(hour))).toBe('failed');
          truth.isBackupFailing = true;
          expected.push(`backup failed ${due(hour)}`);
        }
        world.isFull = false;
        if (hour === 7) truth.overdue.backup = true;
        if (hour === 9) {
          // Somebody puts a file into the oldest snapshot.
          const [name] = readdirSync(backups)
            .filter((one) => one.startsWith('ts-'))
            .sort();
          writeFileSync(join(backups, name!, 'not of the snapshot'), '');
          const { rpc } = subject.server()!;
          expect((await rpc('POST', '/api/admin/verify')).json.ok).toBe(false);
          truth.good.shift();
          truth.isDamaged = true;
          for (const one of truth.good) one.provenMs = now();
          await checkFaces(subject, page, truth);
          expect((await rpc('DELETE', `/api/admin/backups/${name}`)).status).toBe(200);
          truth.isDamaged = false;
        }
        if (hour === 13) renameSync(`${repository}-away`, repository);
        if (hour === 19) {
          expect(await subject.ran('backup', atHour(18))).toBe('succeeded');
          backedUp();
          expected.push(`backup overdue ${due(6)}`, `backup recovered ${due(18)}`);
        }
        if (hour === 21) truth.overdue.drill = true;
        if (hour === 22) {
          expect(await subject.ran('drill', atHour(20))).toBe('succeeded');
          truth.drill = { atMs: now(), tookMs: 90_000 + day * 1000 };
          truth.overdue.drill = false;
          expected.push(`drill overdue ${due(20)}`, `drill recovered ${due(20)}`);
        }
        await checkFaces(subject, page, truth);
        if (subject.server() !== undefined)
          await vi.waitUntil(() => alerts.length >= expected.length, { timeout: 60_000 });
        expect([...alerts].sort(), due(hour)).toEqual([...expected].sort());
      }
    }
  },
);
