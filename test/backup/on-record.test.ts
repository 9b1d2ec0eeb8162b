import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { drillBackup } from '../../src/backup/drill-backup.ts';
import type { Job } from '../../src/backup/jobs/job-store.ts';
import { openSqliteJobStore } from '../../src/backup/jobs/sqlite-job-store.ts';
import { listJobs } from '../../src/backup/list-jobs.ts';
import { pruneBackups } from '../../src/backup/prune-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { entriesBelow, plainDirectory } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

async function setUp() {
  const from = join(await temporaryFolder(), 'repository');
  const { repositoryId } = await initRepository(from);
  const dataDir = await plainDirectory();
  const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
  const run = () => backUp(dataDir, { to: from, coordinator });
  const { backupId, storeId } = await run();
  const newest = async (): Promise<Job> => (await listJobs(dataDir)).jobs[0]!;
  return { from, repositoryId, dataDir, run, backupId, storeId, newest };
}

test('verifications, drills and prunes of a data directory are jobs of it', async () => {
  const { from, repositoryId, dataDir, run, backupId, storeId, newest } = await setUp();
  const about = { storeId, repositoryId, status: 'succeeded', progress: 100, error: null };
  const created: Job[] = [];
  const onJobCreated = (job: Job) => void created.push(job);
  await verifyBackup('latest', { from, dataDir, onJobCreated });
  expect(created).toMatchObject([{ kind: 'verify', status: 'running', repositoryId: null }]);
  expect(await newest()).toMatchObject({ ...about, id: created[0]!.id, kind: 'verify', backupId });
  await drillBackup('latest', { from, dataDir });
  expect(await newest()).toMatchObject({ ...about, kind: 'drill', backupId });
  await run();
  await verifyBackup('latest', { from }); // the newest verified one stays, whatever the rule
  await pruneBackups({ from, dataDir, keepLast: 1, dryRun: true });
  expect(await newest()).toMatchObject({ kind: 'backup' }); // a dry run changes nothing
  expect(await pruneBackups({ from, dataDir, keepLast: 1 })).toMatchObject({ removed: [backupId] });
  expect(await newest()).toMatchObject({ ...about, kind: 'prune', backupId: null });
  const jobs = await openSqliteJobStore(systemEnvironment, layoutOf(dataDir));
  expect(await jobs.getRecord(backupId)).toBeUndefined(); // its record went with it
  await jobs.close();
});

test('damage that a verification finds is what its job says; so is what kept it from its end', async () => {
  const { from, dataDir, newest } = await setUp();
  const [object] = entriesBelow(from).filter((entry) => entry.isFile() && entry.name.startsWith('small-'));
  writeFileSync(join(object!.parentPath, object!.name), 'damaged');
  expect(await verifyBackup('latest', { from, dataDir })).toMatchObject({ ok: false });
  expect(await newest()).toMatchObject({ kind: 'verify', status: 'failed', errorCode: 'BACKUP_DAMAGED' });
  await expect(drillBackup('latest', { from, dataDir })).rejects.toThrow();
  expect(await newest()).toMatchObject({ kind: 'drill', status: 'failed', finishedAtMs: expect.any(Number) });
  const signal = AbortSignal.abort();
  await expect(verifyBackup('latest', { from, dataDir, signal })).rejects.toMatchObject({
    code: 'CANCELLED',
  });
  expect(await newest()).toMatchObject({ kind: 'verify', status: 'interrupted', errorCode: 'CANCELLED' });
});

test('an onJobCreated that throws is a warning of the process, and the work goes on', async () => {
  const { from, dataDir } = await setUp();
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
  const onJobCreated = () => {
    throw new Error('of the caller');
  };
  expect(await verifyBackup('latest', { from, dataDir, onJobCreated })).toMatchObject({ ok: true });
  expect((await warned).message).toBe('of the caller');
});

test('a directory that was never backed up, and one of another store, are refused', async () => {
  const { from } = await setUp();
  const other = await plainDirectory();
  await expect(verifyBackup('latest', { from, dataDir: other })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect((await listJobs(other)).jobs).toEqual([]);
  const elsewhere = await setUp();
  await expect(drillBackup('latest', { from, dataDir: elsewhere.dataDir })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
  });
});

test('a verification whose process died has not succeeded because its backup is on record', async () => {
  const { dataDir, backupId, storeId, repositoryId } = await setUp();
  const layout = layoutOf(dataDir);
  const owner = await openSqliteJobStore(systemEnvironment, layout);
  const job: Job = {
    id: newUlid(Date.now()),
    kind: 'verify',
    storeId,
    repositoryId,
    repositoryUrl: null,
    backupId,
    backupRecordId: null,
    status: 'running',
    startedAtMs: Date.now(),
    finishedAtMs: null,
    progress: 0,
    error: null,
    errorCode: null,
    errorHint: null,
  };
  await owner.createBackupJob(job);
  await owner.close(); // abandons it, as the death of its process does
  expect((await listJobs(dataDir)).jobs[0]).toMatchObject({
    id: job.id,
    status: 'interrupted',
    backupRecordId: null,
  });
});
