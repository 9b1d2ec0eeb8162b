import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import type { Job } from '../../src/backup/jobs/job-store.ts';
import { openPostgresJobStore } from '../../src/backup/jobs/postgres-job-store.ts';
import { listJobs } from '../../src/backup/list-jobs.ts';
import { reconcileBackups } from '../../src/backup/reconcile-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { testExecutor } from '../../src/testing/index.ts';
import { compiled } from '../support/build.ts';
import { plainDirectory } from '../support/folders.ts';
import { describeWith } from '../support/needs.ts';
import { hasPostgres, newDatabase } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temp.ts';

const aJob = (change: Partial<Job> = {}): Job => ({
  id: newUlid(Date.now()),
  kind: 'backup',
  storeId: newUlid(2),
  repositoryId: newUlid(1),
  repositoryUrl: null,
  backupId: null,
  backupRecordId: null,
  status: 'running',
  startedAtMs: Date.now(),
  finishedAtMs: null,
  progress: 0,
  error: null,
  errorCode: null,
  errorHint: null,
  ...change,
});

async function open(url: string, storeId = newUlid(2), leaseMs?: number) {
  const store = await openPostgresJobStore(systemEnvironment, {
    url,
    storeId,
    ...(leaseMs !== undefined && { leaseMs }),
  });
  onTestFinished(() => store.close().catch(() => undefined));
  return store;
}

/** Another process in the middle of a job. */
async function holder(url: string, leaseMs: number, job: Job): Promise<ChildProcess> {
  const args = [compiled('test/support/postgres-holder.ts'), url, String(leaseMs), JSON.stringify(job)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  return child;
}

describeWith('a PostgreSQL server (POSTGRES_URL)', hasPostgres, 'jobs in PostgreSQL', () => {
  testExecutor({
    test,
    name: 'jobs in PostgreSQL',
    createJobStore: async (storeId) => open(await newDatabase(), storeId),
  });

  test('of many that begin a job of one store at the same moment one does; other stores are not in the way', async () => {
    const url = await newDatabase();
    await open(url);
    const storeId = newUlid(2);
    const stores = await Promise.all(Array.from({ length: 6 }, () => open(url, storeId)));
    const begun = await Promise.allSettled(stores.map((store) => store.createBackupJob(aJob({ storeId }))));
    expect(begun.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const one of begun) {
      if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'BACKUP_ALREADY_RUNNING' });
    }
    const other = newUlid(3);
    await (await open(url, other)).createBackupJob(aJob({ storeId: other }));
    expect(await stores[0]!.listJobs()).toHaveLength(1);
  });

  test('a peer that is killed is taken for dead by its lease, and not before', async () => {
    const url = await newDatabase();
    const storeId = newUlid(2);
    const leaseMs = 3000;
    const store = await open(url, storeId, leaseMs);
    const job = aJob({ storeId });
    const child = await holder(url, leaseMs, job);
    await pause(2 * leaseMs); // it renews its lease
    await expect(store.createBackupJob(aJob({ storeId }))).rejects.toMatchObject({
      code: 'BACKUP_ALREADY_RUNNING',
      data: { jobId: job.id },
    });
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await store.getJob(job.id)).toMatchObject({ status: 'running' });
    await pause(leaseMs + 500);
    await store.createBackupJob(aJob({ storeId }));
    expect(await store.getJob(job.id)).toMatchObject({ status: 'interrupted', errorCode: 'INTERRUPTED' });
  });

  test('a peer that slept beyond its lease is told so before its next effect', async () => {
    const url = await newDatabase();
    const storeId = newUlid(2);
    const sleeper = await open(url, storeId); // it renews its lease after 15 seconds
    const job = aJob({ storeId });
    await sleeper.createBackupJob(job);
    const other = await open(url, storeId);
    const { Client } = (await import('pg')).default;
    const client = new Client({ connectionString: url });
    await client.connect();
    await client.query(`update leases set ends_at = now() - interval '1 second'`);
    await client.end();
    await other.createBackupJob(aJob({ storeId }));
    await expect(sleeper.updateBackupJob(job.id, { progress: 50 })).rejects.toMatchObject({
      code: 'CONFLICT',
    });
  });

  test('a backup keeps its job and record there, by the name of the address', async () => {
    const url = await newDatabase();
    process.env.STILLPOINT_TEST_JOBS = url;
    onTestFinished(() => void delete process.env.STILLPOINT_TEST_JOBS);
    const jobs = 'env:STILLPOINT_TEST_JOBS';
    const repository = join(await temporaryFolder(), 'repository');
    await initRepository(repository);
    const dataDir = await plainDirectory();
    const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
    const { jobId, backupId } = await backUp(dataDir, { to: repository, coordinator, jobs });
    expect((await listJobs(dataDir, { jobs })).jobs).toMatchObject([
      { id: jobId, status: 'succeeded', backupId, backupRecordId: backupId, progress: 100 },
    ]);
    expect((await listJobs(dataDir)).jobs).toEqual([]);
    expect(await reconcileBackups(dataDir, { from: repository, jobs })).toMatchObject({
      adopted: [],
      lost: [],
    });
  });

  test('a server that is not there is told, without its password', async () => {
    process.env.STILLPOINT_TEST_JOBS = 'postgres://somebody:hunter2@127.0.0.1:1/nothing';
    onTestFinished(() => void delete process.env.STILLPOINT_TEST_JOBS);
    const repository = join(await temporaryFolder(), 'repository');
    await initRepository(repository);
    const dataDir = await plainDirectory();
    const error = await backUp(dataDir, {
      to: repository,
      coordinator: new BackupCoordinator({ dataDir, engine: 'files' }),
      jobs: 'env:STILLPOINT_TEST_JOBS',
    }).catch((problem) => problem);
    expect(error).toMatchObject({
      code: 'JOBS_UNAVAILABLE',
      message: expect.stringContaining('PostgreSQL at 127.0.0.1:1/nothing: '),
    });
    expect(`${error.message} ${error.hint} ${error.stack}`).not.toContain('hunter2');
  });
});
