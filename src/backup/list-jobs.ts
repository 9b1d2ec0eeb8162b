import { StillpointError } from '../errors.ts';
import { DataDirectory } from '../operation/data-directory.ts';
import { checkArgument, OptionSet, type OptionsOf, optional, withDefault } from '../options/option.ts';
import { folder, oneOf, text, wholeNumber } from '../options/values.ts';
import { environmentOption, systemEnvironment } from '../snapshot/environment.ts';
import { readStoreFile } from '../snapshot/store/store-identity.ts';
import { type BackupRecord, JOB_KINDS, JOB_STATUSES, type Job, type JobStore } from './jobs/job-store.ts';
import { hasJobs, jobsOption, openJobs } from './jobs/open-jobs.ts';
import { translated } from './options.ts';

export const listJobsOptions = new OptionSet(() => ({
  environment: environmentOption(),
  jobs: jobsOption(),
  kind: optional(oneOf(JOB_KINDS), { description: 'Only jobs of this kind.', without: 'all' }),
  status: optional(oneOf(JOB_STATUSES), { description: 'Only jobs with this status.', without: 'all' }),
  repositoryId: optional(text(), { description: 'Only jobs with this repository.', without: 'all' }),
  before: optional(text(), {
    description: 'Only jobs that are older than the one with this id: the next page of a list.',
    without: 'from the newest on',
    flag: { value: 'job' },
  }),
  limit: withDefault(wholeNumber(1), () => 100, { description: 'Lists at most so many.' }),
}));
export type ListJobsOptions = OptionsOf<typeof listJobsOptions>;

export const showJobOptions = new OptionSet(() => ({ environment: environmentOption(), jobs: jobsOption() }));
export type ShowJobOptions = OptionsOf<typeof showJobOptions>;

/** The attempts to back up a data directory, newest first. Those whose process died read as `interrupted`. */
export async function listJobs(
  dataDir: string,
  options: ListJobsOptions = {},
): Promise<{ readonly jobs: readonly Job[] }> {
  checkArgument('listJobs: dataDir', folder(), dataDir);
  const { environment, jobs, ...filter } = listJobsOptions.resolve('listJobs', options);
  return translated(async () => {
    const found = await readJobStore(dataDir, { environment, jobs }, (store) => store.listJobs(filter));
    return { jobs: found ?? [] };
  });
}

/** The backups of a data directory that are on record, newest first. */
export async function listRecords(
  dataDir: string,
  options: ShowJobOptions = {},
): Promise<{ readonly records: readonly BackupRecord[] }> {
  checkArgument('listRecords: dataDir', folder(), dataDir);
  showJobOptions.check('listRecords', options);
  return translated(async () => {
    const found = await readJobStore(dataDir, options, (store) => store.listRecords());
    if (options.jobs === undefined) return { records: found ?? [] };
    // In PostgreSQL those of other directories are there too.
    const environment = options.environment ?? systemEnvironment;
    const layout = await new DataDirectory(dataDir, environment).layout();
    const own = (await readStoreFile(environment.fs, layout))?.store_id;
    return { records: (found ?? []).filter(({ storeId }) => storeId === own) };
  });
}

/** One attempt; `NOT_FOUND`. */
export async function showJob(dataDir: string, id: string, options: ShowJobOptions = {}): Promise<Job> {
  checkArgument('showJob: dataDir', folder(), dataDir);
  checkArgument('showJob: id', text(), id);
  showJobOptions.check('showJob', options);
  return translated(async () => {
    const job = await readJobStore(dataDir, options, (store) => store.getJob(id));
    if (job !== undefined) return job;
    throw new StillpointError('NOT_FOUND', `there is no job ${JSON.stringify(id)} of ${dataDir}`, {
      hint: '`stillpoint jobs list DIR` shows what exists.',
    });
  });
}

/**
 * Asks whoever works on a job to end it, in whatever process; it reads as `interrupted` once that is done. A backup that exists already
 * stays. `NOT_FOUND`; `CONFLICT` when the job is over.
 */
export async function cancelJob(dataDir: string, id: string, options: ShowJobOptions = {}): Promise<Job> {
  const job = await showJob(dataDir, id, options);
  return translated(async () => {
    if (await readJobStore(dataDir, options, (store) => store.askCancel(id))) return job;
    throw new StillpointError('CONFLICT', `job ${id} is over: ${job.status}`, {
      hint: '`stillpoint jobs list DIR --status running` shows what runs.',
    });
  });
}

/** Undefined where no job was ever kept: asking makes no file. */
export async function readJobStore<T>(
  dataDir: string,
  { environment, jobs }: ShowJobOptions,
  work: (store: JobStore) => Promise<T>,
): Promise<T | undefined> {
  const env = environment ?? systemEnvironment;
  const layout = await new DataDirectory(dataDir, env).layout();
  if (jobs === undefined && !(await hasJobs(env, layout))) return undefined;
  const store = await openJobs(env, layout, jobs);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
