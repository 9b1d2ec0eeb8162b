import { join } from 'node:path';
import { aFolder, aText, type Checks, checkOptions, oneOf, optional, wholeNumber } from '../env/checks.ts';
import { StillpointError } from '../errors.ts';
import { Lifecycle } from '../operation/lifecycle.ts';
import { JOB_KINDS, JOB_STATUSES, type Job, type JobFilter, type JobStore } from './jobs/job-store.ts';
import { type BackupOptions, COMMON, environmentOf, translated } from './options.ts';

export interface ListJobsOptions extends BackupOptions, JobFilter {}

const OPTIONS: Checks<ListJobsOptions> = {
  ...COMMON,
  kind: optional(oneOf(JOB_KINDS)),
  status: optional(oneOf(JOB_STATUSES)),
  repositoryId: optional(aText),
  limit: optional(wholeNumber(1)),
};

/** The attempts to back up a data directory, newest first. Those whose process died read as `interrupted`. */
export async function listJobs(
  dataDir: string,
  options: ListJobsOptions = {},
): Promise<{ readonly jobs: readonly Job[] }> {
  aFolder('listJobs: dataDir', dataDir);
  checkOptions('listJobs', options, OPTIONS);
  const { kind, status, repositoryId, limit } = options;
  return translated(async () => {
    const jobs = await withJobs(dataDir, options, (store) =>
      store.listJobs({
        ...(kind && { kind }),
        ...(status && { status }),
        ...(repositoryId && { repositoryId }),
        ...(limit && { limit }),
      }),
    );
    return { jobs: jobs ?? [] };
  });
}

/** One attempt; `NOT_FOUND`. */
export async function showJob(dataDir: string, id: string, options: BackupOptions = {}): Promise<Job> {
  aFolder('showJob: dataDir', dataDir);
  aText('showJob: id', id);
  checkOptions('showJob', options, COMMON);
  return translated(async () => {
    const job = await withJobs(dataDir, options, (store) => store.getJob(id));
    if (job !== undefined) return job;
    throw new StillpointError('NOT_FOUND', `there is no job ${JSON.stringify(id)} of ${dataDir}`, {
      hint: '`stillpoint jobs list DIR` shows what exists.',
    });
  });
}

/** Undefined where no job was ever kept: asking makes no file. */
async function withJobs<T>(
  dataDir: string,
  options: BackupOptions,
  work: (store: JobStore) => Promise<T>,
): Promise<T | undefined> {
  const environment = environmentOf(options);
  const layout = await new Lifecycle({ dataDir, environment }).layout();
  if ((await environment.fs.inspect(join(layout.lifecycle, 'jobs'))) === undefined) return undefined;
  const { openSqliteJobStore } = await import('./jobs/sqlite-job-store.ts');
  const store = await openSqliteJobStore(environment, layout);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
