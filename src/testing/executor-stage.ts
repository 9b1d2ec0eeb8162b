import assert from 'node:assert/strict';
import type { ExecutorJobs, Job, JobStore } from '../backup/jobs/job-store.ts';
import type { RunBackupOptions } from '../backup/run-backup.ts';
import { systemClock } from '../env/clock.ts';
import { newUlid } from '../env/ulid.ts';
import { type ErrorCode, StillpointError } from '../errors.ts';

export type Options = RunBackupOptions<{ close(): Promise<void> }>;

/** Makes a test that gets an empty store, which is closed after it. */
export type WithStore = (name: string, check: (store: JobStore) => Promise<void>) => unknown;

export const REPOSITORY = newUlid(1);
export const STORE = newUlid(2);

/** A source and a destination that do what is asked of them, and tell in which order. */
export function stage(jobs: ExecutorJobs, change: Partial<Options> = {}) {
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

export const withCalls = (store: JobStore, change: Partial<ExecutorJobs>): ExecutorJobs => ({
  createBackupJob: (job) => store.createBackupJob(job),
  updateBackupJob: (id, update) => store.updateBackupJob(id, update),
  updateBackupJobProgress: (id, percent) => store.updateBackupJobProgress(id, percent),
  abandonBackupJob: (id) => store.abandonBackupJob(id),
  createBackupRecord: (record) => store.createBackupRecord(record),
  ...change,
});

export const failing =
  (message: string, code: ErrorCode = 'IO_ERROR') =>
  async () => {
    throw new StillpointError(code, message);
  };

/** The end of a job cannot be written, all else can. */
export const failingEnd =
  (store: JobStore, message: string): ExecutorJobs['updateBackupJob'] =>
  async (id, change) => {
    if (change.status !== undefined) throw new StillpointError('IO_ERROR', message);
    await store.updateBackupJob(id, change);
  };

export const onlyJob = async (store: JobStore): Promise<Job> => {
  const jobs = await store.listJobs();
  assert.equal(jobs.length, 1);
  return jobs[0]!;
};

/** Whether an object has at least these members with these values; a pattern stands for a text that it finds. */
export function includes(actual: unknown, expected: object): void {
  for (const [name, value] of Object.entries(expected)) {
    const found = (actual as Readonly<Record<string, unknown>> | undefined)?.[name];
    if (value instanceof RegExp) assert.match(String(found), value);
    else assert.deepEqual(found, value, name);
  }
}

export async function rejectsWith(work: Promise<unknown>, expected: object): Promise<void> {
  const outcome = await work.then(
    () => assert.fail('it resolved'),
    (error: unknown) => error,
  );
  includes(outcome, expected);
}
