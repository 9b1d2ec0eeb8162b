import assert from 'node:assert/strict';
import type { Job } from '../backup/jobs/job-store.ts';
import { runBackup } from '../backup/run-backup.ts';
import { systemClock } from '../env/clock.ts';
import { newUlid } from '../env/ulid.ts';
import {
  failing,
  includes,
  type Options,
  REPOSITORY,
  rejectsWith,
  STORE,
  stage,
  type WithStore,
} from './executor-stage.ts';

/** What the rows say, and how attempts keep out of each other's way. */
export function testJobs(test: WithStore): void {
  test('a second backup of the store is refused, and the answer names the first', async (store) => {
    const { options } = stage(store);
    let second: Promise<unknown> | undefined;
    const { job } = await runBackup({
      ...options,
      source: {
        async open(run) {
          second = runBackup(options).catch((error) => error);
          await second;
          return options.source.open(run);
        },
      },
    });
    includes(await second, {
      code: 'BACKUP_ALREADY_RUNNING',
      message: new RegExp(job.id),
      data: { jobId: job.id },
    });
    await runBackup(options);
    assert.deepEqual(
      (await store.listJobs()).map(({ status }) => status),
      ['succeeded', 'succeeded'],
    );
  });

  test('a second backup is refused also where the identity of the directory has changed since', async (store) => {
    const { options } = stage(store);
    let second: Promise<unknown> | undefined;
    await runBackup({
      ...options,
      source: {
        async open(run) {
          second = runBackup({ ...options, storeId: newUlid(3) }).catch((error) => error);
          await second;
          return options.source.open(run);
        },
      },
    });
    includes(await second, { code: 'BACKUP_ALREADY_RUNNING' });
  });

  test('the store and the id of a backup are those that hold when no other attempt can run', async (store) => {
    const { options } = stage(store);
    const OTHER = newUlid(3);
    const begin = async () => {
      const excluded = runBackup(options).then(
        () => 'ran',
        ({ code }) => code,
      );
      assert.equal(await excluded, 'BACKUP_ALREADY_RUNNING');
      return { storeId: OTHER };
    };
    const { job, record } = await runBackup({ ...options, begin });
    assert.equal(record.storeId, OTHER);
    includes(await store.getJob(job.id), { storeId: OTHER, backupId: record.id });
  });

  test('an attempt that was taken for dead stops before its backup exists', async (store) => {
    const { steps, options } = stage(store);
    const destination: Options['destination'] = {
      async store(source, run) {
        const [{ id }] = (await store.listJobs()) as [Job];
        await store.updateBackupJob(id, { status: 'interrupted' });
        await run.confirmAlive();
        return options.destination.store(source, run);
      },
    };
    await rejectsWith(runBackup({ ...options, destination }), { code: 'CONFLICT' });
    assert.ok(!steps.includes('store'));
  });

  test('ids of backups sort by their order, also when the clock was set back', async (store) => {
    const later = newUlid(systemClock.nowMs() + 1_000_000);
    const { options } = stage(store, {
      begin: async () => ({ storeId: STORE, afterBackupId: later }),
    });
    const { record } = await runBackup(options);
    assert.equal(record.id > later, true);
  });

  test('a job that is over never changes again', async (store) => {
    const { job } = await runBackup(stage(store).options);
    await rejectsWith(store.updateBackupJob(job.id, { status: 'failed' }), {
      code: 'CONFLICT',
    });
    await store.updateBackupJobProgress(job.id, 3);
    assert.deepEqual(await store.getJob(job.id), job);
  });

  test('a record that is written twice is one record', async (store) => {
    const { record } = await runBackup(stage(store).options);
    await store.createBackupRecord(record);
    assert.deepEqual(await store.listRecords(REPOSITORY), [record]);
  });

  test('jobs are listed newest first, by kind and status, up to a limit', async (store) => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      const { options } = stage(store, i === 2 ? { source: { open: failing('gone') } } : {});
      await runBackup(options).catch(() => undefined);
      ids.unshift((await store.listJobs({ limit: 1 }))[0]!.id);
    }
    assert.deepEqual(
      (await store.listJobs()).map(({ id }) => id),
      [...ids].sort().reverse(),
    );
    assert.equal((await store.listJobs({ limit: 2 })).length, 2);
    assert.equal((await store.listJobs({ status: 'failed' })).length, 1);
    assert.deepEqual(await store.listJobs({ kind: 'restore' }), []);
    assert.deepEqual(await store.listJobs({ repositoryId: 'another' }), []);
    assert.equal(await store.getJob('unknown'), undefined);
    assert.equal(await store.getRecord('unknown'), undefined);
  });
}
