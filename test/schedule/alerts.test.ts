import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { JobStore } from '../../src/backup/jobs/job-store.ts';
import { openSqliteJobStore } from '../../src/backup/jobs/sqlite-job-store.ts';
import { systemClock } from '../../src/env/clock.ts';
import { DataDirectory } from '../../src/operation/data-directory.ts';
import { type Alert, beat, type Channel, channelsOf, testAlert } from '../../src/schedule/alert-channels.ts';
import { Alerts } from '../../src/schedule/alerts.ts';
import { statesOf } from '../../src/schedule/index.ts';
import { Scheduler, schedulesOf } from '../../src/schedule/scheduler.ts';
import { type Plan, readSettings } from '../../src/schedule/settings.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { stillpoint } from '../support/command.ts';
import { seeded } from '../support/seeded.ts';
import { temporaryFolder } from '../support/temp.ts';
import { SEED } from '../support/tier.ts';

const HOUR = 60 * 60_000;
const SLOT = 6 * HOUR;
const YEAR = 365 * 24 * HOUR;
const START = Date.parse('2026-10-20T01:30:00Z');

const { fs } = systemEnvironment;

/** A server that answers each request with the next of these, and with 200 when there are none left; `hang` never answers. */
async function receiver(...answers: (number | 'hang')[]) {
  const requests: { headers: IncomingMessage['headers']; method?: string; body: string }[] = [];
  const server = createServer(async (request, reply) => {
    const body = await text(request);
    requests.push({ headers: request.headers, method: request.method!, body });
    const answer = answers.shift() ?? 200;
    if (answer !== 'hang') reply.writeHead(answer).end('ok');
  }).listen(0, '127.0.0.1');
  onTestFinished(() => void server.close().closeAllConnections());
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks/T0P`;
  return { url, requests, server };
}

/** A service on a real job store, by a clock that is moved. What its runs come to is said beforehand. */
async function machine(channels: Channel[], about: Partial<Plan> = {}) {
  const dataDir = await temporaryFolder();
  let nowMs = START;
  const clock = { ...systemClock, nowMs: () => nowMs };
  const environment = { ...systemEnvironment, clock };
  const jobs = await openSqliteJobStore(environment, await new DataDirectory(dataDir, environment).layout());
  onTestFinished(() => jobs.close());
  const schedules = schedulesOf([
    {
      name: 'often',
      store: { name: 'orders', dataDir, engine: 'auto' },
      repository: { name: 'offsite', destination: '/backups', encryption: undefined, compress: true },
      jobs: undefined,
      backup: '0 */6 * * *',
      time_zone: 'UTC',
      local: true,
      catch_up: true,
      overdue_after: HOUR,
      writtenAtMs: 0,
      ...about,
    },
  ]);
  // Opened once: what is closed each time is tried in `service.test.ts`.
  const shared: Partial<JobStore> = {
    claimTick: (tick) => jobs.claimTick(tick),
    endTick: (id, status, error) => jobs.endTick(id, status, error),
    listTicks: (id, limit) => jobs.listTicks(id, limit),
    close: async () => {},
  };
  const openJobs = async () => shared as JobStore;
  let beats = 0;
  let service: { scheduler: Scheduler; alerts: Alerts } | undefined;
  const subject = {
    fails: false,
    dataDir,
    beats: () => beats,
    standing: () =>
      statesOf(
        schedules.map(({ plan }) => plan),
        environment,
      ),
    jump(ms: number) {
      nowMs += ms;
    },
    kill() {
      service = undefined;
    },
    start() {
      const heartbeat = { everyMs: HOUR / 2, beat: async () => void beats++ };
      const alerts = new Alerts(schedules, { clock, openJobs, channels, heartbeat });
      const scheduler = new Scheduler(schedules, {
        clock,
        openJobs,
        perform: async () => {
          if (subject.fails) throw new Error('the disk is full');
        },
        onRun: () => alerts.wake(),
      });
      service = { scheduler, alerts };
    },
    async pass(ms: number, step = HOUR / 2) {
      for (const end = nowMs + ms; nowMs < end; ) {
        nowMs = Math.min(end, nowMs + step);
        if (service === undefined) continue;
        await service.scheduler.tick();
        await service.scheduler.idle();
        service.alerts.tick();
        await service.alerts.idle();
      }
    },
  };
  subject.start();
  await subject.pass(1, 1);
  return subject;
}

test('what a clock that was a year ahead has put on record silences nothing', async () => {
  const { channel, told } = recorder();
  const service = await machine([channel]);
  await service.pass(SLOT);
  service.jump(YEAR);
  await service.pass(SLOT);
  service.jump(-YEAR);
  service.fails = true;
  await service.pass(SLOT);
  const [beats, before] = [service.beats(), told().length];
  await service.pass(3 * SLOT);
  expect(service.beats()).toBe(beats);
  expect(told().slice(before)).toHaveLength(3);
  expect(await service.standing()).toMatchObject([{ lastStatus: 'failed', overdue: true }]);
  service.kill();
  await service.pass(4 * SLOT);
  expect(await service.standing()).toMatchObject([{ overdue: true }]);
});

function recorder() {
  const alerts: Alert[] = [];
  const channel: Channel = { name: 'webhook', send: async (alert) => void alerts.push(alert) };
  return { channel, told: () => alerts.map(({ kind, due_at }) => `${kind} ${due_at}`) };
}

test('in a week of failures and silences each is told once, also across restarts, and nothing else is', async () => {
  const { channel, told } = recorder();
  const service = await machine([channel]);
  const random = seeded(SEED);
  const expected: string[] = [];
  let sinceGood = 0;
  let isTold = false;
  for (let slot = 1; slot <= 28; slot++) {
    const due = (at: number) => new Date(Date.parse('2026-10-20T00:00:00Z') + at * SLOT).toISOString();
    const what = Math.floor(random() * 10);
    service.fails = what < 3;
    if (what === 3 || what === 4) {
      // Down from before it is due until hours later. What was missed is then made up.
      service.kill();
      await service.pass(SLOT - HOUR / 2);
      service.start();
      await service.pass(HOUR / 2);
      if (!isTold) expected.push(`overdue ${due(sinceGood + 1)}`);
      isTold = true;
    } else {
      if (what === 5) service.start(); // a restart between two runs
      await service.pass(SLOT);
    }
    if (service.fails) {
      expected.push(`failed ${due(slot)}`);
    } else {
      if (isTold || sinceGood < slot - 1) expected.push(`recovered ${due(slot)}`);
      sinceGood = slot;
      isTold = false;
    }
  }
  expect(expected.filter((line) => line.startsWith('failed')).length).toBeGreaterThan(3);
  expect(expected.filter((line) => line.startsWith('overdue')).length).toBeGreaterThan(1);
  expect(told()).toEqual(expected);
});

test('the heartbeat is sent while the newest backup is young enough, and not because a run has ended', async () => {
  const service = await machine([], { max_age: 7 * HOUR });
  await service.pass(4 * HOUR); // not backed up yet
  expect(service.beats()).toBe(0);
  await service.pass(2 * HOUR);
  expect(service.beats()).toBeGreaterThan(0);
  service.fails = true;
  await service.pass(SLOT);
  const before = service.beats();
  await service.pass(SLOT);
  expect(service.beats()).toBe(before);
  service.fails = false;
  await service.pass(SLOT);
  expect(service.beats()).toBeGreaterThan(before);

  const strict = await machine([], { max_age: 2 * HOUR });
  await strict.pass(5 * HOUR);
  const young = strict.beats();
  expect(young).toBeGreaterThan(0);
  await strict.pass(2 * HOUR);
  expect(strict.beats() - young).toBeLessThanOrEqual(3); // then the backup of 06:00 is two hours old
  const old = strict.beats();
  await strict.pass(3 * HOUR);
  expect(strict.beats()).toBe(old);
});

test('an alert that was answered with 500 is sent again, later, and then no more', async () => {
  vi.spyOn(process, 'emitWarning').mockReturnValue();
  const { url, requests } = await receiver(500, 503);
  const service = await machine(channelsOf({ webhook: { url } }, fs));
  service.fails = true;
  await service.pass(SLOT, 60_000);
  expect(requests.map(({ method }) => method)).toEqual(['POST', 'POST', 'POST']);
  const ids = new Set(requests.map(({ body }) => JSON.parse(body).id));
  expect([...ids]).toEqual(['often/backup/failed/2026-10-20T06:00:00.000Z']);
  expect(JSON.parse(requests[0]!.body)).toMatchObject({
    kind: 'failed',
    plan: 'often',
    action: 'backup',
    data_dir: service.dataDir,
    error: 'the disk is full',
  });
  service.start();
  await service.pass(HOUR, 60_000);
  expect(requests).toHaveLength(3);
});

test('a channel that hangs keeps no other one waiting', async () => {
  let end!: () => void;
  const hanging = new Promise<void>((resolve) => {
    end = resolve;
  });
  const slow: Channel = { name: 'on_failure', send: () => hanging };
  const quick: Channel = { name: 'webhook', send: async () => end() }; // else the slow one never ends
  const service = await machine([slow, quick]);
  service.fails = true;
  await service.pass(SLOT);
});

test('a webhook that hangs or is dead fails without its address or secret in the message', async () => {
  const { url, requests, server } = await receiver('hang', 302);
  const secret = join(await temporaryFolder(), 'secret');
  writeFileSync(secret, 'hunter2\n', { mode: 0o600 });
  const [webhook] = channelsOf({ webhook: { url, secret: `file:${secret}` } }, fs);
  const stop = new AbortController();
  const hanging = webhook!.send(testAlert('1', 'test'), stop.signal);
  await vi.waitUntil(() => requests.length === 1, { timeout: 60_000 });
  stop.abort();
  await expect(hanging).rejects.toMatchObject({ code: 'HOOK_FAILED' });
  await expect(webhook!.send(testAlert('2', 'test'))).rejects.toThrow(/^the answer was 302$/);
  expect(requests.map(({ headers }) => headers.authorization)).toEqual(['Bearer hunter2', 'Bearer hunter2']);
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
  const { message } = await webhook!.send(testAlert('3', 'test')).then(
    () => expect.unreachable(),
    (error) => error,
  );
  expect(message).toBe('ECONNREFUSED');
  await expect(beat({ url, every: 60_000 }, fs)).rejects.toThrow(/^ECONNREFUSED$/);
});

test('a command gets the alert on its standard input; one that fails or hangs is not delivered', async () => {
  const seen = join(await temporaryFolder(), 'seen');
  const command = (...on_failure: string[]) => channelsOf({ on_failure }, fs)[0]!;
  const copy = `require('fs').writeFileSync(process.argv[1], require('fs').readFileSync(0))`;
  await command(process.execPath, '-e', copy, seen).send(testAlert('1', '$(touch here); "quoted"'));
  expect(JSON.parse(readFileSync(seen, 'utf8'))).toMatchObject({
    kind: 'test',
    text: '$(touch here); "quoted"',
  });
  const failing = command('sh', '-c', 'echo no pager >&2; exit 3');
  await expect(failing.send(testAlert('2', ''))).rejects.toThrow('sh ended with 3: no pager');
  await expect(command('/nowhere/at/all').send(testAlert('3', ''))).rejects.toThrow('cannot be started');
  const [hanging] = channelsOf({ on_failure: ['sh', '-c', 'sleep 1000 & wait'] }, fs, 50);
  await expect(hanging!.send(testAlert('4', ''))).rejects.toMatchObject({ code: 'HOOK_TIMEOUT' });
});

test('alerts test sends one through each channel, and says which did not arrive', async () => {
  const hook = await receiver();
  const heart = await receiver(404);
  const file = join(await temporaryFolder(), 'stillpoint.json');
  const none = { version: 1, stores: {}, repositories: {}, plans: {} };
  const write = (alerts?: object) =>
    writeFileSync(file, JSON.stringify({ ...none, ...(alerts && { alerts }) }));
  write({ on_failure: ['true'], webhook: { url: hook.url }, heartbeat: { url: heart.url } });
  const { code, json } = await stillpoint(['alerts', 'test', file, '--json']);
  expect(code).toBe(1);
  expect(json).toEqual({
    ok: false,
    channels: [
      { channel: 'on_failure', error: null },
      { channel: 'webhook', error: null },
      { channel: 'heartbeat', error: 'the answer was 404' },
    ],
  });
  expect(JSON.parse(hook.requests[0]!.body)).toMatchObject({ kind: 'test', plan: null });
  write();
  expect(await stillpoint(['alerts', 'test', file])).toMatchObject({ code: 2 });
  const refused = [
    [{ webhook: { url: 'http://example.org/x', secret: 'env:S' } }, /alerts.webhook.url: must be https/],
    [{ webhook: { url: 'https://u:p@example.org/' } }, /without a password/],
    [{ webhook: { url: 'https://example.org/', secret: 'hunter2' } }, /a secret is named, not given/],
    [{ on_failure: [] }, /must name a program/],
    [{ heartbeat: { url: 'https://example.org/', every: '5s' } }, /at least 1m/],
    [{}, /must have on_failure/],
  ] as const;
  for (const [alerts, why] of refused) {
    write(alerts);
    await expect(readSettings(fs, file)).rejects.toThrow(why);
  }
});
