import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { showJob } from '../../src/backup/list-jobs.ts';
import { repositoryOf } from '../../src/backup/options.ts';
import { systemClock } from '../../src/env/clock.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { injected, untilFinished, withSlowHold } from '../support/server.ts';
import { ended, ran, withPlans } from '../support/server-plans.ts';
import { temporaryFolder } from '../support/temp.ts';

test('a server with a settings file makes its backups when they are due, and restores from them', async () => {
  // Its clock begins a moment before a minute ends.
  const shift = Date.parse('2026-11-26T12:00:58Z') - Date.now();
  const clock = { ...systemClock, nowMs: () => Date.now() + shift };
  const given = await withPlans({ backup: '* * * * *' });
  const server = await injected({ ...given, environment: { ...systemEnvironment, clock } });
  await server.rpc('PUT', '/kv/a', 'before');
  let jobs: { id: string; kind: string }[] = [];
  while (jobs.length === 0) {
    await setTimeout(50);
    jobs = (await server.rpc('GET', '/api/admin/jobs')).json.jobs;
  }
  const job = await ended(server, jobs[0]!.id);
  expect(job).toMatchObject({ kind: 'backup', status: 'succeeded', progress: 100, error: null });
  const { plans } = (await server.rpc('GET', '/api/admin/plans')).json;
  expect(plans).toMatchObject([
    { name: 'nightly', repository: 'offsite', schedules: [{ action: 'backup', overdue: false }] },
  ]);
  const { records } = (await server.rpc('GET', '/api/admin/records')).json;
  expect(records).toMatchObject([{ id: job.backup_id, state: 'present' }]);
  const { backups } = (await server.rpc('GET', '/api/admin/repositories/offsite/backups')).json;
  expect(backups).toMatchObject([{ backup_id: job.backup_id, engine: 'lsm', damaged: false }]);

  await server.rpc('PUT', '/kv/a', 'after');
  const restore = async (body: object) => {
    const { json } = await server.rpc('POST', '/api/admin/restore', body);
    return untilFinished(async () => (await server.rpc('GET', `/api/admin/restore/${json.handle}`)).json);
  };
  expect(await restore({ repository: 'offsite', source: job.backup_id })).toMatchObject({
    state: { status: 'completed' },
  });
  expect((await server.rpc('GET', '/kv/a')).bytes.toString()).toBe('before');
  expect(
    await server.rpc('POST', '/api/admin/restore', { repository: 'offsite', source: '01K' }),
  ).toMatchObject({ status: 404 });
  expect(await server.rpc('POST', '/api/admin/restore', { repository: 'none' })).toMatchObject({
    status: 404,
  });
  const metrics = await server.rpc('GET', '/api/admin/metrics', undefined, { accept: 'text/plain' });
  const told = metrics.bytes.toString();
  expect(told).toContain('stillpoint_plan_overdue{plan="nightly",action="backup"} 0');
  const [schedule] = (await server.rpc('GET', '/api/admin/plans')).json.plans[0].schedules;
  expect(told).toContain(
    `stillpoint_plan_next_due_timestamp_seconds{plan="nightly",action="backup"} ${schedule.next_due_ms / 1000}\n`,
  );
  const { last_restore } = (await server.rpc('GET', '/api/admin/status')).json.safety;
  expect(told).toContain(`stillpoint_last_restore_duration_seconds ${last_restore.took_ms / 1000}\n`);
});

test('each action of a plan runs on request as a job; unknown ones are refused', async () => {
  const server = await injected(await withPlans());
  const first = await ran(server);
  expect(first).toMatchObject({ kind: 'backup', status: 'succeeded' });
  for (const kind of ['verify', 'drill'])
    expect(await ran(server, kind)).toMatchObject({ kind, status: 'succeeded', backup_id: first.backup_id });
  const page = async (query: string) =>
    (await server.rpc('GET', `/api/admin/jobs?${query}`)).json.jobs.map(({ kind }: { kind: string }) => kind);
  expect(await page('limit=2')).toEqual(['drill', 'verify']);
  expect(
    await page(`before=${(await server.rpc('GET', '/api/admin/jobs?limit=2')).json.jobs[1].id}`),
  ).toEqual(['backup']);
  expect(await page('kind=verify')).toEqual(['verify']);
  expect(server.audit.filter(({ action }) => action === 'run-plan')).toMatchObject([
    { outcome: 'completed', id: first.id },
    {},
    {},
  ]);
  for (const [method, url, body, status] of [
    ['POST', '/api/admin/plans/none/run', undefined, 404],
    ['POST', '/api/admin/plans/nightly/run', { action: 'prune' }, 400],
    ['GET', '/api/admin/repositories/none/backups', undefined, 404],
    ['GET', '/api/admin/jobs/none', undefined, 404],
    ['DELETE', `/api/admin/jobs/${first.id}`, undefined, 409],
    ['GET', '/api/admin/jobs?limit=0', undefined, 400],
  ] as const)
    expect(await server.rpc(method, url, body), url).toMatchObject({ status });
});

