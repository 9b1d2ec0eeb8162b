import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout } from 'node:timers/promises';
import { expect, onTestFinished } from 'vitest';
import { systemClock } from '../../src/env/clock.ts';
import { listSchedules } from '../../src/schedule/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { stillpoint } from './command.ts';
import { type Injected, injected } from './server.ts';
import { withPlans } from './server-plans.ts';
import type { watchedPage } from './watched-page.ts';

const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const FIRST_DAY = Date.parse('2024-01-08T00:00:00Z');
const PLAN = { backup: '0 */6 * * *', drill: '0 20 * * *', overdue_after: '30m', time_zone: 'UTC' };

/** A server that runs its plans and can die, and what is told by its webhook. */
export async function watchedMachine() {
  let nowMs = FIRST_DAY - HOUR;
  const world = { isFull: false, drillMs: 0 };
  const alerts: string[] = [];
  const hook = createServer(async (request, reply) => {
    const { action, kind, due_at } = JSON.parse(await text(request));
    alerts.push(`${action} ${kind} ${due_at}`);
    reply.end();
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void hook.close().closeAllConnections());
  await once(hook, 'listening');
  const url = `http://127.0.0.1:${(hook.address() as AddressInfo).port}/`;
  const given = await withPlans(PLAN, undefined, { alerts: { webhook: { url } } });
  const fs = {
    ...systemEnvironment.fs,
    async freeBytes(path: string) {
      const isDrill = !path.startsWith(dirname(given.dataDir));
      if (isDrill) nowMs += world.drillMs;
      if (isDrill) world.drillMs = 0;
      return world.isFull ? 0 : systemEnvironment.fs.freeBytes(path);
    },
  };
  const clock = {
    ...systemClock,
    nowMs: () => nowMs,
    monotonicMs: () => systemClock.monotonicMs() + nowMs - FIRST_DAY,
  };
  const environment = { ...systemEnvironment, clock, fs };
  let server: Injected | undefined;
  return {
    ...given,
    environment,
    world,
    alerts,
    now: () => nowMs,
    moveTo(ms: number) {
      nowMs = Math.max(nowMs, ms);
    },
    /** While it is alive. */
    server: () => server,
    async kill() {
      await server?.app.close();
      server = undefined;
    },
    async start() {
      // Nothing is shared, so that each snapshot is proven when it is taken.
      server = await injected({ ...given, environment, backup: { reuse: false } });
      return server;
    },
    /** Until its last run is that of this due time, and has ended; null: until the schedule has begun. */
    async ran(action: 'backup' | 'drill', dueMs: number | null) {
      for (;;) {
        const { schedules } = await listSchedules(given.settings, { environment });
        const one = schedules.find((schedule) => schedule.action === action);
        if (one?.lastDueMs === dueMs && ![null, 'running'].includes(one.lastStatus)) return one.lastStatus;
        await setTimeout(250); // the server looks once in a second, and each question opens the job store
      }
    },
  };
}

type Machine = Awaited<ReturnType<typeof watchedMachine>>;

/** What is right, by what was done. */
export interface Truth {
  /** Good snapshots, oldest first: when each was taken, and proven last. */
  good: { atMs: number; provenMs: number }[];
  lastSuccessMs: number;
  isDamaged: boolean;
  isBackupFailing: boolean;
  newestBackupMs: number | null;
  drill: { atMs: number; tookMs: number } | null;
  overdue: { backup: boolean; drill: boolean };
}

/** Holds every face against it. */
export async function checkFaces(
  { server: alive, settings, environment, dataDir, now }: Machine,
  page: Awaited<ReturnType<typeof watchedPage>>,
  truth: Truth,
): Promise<void> {
  const nextBackupMs = (Math.floor(now() / (6 * HOUR)) + 1) * 6 * HOUR;
  const nextDrillMs = Math.floor((now() - 20 * HOUR) / DAY) * DAY + DAY + 20 * HOUR;
  const [oldest] = truth.good;
  const newest = truth.good.at(-1);
  const where = new Date(now()).toISOString();
  const safety = {
    safe: !truth.isDamaged,
    last_success_at_ms: truth.lastSuccessMs,
    newest_good: { created_at_ms: newest?.atMs, verified_at_ms: newest?.provenMs },
    oldest_good: { created_at_ms: oldest?.atMs },
    repositories:
      truth.newestBackupMs === null
        ? []
        : [
            {
              newest_backup: { created_at_ms: truth.newestBackupMs },
              last_drill: truth.drill && { at_ms: truth.drill.atMs, took_ms: truth.drill.tookMs },
              failing: truth.isBackupFailing ? [{ kind: 'backup' }] : [],
            },
          ],
  };
  const command = await stillpoint(['status', dataDir, '--json']);
  expect(command.json, `status at ${where}`).toMatchObject(safety);
  expect(command.code, where).toBe(truth.isDamaged ? 3 : 0);

  const server = alive();
  if (server === undefined) {
    const { schedules } = await listSchedules(settings, { environment });
    expect(schedules, where).toMatchObject([
      { action: 'backup', nextDueMs: nextBackupMs, overdue: truth.overdue.backup },
      { action: 'drill', nextDueMs: nextDrillMs, overdue: truth.overdue.drill },
    ]);
    return;
  }
  const { json: status } = await server.rpc('GET', '/api/admin/status');
  expect(status, `HTTP at ${where}`).toMatchObject({ safety });
  const { snapshots } = (await server.rpc('GET', '/api/admin/backups')).json;
  const times = snapshots
    .filter(({ state }: { state: string }) => state === 'good')
    .map(({ created_at_ms }: { created_at_ms: number }) => created_at_ms);
  expect(times, where).toEqual(truth.good.map(({ atMs }) => atMs));
  const { plans } = (await server.rpc('GET', '/api/admin/plans')).json;
  expect(plans[0].schedules, where).toMatchObject([
    { action: 'backup', next_due_ms: nextBackupMs, overdue: truth.overdue.backup },
    { action: 'drill', next_due_ms: nextDrillMs, overdue: truth.overdue.drill },
  ]);
  const figures = {
    'Last success': { atMs: truth.lastSuccessMs },
    'Last proven': { atMs: newest!.provenMs },
    'Next due': { atMs: Math.min(nextBackupMs, nextDrillMs) },
    'Recoverable window': { atMs: oldest!.atMs },
    'Time to restore':
      truth.drill === null
        ? { atMs: null, text: 'not measured yet' }
        : { atMs: truth.drill.atMs, text: `1 min ${truth.drill.tookMs / 1000 - 60} s` },
  };
  const isLate = truth.overdue.backup || truth.overdue.drill;
  const sentence = truth.isDamaged ? 'Not safe: ' : isLate ? 'a plan is overdue. The ' : 'Safe: ';
  await page.check(now(), { sentence, figures }, `the page at ${where}`);
  const drills = (await server.rpc('GET', '/api/admin/jobs?kind=drill&status=succeeded&limit=1')).json.jobs;
  expect(drills.length, where).toBe(truth.drill === null ? 0 : 1);

  const metrics = await server.rpc('GET', '/api/admin/metrics', undefined, { accept: 'text/plain' });
  const value = (name: string) => {
    const line = metrics.bytes
      .toString()
      .split('\n')
      .find((one) => one.startsWith(`stillpoint_${name} `));
    return line === undefined ? undefined : Number(line.split(' ').at(-1));
  };
  expect(
    {
      safe: value('safe'),
      success: value('last_success_timestamp_seconds{kind="backup"}'),
      proven: value('last_verified_timestamp_seconds'),
      from: value('oldest_good_snapshot_timestamp_seconds'),
      to: value('newest_good_snapshot_timestamp_seconds'),
      nextBackup: value('plan_next_due_timestamp_seconds{plan="nightly",action="backup"}'),
      nextDrill: value('plan_next_due_timestamp_seconds{plan="nightly",action="drill"}'),
      restore: value('last_restore_duration_seconds'),
      backupOverdue: value('plan_overdue{plan="nightly",action="backup"}'),
      drillOverdue: value('plan_overdue{plan="nightly",action="drill"}'),
    },
    `metrics at ${where}`,
  ).toEqual({
    safe: Number(!truth.isDamaged),
    success: truth.lastSuccessMs / 1000,
    proven: newest!.provenMs / 1000,
    from: oldest!.atMs / 1000,
    to: newest!.atMs / 1000,
    nextBackup: nextBackupMs / 1000,
    nextDrill: nextDrillMs / 1000,
    restore: truth.drill === null ? undefined : truth.drill.tookMs / 1000,
    backupOverdue: Number(truth.overdue.backup),
    drillOverdue: Number(truth.overdue.drill),
  });
}
