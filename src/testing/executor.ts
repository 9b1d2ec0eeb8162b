import assert from 'node:assert/strict';
import type { Job, JobStore } from '../backup/jobs/job-store.ts';
import { type BackupRun, runBackup } from '../backup/run-backup.ts';
import { ULID } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import { testJobs } from './executor-jobs.ts';
import {
  failing,
  failingEnd,
  includes,
  type Options,
  onlyJob,
  REPOSITORY,
  rejectsWith,
  STORE,
  stage,
  type WithStore,
  withCalls,
} from './executor-stage.ts';

export interface ExecutorTestOptions {
  /** Makes one test: `test` of `node:test`, of Vitest, or any other function with these two arguments. */
  readonly test: (name: string, run: () => Promise<void>) => unknown;
  /** Makes an empty job store for one test, for the jobs of this store. The suite closes it. */
  readonly createJobStore: (storeId: string) => Promise<JobStore>;
  /** Names the job store in the names of the tests. */
  readonly name: string;
}

/**
 * What a job store and the executor together must do, as tests, for whoever writes a store. Independent of a test runner.
 *
 * @example
 * import { test } from 'node:test';
 * import { testExecutor } from 'stillpoint/testing';
 *
 * testExecutor({ test, name: 'my store', createJobStore: async (storeId) => new MyJobStore(storeId) });
 */
export function testExecutor({ test, name, createJobStore }: ExecutorTestOptions): void {
  const withStore: WithStore = (what, check) =>
    test(`executor with ${name}: ${what}`, async () => {
      const store = await createJobStore(STORE);
      try {
        await check(store);
      } finally {
        await store.close();
      }
    });
  testRuns(withStore);
  testJobs(withStore);
}

