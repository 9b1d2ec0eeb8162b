import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import type { Job } from '../../src/backup/jobs/job-store.ts';
import { openSqliteJobStore } from '../../src/backup/jobs/sqlite-job-store.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { testExecutor } from '../../src/testing/index.ts';
import { compiled } from '../support/build.ts';
import { temporaryFolder } from '../support/temp.ts';

const open = (dataDir: string) => openSqliteJobStore(systemEnvironment, layoutOf(dataDir));

testExecutor({ test, name: 'jobs in SQLite', createJobStore: async () => open(await temporaryFolder()) });

const aJob = (change: Partial<Job> = {}): Job => ({
  id: newUlid(Date.now()),
  kind: 'backup',
  storeId: newUlid(2),
  repositoryId: newUlid(1),
  repositoryUrl: null,
  backupId: newUlid(Date.now()),
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

/** Another process that is in the middle of a job. */
async function holder(dataDir: string, job: Job) {
  const child = spawn(
    process.execPath,
    [compiled('test/support/job-holder.ts'), dataDir, JSON.stringify(job)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout!, 'data');
  return {
    async kill() {
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}

test("a live process's job is never touched, and blocks a second one", async () => {
  const dataDir = await temporaryFolder();
  const job = aJob();
  await holder(dataDir, job);
  const store = await open(dataDir);
  expect(await store.getJob(job.id)).toEqual(job);
  await expect(store.createBackupJob(aJob({ storeId: job.storeId }))).rejects.toMatchObject({
    code: 'BACKUP_ALREADY_RUNNING',
    data: { jobId: job.id },
  });
  await store.close();
});

test('the job of a process that was killed is interrupted, and blocks nobody', async () => {
  const dataDir = await temporaryFolder();
  const job = aJob();
  await (await holder(dataDir, job)).kill();
  const store = await open(dataDir);
  await store.createBackupJob(aJob({ storeId: job.storeId }));
  const interrupted = {
    ...job,
    status: 'interrupted',
    errorCode: 'INTERRUPTED',
    errorHint: 'The process ended in the middle of it; start it again.',
    finishedAtMs: expect.any(Number),
  };
  expect(await store.getJob(job.id)).toMatchObject({
    ...interrupted,
    error: expect.stringContaining('ended'),
  });
  await store.close();
});

test('one whose backup is on record has succeeded, although its process died before it could say so', async () => {
  const dataDir = await temporaryFolder();
  const job = aJob();
  const dying = await holder(dataDir, job);
  const store = await open(dataDir);
  await store.createBackupRecord({
    id: job.backupId!,
    repositoryId: job.repositoryId!,
    storeId: newUlid(2),
    createdAtMs: 5,
    sizeBytes: 2 ** 40,
    state: 'present',
    manifestPath: 'somewhere',
    sha256: '00'.repeat(32),
  });
  await dying.kill();
  expect(await store.getJob(job.id)).toMatchObject({
    status: 'succeeded',
    progress: 100,
    backupRecordId: job.backupId,
  });
  await store.close();
});

test('closing gives back the jobs that are still open: this process can run another one', async () => {
  const dataDir = await temporaryFolder();
  const job = aJob();
  const first = await open(dataDir);
  await first.createBackupJob(job);
  await first.close();
  const second = await open(dataDir);
  await second.createBackupJob(aJob({ storeId: job.storeId }));
  expect(await second.getJob(job.id)).toMatchObject({ status: 'interrupted' });
  await second.close();
});

test('verifying excludes nothing: two run at once, beside a backup', async () => {
  const store = await open(await temporaryFolder());
  const { storeId } = aJob();
  for (const kind of ['backup', 'verify', 'verify', 'drill'] as const)
    await store.createBackupJob(aJob({ kind, storeId }));
  await expect(store.createBackupJob(aJob({ kind: 'prune', storeId }))).rejects.toMatchObject({
    code: 'BACKUP_ALREADY_RUNNING',
  });
  expect(await store.listJobs({ status: 'running' })).toHaveLength(4);
  await store.close();
});

test('many processes and openings at once see one store', async () => {
  const dataDir = await temporaryFolder();
  const stores = await Promise.all(Array.from({ length: 4 }, () => open(dataDir)));
  await Promise.all(stores.map((store) => store.createBackupJob(aJob({ kind: 'verify' }))));
  for (const store of stores) expect(await store.listJobs()).toHaveLength(4);
  const answers = await Promise.allSettled(stores.map((store) => store.createBackupJob(aJob())));
  expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  for (const store of stores) await store.close();
});

test('old jobs go, and those that run stay', async () => {
  const store = await open(await temporaryFolder());
  const running = aJob({ id: newUlid(1) });
  await store.createBackupJob(running);
  for (let i = 0; i < 1010; i++) {
    const job = aJob({ id: newUlid(1000 + i), kind: 'verify' });
    await store.createBackupJob(job);
    await store.updateBackupJob(job.id, { status: 'failed', finishedAtMs: 5 });
  }
  const jobs = await store.listJobs({ limit: 5000 });
  expect(jobs.length).toBeLessThanOrEqual(1002);
  expect(jobs.at(-1)).toEqual(running);
  await store.close();
});

test('its files are for their owner alone, and no link is followed', async () => {
  const dataDir = await temporaryFolder();
  const before = process.umask(0);
  try {
    const store = await open(dataDir);
    await store.createBackupJob(aJob());
    const { lifecycle } = layoutOf(dataDir);
    expect(statSync(join(lifecycle, 'jobs.sqlite')).mode & 0o777).toBe(0o600);
    for (const name of readdirSync(join(lifecycle, 'jobs')))
      expect(statSync(join(lifecycle, 'jobs', name)).mode & 0o777).toBe(0o600);
    await store.close();
  } finally {
    process.umask(before);
  }
  const linked = await temporaryFolder();
  const { lifecycle } = layoutOf(linked);
  await systemEnvironment.fs.makeFolder(lifecycle);
  const outside = join(await temporaryFolder(), 'outside');
  writeFileSync(outside, '');
  symlinkSync(outside, join(lifecycle, 'jobs.sqlite'));
  await expect(open(linked)).rejects.toMatchObject({ code: 'ELOOP' });
  expect(statSync(outside).size).toBe(0);
});

test('a file that is no database is an error that names it, and stays as it is', async () => {
  const dataDir = await temporaryFolder();
  const { lifecycle } = layoutOf(dataDir);
  await systemEnvironment.fs.makeFolder(lifecycle);
  writeFileSync(join(lifecycle, 'jobs.sqlite'), 'not a database '.repeat(100));
  await expect(open(dataDir)).rejects.toMatchObject({
    code: 'IO_ERROR',
    message: expect.stringContaining('jobs.sqlite'),
  });
  expect(statSync(join(lifecycle, 'jobs.sqlite')).size).toBe(1500);
});

test('a store that stands is not opened but by SQLite, whose locks would go with any other descriptor of this process', async () => {
  const dataDir = await temporaryFolder();
  await (await open(dataDir)).close();
  const { fs } = systemEnvironment;
  const opened: string[] = [];
  const watched: typeof fs = {
    ...fs,
    open: (path, ...rest) => {
      opened.push(basename(path));
      return fs.open(path, ...rest);
    },
  };
  await (await openSqliteJobStore({ ...systemEnvironment, fs: watched }, layoutOf(dataDir))).close();
  expect(opened).not.toContain('jobs.sqlite');
  expect(opened.length).toBeGreaterThan(0);
});
