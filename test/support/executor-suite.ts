import { describe, expect, test } from 'vitest';
import type { BackupRecord, ExecutorJobs, Job, JobStore } from '../../src/backup/jobs/job-store.ts';
import { type BackupRun, type RunBackupOptions, runBackup } from '../../src/backup/run-backup.ts';
import { systemClock } from '../../src/env/clock.ts';
import { newUlid, ULID } from '../../src/env/ulid.ts';
import { StillpointError } from '../../src/errors.ts';

type Options = RunBackupOptions<{ close(): Promise<void> }>;

/** What a job store and the executor together must do. `open` makes an empty one for one test, for the jobs of that store. */
export function executorSuite(name: string, open: (storeId: string) => Promise<JobStore>): void {
  const REPOSITORY = newUlid(1);
  const STORE = newUlid(2);

  /** A source and a destination that do what is asked of them, and tell in which order. */
  function stage(jobs: ExecutorJobs, change: Partial<Options> = {}) {
    const steps: string[] = [];
    const options: Options = {
      source: {
        async open() {
          steps.push('open');
          return {
            async close() {
              steps.push('close');
            },
          };
        },
      },
      destination: {
        async store(_, run) {
          steps.push('store');
          return { sizeBytes: 42, manifestPath: `backups/${run.backupId}/manifest`, sha256: 'ab'.repeat(32) };
        },
      },
      jobs,
      clock: systemClock,
      repositoryId: REPOSITORY,
      storeId: STORE,
      onWarning: ({ message }) => steps.push(`warning: ${message}`),
      ...change,
    };
    return { steps, options };
  }

  const withCalls = (store: JobStore, change: Partial<ExecutorJobs>): ExecutorJobs => ({
    createBackupJob: (job) => store.createBackupJob(job),
    updateBackupJob: (id, update) => store.updateBackupJob(id, update),
    updateBackupJobProgress: (id, percent) => store.updateBackupJobProgress(id, percent),
    abandonBackupJob: (id) => store.abandonBackupJob(id),
    createBackupRecord: (record) => store.createBackupRecord(record),
    ...change,
  });

  const failing =
    (message: string, code = 'IO_ERROR' as const) =>
    async () => {
      throw new StillpointError(code, message);
    };

  /** The end of a job cannot be written, all else can. */
  const failingEnd =
    (store: JobStore, message: string): ExecutorJobs['updateBackupJob'] =>
    async (id, change) => {
      if (change.status !== undefined) throw new StillpointError('IO_ERROR', message);
      await store.updateBackupJob(id, change);
    };

  const onlyJob = async (store: JobStore): Promise<Job> => {
    const jobs = await store.listJobs();
    expect(jobs).toHaveLength(1);
    return jobs[0]!;
  };

  async function opened(): Promise<JobStore> {
    const store = await open(STORE);
    const { onTestFinished } = await import('vitest');
    onTestFinished(() => store.close());
    return store;
  }

  describe(name, () => {
    test('a backup leaves a job that succeeded and the record that it can be restored', async () => {
      const store = await opened();
      const { steps, options } = stage(store);
      const { job, record } = await runBackup(options);
      expect(job).toMatchObject({
        kind: 'backup',
        status: 'succeeded',
        progress: 100,
        backupRecordId: record.id,
      });
      expect(record.id).toMatch(ULID);
      expect(record.id).toBe(job.backupId);
      expect(record.id).not.toBe(job.id);
      expect(await store.getJob(job.id)).toEqual(job);
      expect(await store.getRecord(record.id)).toEqual(record);
      expect(record).toMatchObject({
        repositoryId: REPOSITORY,
        storeId: STORE,
        sizeBytes: 42,
        state: 'present',
      });
      expect(record.manifestPath).toBe(`backups/${record.id}/manifest`);
      expect(steps).toEqual(['open', 'store', 'close']);
    });

    test.each(['source', 'destination', 'jobs', 'clock', 'repositoryId', 'storeId'] as const)(
      'without %s there is an error that names it, and no job',
      async (missing) => {
        const store = await opened();
        const { steps, options } = stage(store);
        const { [missing]: _, ...rest } = options;
        await expect(runBackup(rest as never)).rejects.toThrow(missing);
        expect(steps).toEqual([]);
        expect(await store.listJobs()).toEqual([]);
      },
    );

    test('a job row that cannot be written: an error, and nothing is touched', async () => {
      const store = await opened();
      const { steps, options } = stage(withCalls(store, { createBackupJob: failing('no row') }));
      await expect(runBackup(options)).rejects.toMatchObject({ message: 'no row' });
      expect(steps).toEqual([]);
      expect(await store.listRecords(REPOSITORY)).toEqual([]);
    });

    test('onJobCreated is called once, when the row stands and before the source is touched', async () => {
      const store = await opened();
      const { steps, options } = stage(store);
      let seen: Promise<Job | undefined> | undefined;
      await runBackup({
        ...options,
        onJobCreated(job) {
          steps.push('created');
          seen = store.getJob(job.id);
        },
      });
      expect(steps).toEqual(['created', 'open', 'store', 'close']);
      expect(await seen).toMatchObject({ kind: 'backup' });
    });

    test('onJobCreated that throws is a warning of the process, and the run goes on', async () => {
      const store = await opened();
      const { options } = stage(store);
      const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
      const { job } = await runBackup({
        ...options,
        onJobCreated: () => {
          throw new Error('of the caller');
        },
      });
      expect(job.status).toBe('succeeded');
      expect((await warned).message).toBe('of the caller');
    });

    test('progress goes by the marks 10, 50 and 95, and its failure is a warning and nothing else', async () => {
      const store = await opened();
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
      expect((await runBackup({ ...options, destination })).job.status).toBe('succeeded');
      expect(marks).toEqual([10, 50, 95]);
      expect(steps.filter((step) => step === 'warning: no progress')).toHaveLength(3);
    });

    test.each(['source', 'destination'] as const)(
      'the %s that fails: the job tells it, and there is no record',
      async (who) => {
        const store = await opened();
        const { steps, options } = stage(store);
        const broken =
          who === 'source'
            ? { source: { open: failing('gone', 'SOURCE_UNAVAILABLE' as never) } }
            : { destination: { store: failing('full', 'DESTINATION_NO_SPACE' as never) } };
        const code = who === 'source' ? 'SOURCE_UNAVAILABLE' : 'DESTINATION_NO_SPACE';
        await expect(runBackup({ ...options, ...broken })).rejects.toMatchObject({ code });
        const job = await onlyJob(store);
        expect(job).toMatchObject({ status: 'failed', errorCode: code, backupRecordId: null });
        expect(job.finishedAtMs).toBeGreaterThanOrEqual(job.startedAtMs);
        expect(await store.listRecords(REPOSITORY)).toEqual([]);
        expect(steps).toEqual(who === 'source' ? [] : ['open', 'close']);
      },
    );

    test('of two failures the first one is told', async () => {
      const store = await opened();
      const { steps, options } = stage(store, {
        source: { open: async () => ({ close: failing('the second') }) },
        destination: { store: failing('the first') },
      });
      await expect(runBackup(options)).rejects.toMatchObject({ message: 'the first' });
      expect(await onlyJob(store)).toMatchObject({ error: 'the first' });
      expect(steps).toContain('warning: the second');
    });

    test('a run that is cancelled is interrupted, whatever it fails with then', async () => {
      const store = await opened();
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
      await expect(runBackup(options)).rejects.toMatchObject({ code: 'CANCELLED' });
      expect(await onlyJob(store)).toMatchObject({ status: 'interrupted', errorCode: 'CANCELLED' });
      expect(await store.listRecords(REPOSITORY)).toEqual([]);
    });

    test('a run is cancelled by whoever asks for it in the store', async () => {
      const store = await opened();
      const { options } = stage(store);
      let id = '';
      const asked = {
        store: async (_: unknown, run: BackupRun): Promise<never> => {
          expect(await store.askCancel(id)).toBe(true);
          await new Promise((resolve) => run.signal.addEventListener('abort', resolve));
          throw new Error('aborted');
        },
      };
      const onJobCreated = (job: Job) => {
        id = job.id;
      };
      await expect(runBackup({ ...options, destination: asked, onJobCreated })).rejects.toMatchObject({
        code: 'CANCELLED',
      });
      expect(await store.getJob(id)).toMatchObject({ status: 'interrupted' });
      expect(await store.askCancel(id)).toBe(false);
    });

    test('one that was cancelled before it began touches nothing', async () => {
      const store = await opened();
      const { steps, options } = stage(store, { signal: AbortSignal.abort() });
      await expect(runBackup(options)).rejects.toMatchObject({ code: 'CANCELLED' });
      expect(steps).toEqual([]);
      expect(await onlyJob(store)).toMatchObject({ status: 'interrupted' });
    });

    test('once the backup exists, a cancel has no effect', async () => {
      const store = await opened();
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
      expect(job.status).toBe('succeeded');
      expect(await store.getRecord(record.id)).toEqual(record);
    });

    test('a record that cannot be written: the job failed and says that the backup is published', async () => {
      const store = await opened();
      const { options } = stage(withCalls(store, { createBackupRecord: failing('no record') }));
      await expect(runBackup(options)).rejects.toMatchObject({
        code: 'BACKUP_NOT_RECORDED',
        message: expect.stringMatching(/is published, but not recorded: no record$/),
      });
      expect(await onlyJob(store)).toMatchObject({ status: 'failed', errorCode: 'BACKUP_NOT_RECORDED' });
    });

    test('if only the last update of the job fails, the backup has succeeded all the same', async () => {
      const store = await opened();
      const { steps, options } = stage(withCalls(store, { updateBackupJob: failingEnd(store, 'no update') }));
      const { record } = await runBackup(options);
      expect(await store.getRecord(record.id)).toEqual(record);
      expect(steps).toContain('warning: no update');
    });

    test('a job whose end cannot be written blocks nobody, and the next reader ends it', async () => {
      const store = await opened();
      const full = withCalls(store, { updateBackupJob: failingEnd(store, 'disk full') });
      const { options } = stage(full, { source: { open: failing('gone') } });
      await expect(runBackup(options)).rejects.toMatchObject({ message: 'gone' });
      expect(await onlyJob(store)).toMatchObject({ status: 'interrupted', errorCode: 'INTERRUPTED' });
      const { job } = await runBackup(stage(store).options);
      expect(job.status).toBe('succeeded');
    });

    test('the end of a job is written again when writing it fails once', async () => {
      const store = await opened();
      let failures = 1;
      const { options } = stage(
        withCalls(store, {
          async updateBackupJob(id, change) {
            if (change.status !== undefined && failures-- > 0) throw new Error('busy');
            await store.updateBackupJob(id, change);
          },
        }),
        { source: { open: failing('gone') } },
      );
      await expect(runBackup(options)).rejects.toMatchObject({ message: 'gone' });
      expect(await onlyJob(store)).toMatchObject({ status: 'failed', error: 'gone' });
    });

    test('a second backup of the store is refused, and the answer names the first', async () => {
      const store = await opened();
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
      expect(await second).toMatchObject({
        code: 'BACKUP_ALREADY_RUNNING',
        message: expect.stringContaining(job.id),
        data: { jobId: job.id },
      });
      await runBackup(options);
      expect((await store.listJobs()).map(({ status }) => status)).toEqual(['succeeded', 'succeeded']);
    });

    test('a second backup is refused also where the identity of the directory has changed since', async () => {
      const store = await opened();
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
      expect(await second).toMatchObject({ code: 'BACKUP_ALREADY_RUNNING' });
    });

    test('the store and the id of a backup are those that hold when no other attempt can run', async () => {
      const store = await opened();
      const { options } = stage(store);
      const OTHER = newUlid(3);
      const begin = async () => {
        const excluded = runBackup(options).then(
          () => 'ran',
          ({ code }) => code,
        );
        expect(await excluded).toBe('BACKUP_ALREADY_RUNNING');
        return { storeId: OTHER };
      };
      const { job, record } = await runBackup({ ...options, begin });
      expect(record.storeId).toBe(OTHER);
      expect(await store.getJob(job.id)).toMatchObject({ storeId: OTHER, backupId: record.id });
    });

    test('an attempt that was taken for dead stops before its backup exists', async () => {
      const store = await opened();
      const { steps, options } = stage(store);
      const destination: Options['destination'] = {
        async store(source, run) {
          const [{ id }] = (await store.listJobs()) as [Job];
          await store.updateBackupJob(id, { status: 'interrupted' });
          await run.confirmAlive();
          return options.destination.store(source, run);
        },
      };
      await expect(runBackup({ ...options, destination })).rejects.toMatchObject({ code: 'CONFLICT' });
      expect(steps).not.toContain('store');
    });

    test('ids of backups sort by their order, also when the clock was set back', async () => {
      const store = await opened();
      const later = newUlid(Date.now() + 1_000_000);
      const { options } = stage(store, {
        begin: async () => ({ storeId: STORE, afterBackupId: later }),
      });
      const { record } = await runBackup(options);
      expect(record.id > later).toBe(true);
    });

    test('a job that is over never changes again', async () => {
      const store = await opened();
      const { job } = await runBackup(stage(store).options);
      await expect(store.updateBackupJob(job.id, { status: 'failed' })).rejects.toMatchObject({
        code: 'CONFLICT',
      });
      await store.updateBackupJobProgress(job.id, 3);
      expect(await store.getJob(job.id)).toEqual(job);
    });

    test('a record that is written twice is one record', async () => {
      const store = await opened();
      const { record } = await runBackup(stage(store).options);
      await store.createBackupRecord(record);
      expect(await store.listRecords(REPOSITORY)).toEqual([record]);
    });

    test('jobs are listed newest first, by kind and status, up to a limit', async () => {
      const store = await opened();
      const ids: string[] = [];
      for (let i = 0; i < 5; i++) {
        const { options } = stage(store, i === 2 ? { source: { open: failing('gone') } } : {});
        await runBackup(options).catch(() => undefined);
        ids.unshift((await store.listJobs({ limit: 1 }))[0]!.id);
      }
      expect((await store.listJobs()).map(({ id }) => id)).toEqual([...ids].sort().reverse());
      expect(await store.listJobs({ limit: 2 })).toHaveLength(2);
      expect(await store.listJobs({ status: 'failed' })).toHaveLength(1);
      expect(await store.listJobs({ kind: 'restore' })).toEqual([]);
      expect(await store.listJobs({ repositoryId: 'another' })).toEqual([]);
      expect(await store.getJob('unknown')).toBeUndefined();
      expect(await store.getRecord('unknown')).toBeUndefined();
    });
  });
}

export const aRecord = (repositoryId: string, id: string): BackupRecord => ({
  id,
  repositoryId,
  storeId: newUlid(2),
  createdAtMs: 5,
  sizeBytes: 2 ** 40,
  state: 'present',
  manifestPath: 'somewhere',
  sha256: '00'.repeat(32),
});