/** The life of one attempt. */
function testRuns(test: WithStore): void {
  test('a backup leaves a job that succeeded and the record that it can be restored', async (store) => {
    const { steps, options } = stage(store);
    const { job, record } = await runBackup(options);
    includes(job, {
      kind: 'backup',
      status: 'succeeded',
      progress: 100,
      backupRecordId: record.id,
    });
    assert.match(record.id, ULID);
    assert.equal(record.id, job.backupId);
    assert.notEqual(record.id, job.id);
    assert.deepEqual(await store.getJob(job.id), job);
    assert.deepEqual(await store.getRecord(record.id), record);
    includes(record, {
      repositoryId: REPOSITORY,
      storeId: STORE,
      sizeBytes: 42,
      state: 'present',
    });
    assert.equal(record.manifestPath, `backups/${record.id}/manifest`);
    assert.deepEqual(steps, ['open', 'store', 'close']);
  });

  for (const missing of ['source', 'destination', 'jobs', 'clock', 'repositoryId', 'storeId'] as const) {
    test(`without ${missing} there is an error that names it, and no job`, async (store) => {
      const { steps, options } = stage(store);
      const { [missing]: _, ...rest } = options;
      await rejectsWith(runBackup(rest as never), { message: new RegExp(missing) });
      assert.deepEqual(steps, []);
      assert.deepEqual(await store.listJobs(), []);
    });
  }

  test('a job row that cannot be written: an error, and nothing is touched', async (store) => {
    const { steps, options } = stage(withCalls(store, { createBackupJob: failing('no row') }));
    await rejectsWith(runBackup(options), { message: 'no row' });
    assert.deepEqual(steps, []);
    assert.deepEqual(await store.listRecords(REPOSITORY), []);
  });

  test('onJobCreated is called once, when the row stands and before the source is touched', async (store) => {
    const { steps, options } = stage(store);
    let seen: Promise<Job | undefined> | undefined;
    await runBackup({
      ...options,
      onJobCreated(job) {
        steps.push('created');
        seen = store.getJob(job.id);
      },
    });
    assert.deepEqual(steps, ['created', 'open', 'store', 'close']);
    includes(await seen, { kind: 'backup' });
  });

  test('progress goes by the marks 10, 50 and 95, and its failure is a warning and nothing else', async (store) => {
    const marks: number[] = [];
    const { steps, options } = stage(
      withCalls(store, {
        updateBackupJobProgress: async (id, percent) => {
          marks.push(percent);
          await store.updateBackupJobProgress(id, percent);
          throw new StillpointError('IO_ERROR', 'no progress');
        },
      }),
    );
    const destination: Options['destination'] = {
      store(source, run) {
        run.onStored(0.48);
        return options.destination.store(source, run);
      },
    };
    assert.equal((await runBackup({ ...options, destination })).job.status, 'succeeded');
    assert.deepEqual(marks, [10, 50, 95]);
    assert.equal(steps.filter((step) => step === 'warning: no progress').length, 3);
  });

  for (const who of ['source', 'destination'] as const) {
    test(`the ${who} that fails: the job tells it, and there is no record`, async (store) => {
      const { steps, options } = stage(store);
      const broken =
        who === 'source'
          ? { source: { open: failing('gone', 'SOURCE_UNAVAILABLE') } }
          : { destination: { store: failing('full', 'DESTINATION_NO_SPACE') } };
      const code = who === 'source' ? 'SOURCE_UNAVAILABLE' : 'DESTINATION_NO_SPACE';
      await rejectsWith(runBackup({ ...options, ...broken }), { code });
      const job = await onlyJob(store);
      includes(job, { status: 'failed', errorCode: code, backupRecordId: null });
      assert.ok(Number(job.finishedAtMs) >= job.startedAtMs);
      assert.deepEqual(await store.listRecords(REPOSITORY), []);
      assert.deepEqual(steps, who === 'source' ? [] : ['open', 'close']);
    });
  }

  test('of two failures the first one is told', async (store) => {
    const { steps, options } = stage(store, {
      source: { open: async () => ({ close: failing('the second') }) },
      destination: { store: failing('the first') },
    });
    await rejectsWith(runBackup(options), { message: 'the first' });
    includes(await onlyJob(store), { error: 'the first' });
    assert.ok(steps.includes('warning: the second'));
  });

  test('a run that is cancelled is interrupted, whatever it fails with then', async (store) => {
    const abort = new AbortController();
    const { options } = stage(store, {
      signal: abort.signal,
      destination: {
        store: (_, { signal }: BackupRun) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(new Error('cut off')));
            abort.abort();
          }),
      },
    });
    await rejectsWith(runBackup(options), { code: 'CANCELLED' });
    includes(await onlyJob(store), { status: 'interrupted', errorCode: 'CANCELLED' });
    assert.deepEqual(await store.listRecords(REPOSITORY), []);
  });

  test('a run is cancelled by whoever asks for it in the store', async (store) => {
    const { options } = stage(store);
    let id = '';
    const asked = {
      store: async (_: unknown, run: BackupRun): Promise<never> => {
        assert.equal(await store.askCancel(id), true);
        await new Promise((resolve) => run.signal.addEventListener('abort', resolve));
        throw new StillpointError('IO_ERROR', 'aborted');
      },
    };
    const onJobCreated = (job: Job) => {
      id = job.id;
    };
    await rejectsWith(runBackup({ ...options, destination: asked, onJobCreated }), {
      code: 'CANCELLED',
    });
    includes(await store.getJob(id), { status: 'interrupted' });
    assert.equal(await store.askCancel(id), false);
  });

  test('one that was cancelled before it began touches nothing', async (store) => {
    const { steps, options } = stage(store, { signal: AbortSignal.abort() });
    await rejectsWith(runBackup(options), { code: 'CANCELLED' });
    assert.deepEqual(steps, []);
    includes(await onlyJob(store), { status: 'interrupted' });
  });

  test('once the backup exists, a cancel has no effect', async (store) => {
    const abort = new AbortController();
    const { options } = stage(store, { signal: abort.signal });
    const destination: Options['destination'] = {
      async store(source, run) {
        const stored = await options.destination.store(source, run);
        abort.abort();
        return stored;
      },
    };
    const { job, record } = await runBackup({ ...options, destination });
    assert.equal(job.status, 'succeeded');
    assert.deepEqual(await store.getRecord(record.id), record);
  });

  test('a record that cannot be written: the job failed and says that the backup is published', async (store) => {
    const { options } = stage(withCalls(store, { createBackupRecord: failing('no record') }));
    await rejectsWith(runBackup(options), {
      code: 'BACKUP_NOT_RECORDED',
      message: /is published, but not recorded: no record$/,
    });
    includes(await onlyJob(store), { status: 'failed', errorCode: 'BACKUP_NOT_RECORDED' });
  });

  test('if only the last update of the job fails, the backup has succeeded all the same', async (store) => {
    const { steps, options } = stage(withCalls(store, { updateBackupJob: failingEnd(store, 'no update') }));
    const { record } = await runBackup(options);
    assert.deepEqual(await store.getRecord(record.id), record);
    assert.ok(steps.includes('warning: no update'));
  });

  test('a job whose end cannot be written blocks nobody, and the next reader ends it', async (store) => {
    const full = withCalls(store, { updateBackupJob: failingEnd(store, 'disk full') });
    const { options } = stage(full, { source: { open: failing('gone') } });
    await rejectsWith(runBackup(options), { message: 'gone' });
    includes(await onlyJob(store), { status: 'interrupted', errorCode: 'INTERRUPTED' });
    const { job } = await runBackup(stage(store).options);
    assert.equal(job.status, 'succeeded');
  });

  test('the end of a job is written again when writing it fails once', async (store) => {
    let failures = 1;
    const { options } = stage(
      withCalls(store, {
        async updateBackupJob(id, change) {
          if (change.status !== undefined && failures-- > 0) throw new StillpointError('IO_ERROR', 'busy');
          await store.updateBackupJob(id, change);
        },
      }),
      { source: { open: failing('gone') } },
    );
    await rejectsWith(runBackup(options), { message: 'gone' });
    includes(await onlyJob(store), { status: 'failed', error: 'gone' });
  });
}