test('a job is cancelled by request; a second one of the same plan is refused meanwhile', async () => {
  const { backend, atHold } = withSlowHold();
  const server = await injected({ ...(await withPlans()), backend });
  const { json: job } = await server.rpc('POST', '/api/admin/plans/nightly/run');
  expect(job).toMatchObject({ kind: 'backup', status: 'running' });
  await atHold.reached;
  expect(await server.rpc('POST', '/api/admin/plans/nightly/run')).toMatchObject({ status: 409 });
  expect(await server.rpc('DELETE', `/api/admin/jobs/${job.id}`)).toMatchObject({ status: 200 });
  expect(await ended(server, job.id)).toMatchObject({ status: 'interrupted', error_code: 'CANCELLED' });
  atHold.open();
  expect(await ran(server)).toMatchObject({ status: 'succeeded' });
});

test('closing the server ends the backup that is under way, and its job says so', async () => {
  const { backend, atHold } = withSlowHold();
  const given = await withPlans();
  const server = await injected({ ...given, backend });
  const { json: job } = await server.rpc('POST', '/api/admin/plans/nightly/run');
  await atHold.reached;
  const closed = server.app.close();
  const isRunning = async () => (await showJob(given.dataDir, job.id)).status === 'running';
  while (await isRunning()) await setTimeout(10);
  atHold.open();
  await closed;
  const next = await injected(given);
  expect((await next.rpc('GET', `/api/admin/jobs/${job.id}`)).json).toMatchObject({
    status: 'interrupted',
    error_code: 'CANCELLED',
  });
  expect(await ran(next)).toMatchObject({ status: 'succeeded' });
});

test('no backup begins while a fleet holds the server', async () => {
  const server = await injected(await withPlans());
  await server.rpc('POST', '/api/admin/hold', { run: 'fleet' });
  expect(await server.rpc('POST', '/api/admin/plans/nightly/run')).toMatchObject({
    status: 409,
    json: { error: { code: 'CONFLICT' } },
  });
  await server.rpc('POST', '/api/admin/release', { run: 'fleet' });
  expect(await ran(server)).toMatchObject({ status: 'succeeded' });
});

test('a settings file that is wrong, or about other data, is refused before anything is made', async () => {
  const { dataDir, settings } = await withPlans();
  const elsewhere = join(await temporaryFolder(), 'data');
  await expect(injected({ dataDir: elsewhere, settings })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringContaining('has no plan for'),
  });
  expect(existsSync(elsewhere)).toBe(false);
  writeFileSync(settings, '{"version":1}');
  await expect(injected({ dataDir, settings })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  await expect(injected({ dataDir, settings: `${settings}.none` })).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
  expect(existsSync(dataDir)).toBe(false);
});

test('without a settings file there are no plans, and asking makes no file', async () => {
  const { rpc, dataDir } = await injected();
  expect((await rpc('GET', '/api/admin/plans')).json).toEqual({ plans: [] });
  expect((await rpc('GET', '/api/admin/repositories')).json).toEqual({ repositories: [] });
  expect((await rpc('GET', '/api/admin/jobs')).json).toEqual({ jobs: [] });
  expect((await rpc('GET', '/api/admin/records')).json).toEqual({ records: [] });
  expect(existsSync(join(dataDir, '.lifecycle', 'jobs.sqlite'))).toBe(false);
  expect(await rpc('POST', '/api/admin/plans/nightly/run')).toMatchObject({ status: 404 });
  expect(await rpc('GET', '/api/admin/repositories/offsite/backups')).toMatchObject({ status: 404 });
});

test('a restore in place from a backup that is damaged names the best other one', async () => {
  const given = await withPlans();
  const server = await injected(given);
  await server.rpc('PUT', '/kv/a', 'before');
  const good = (await ran(server)).backup_id;
  await server.rpc('PUT', '/kv/a', 'after');
  const { backup_id: damaged, store_id } = await ran(server);
  const repository = await repositoryOf(systemEnvironment, join(dirname(given.settings), 'repository'), {});
  const store = repository.store(store_id);
  const before = new Set((await store.read(good))!.files.map(({ stored }) => stored?.key));
  const own = (await store.read(damaged))!.files.find(({ stored }) => stored && !before.has(stored.key))!;
  const object = join(dirname(given.settings), 'repository', own.stored!.key);
  const bytes = readFileSync(object);
  bytes[bytes.byteLength >> 1]! ^= 1;
  chmodSync(object, 0o600);
  writeFileSync(object, bytes);
  const { json } = await server.rpc('POST', '/api/admin/restore', { repository: 'offsite' });
  const { state } = await untilFinished(
    async () => (await server.rpc('GET', `/api/admin/restore/${json.handle}`)).json,
  );
  expect(state).toMatchObject({ status: 'failed', code: 'BACKUP_DAMAGED' });
  expect(state.reason).toContain(`the best backup that is not known to be damaged: ${good}`);
});

test('an encrypted repository opens with the key that the settings name, and no reply tells which', async () => {
  const keyFile = join(await temporaryFolder(), 'secret.key');
  const server = await injected(await withPlans({}, { keyFile }));
  expect(await ran(server)).toMatchObject({ status: 'succeeded' });
  const { bytes, json } = await server.rpc('GET', '/api/admin/repositories');
  expect(json.repositories).toMatchObject([{ name: 'offsite', encrypted: true }]);
  expect(bytes.toString()).not.toContain('secret');
  expect((await server.rpc('GET', '/api/admin/repositories/offsite/backups')).json.backups).toHaveLength(1);
});
