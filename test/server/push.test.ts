import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openSqliteJobStore } from '../../src/backup/jobs/sqlite-job-store.ts';
import { showJob } from '../../src/backup/list-jobs.ts';
import { repositoryOf } from '../../src/backup/options.ts';
import { recordDamaged } from '../../src/repository/damaged-objects.ts';
import { recordReading } from '../../src/repository/marks.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { barrier, type Injected, injected, untilFinished } from '../support/server.ts';
import { ended, withPlans } from '../support/server-plans.ts';

/** A server with a repository, and a snapshot that stands. */
async function withSnapshot() {
  const given = await withPlans();
  const server = await injected(given);
  await server.rpc('PUT', '/kv/a', 'value');
  return { server, given, name: await snapshotOf(server) };
}

async function snapshotOf(server: Injected): Promise<string> {
  const { handle } = (await server.rpc('POST', '/api/admin/backup')).json;
  const { location } = await untilFinished(
    async () => (await server.rpc('GET', `/api/admin/backup/${handle}`)).json,
  );
  return location.split('/').at(-1)!;
}

const pushed = (server: Injected, name: string, key: string, repository = 'offsite') =>
  server.rpc('POST', `/api/admin/backups/${name}/push`, { key, repository });

/** Pushes, and resolves to the backup that came of it. */
async function pushedToTheEnd(server: Injected, name: string, key: string) {
  const { json } = await pushed(server, name, key);
  expect(await ended(server, json.job.id)).toMatchObject({ kind: 'backup', status: 'succeeded' });
  const { job, backup } = (await pushed(server, name, key)).json;
  expect(job).toBe(null);
  return backup;
}

const backupsOf = async (server: Injected) =>
  (await server.rpc('GET', '/api/admin/repositories/offsite/backups')).json.backups;

test('a push makes one backup of a snapshot, under whatever key it is asked for again', async () => {
  const { server, name } = await withSnapshot();
  const [first, second] = [await pushed(server, name, 'k'), await pushed(server, name, 'k')];
  expect(first).toMatchObject({ status: 200, json: { backup: null } });
  expect([first.json.job.id, null]).toContain(second.json.job?.id ?? null);
  const { id, store_id, repository_id } = await ended(server, first.json.job.id);
  const { backup } = (await pushed(server, name, 'k')).json;
  expect(backup).toMatchObject({ store_id, repository_id });
  expect((await pushed(server, name, 'other')).json).toEqual({ job: null, backup });
  expect(await backupsOf(server)).toMatchObject([{ backup_id: backup.backup_id, damaged: false }]);
  const { jobs } = (await server.rpc('GET', '/api/admin/jobs')).json;
  expect(jobs.map((job: { id: string }) => job.id)).toEqual([id]);
  expect(server.audit.filter(({ action }) => action === 'push')).toHaveLength(4);
});

test('what cannot be pushed is refused, and a key stands for one request', async () => {
  const { server, name } = await withSnapshot();
  expect(await pushed(server, name, 'k', 'none')).toMatchObject({ status: 404 });
  expect(await pushed(server, 'ts-1', 'k')).toMatchObject({ status: 404 });
  expect(await pushed(server, name, '')).toMatchObject({ status: 400 });
  await pushedToTheEnd(server, name, 'k');
  expect(await pushed(server, await snapshotOf(server), 'k')).toMatchObject({
    status: 409,
    json: { error: { code: 'KEY_REUSED' } },
  });
  const plain = await injected();
  expect(await pushed(plain, await snapshotOf(plain), 'k')).toMatchObject({ status: 404 });
});

test('a backup whose process died before its record is put on record, and not made again', async () => {
  const { server, name } = await withSnapshot();
  const backup = await pushedToTheEnd(server, name, 'k');
  const jobs = await openSqliteJobStore(systemEnvironment, layoutOf(server.dataDir));
  await jobs.removeBackupRecord(backup.backup_id);
  expect((await pushed(server, name, 'other')).json).toEqual({ job: null, backup });
  expect(await jobs.getRecord(backup.backup_id)).toMatchObject({ state: 'present' });
  await jobs.close();
});

test('a snapshot whose backup is damaged is uploaded again', async () => {
  const { server, given, name } = await withSnapshot();
  const backup = await pushedToTheEnd(server, name, 'k');
  const repository = await repositoryOf(systemEnvironment, join(dirname(given.settings), 'repository'), {});
  const store = repository.store(backup.store_id);
  const { files } = (await store.read(backup.backup_id))!;
  await recordDamaged(store, new Map([[files.find(({ stored }) => stored)!.stored!.key, 'of the test']]));
  const next = await pushedToTheEnd(server, name, 'other');
  expect(next.backup_id).not.toBe(backup.backup_id);
  expect(await backupsOf(server)).toMatchObject([{ damaged: true }, { damaged: false }]);
});

test('a snapshot whose backup is known to have damaged content is refused, and not taken for backed up', async () => {
  const { server, given, name } = await withSnapshot();
  const backup = await pushedToTheEnd(server, name, 'k');
  const repository = await repositoryOf(systemEnvironment, join(dirname(given.settings), 'repository'), {});
  await recordReading(repository.store(backup.store_id), backup.backup_id, 'damaged');
  expect(await pushed(server, name, 'other')).toMatchObject({
    status: 409,
    json: { error: { code: 'BACKUP_DAMAGED', hint: expect.stringContaining('Take a new snapshot') } },
  });
  expect(await backupsOf(server)).toMatchObject([{ damaged: true }]);
});

test('a server that is closed waits for the end of a push', async () => {
  const given = await withPlans();
  const atWork = barrier();
  let isSlow = false;
  const { pool } = systemEnvironment;
  const run = (async (...task: Parameters<typeof pool.run>) => {
    if (isSlow) await atWork.wait();
    return pool.run(...task);
  }) as typeof pool.run;
  const server = await injected({ ...given, environment: { ...systemEnvironment, pool: { ...pool, run } } });
  const name = await snapshotOf(server);
  isSlow = true;
  const { json } = await pushed(server, name, 'k');
  await atWork.reached;
  const closed = server.app.close();
  expect(await Promise.race([closed, setTimeout(500, 'waits')])).toBe('waits');
  atWork.open();
  await closed;
  expect((await showJob(given.dataDir, json.job.id)).status).toBe('interrupted');
});
