import { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import { DataDirectory } from '../operation/data-directory.ts';
import { optional } from '../options/option.ts';
import { callback, folder } from '../options/values.ts';
import type { StoreBackups } from '../repository/store-backups.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { Layout } from '../snapshot/store/layout.ts';
import { readStoreFile } from '../snapshot/store/store-identity.ts';
import type { Job, JobKind, JobStore } from './jobs/job-store.ts';
import { jobsOption, openJobs } from './jobs/open-jobs.ts';
import { type FromOptions, storeOf } from './list-backups.ts';
import { addressOfChoice, type BackupProgress, cancelledBy, environmentOf, followed } from './options.ts';
import { RunningJob } from './running-job.ts';

/** What calls take that read a repository and can be on record in a data directory. */
export const onRecordFields = () => ({
  dataDir: optional(folder(), {
    description: 'The data directory that the backups are of: the attempt is on record there, as a job.',
    without: 'it is not on record',
    flag: { value: 'dir' },
  }),
  jobs: jobsOption(),
  onJobCreated: optional(callback<(job: Job) => void>(), {
    description: 'With `dataDir`: called once the job is on record, before the repository is touched.',
  }),
});

interface OnRecordOptions extends FromOptions {
  readonly dataDir?: string | undefined;
  readonly jobs?: string | undefined;
  /** Changes nothing, not even the list of jobs. */
  readonly dryRun?: boolean | undefined;
  readonly onJobCreated?: ((job: Job) => void) | undefined;
}

/** Work that is ready to begin. */
interface Prepared<T> {
  /** That it reads; undefined where it reads several. */
  readonly backupId?: string;
  readonly look: (control: RunControl) => BackupProgress;
  readonly work: (control: RunControl) => Promise<T>;
  /** What is wrong with a result for which the call does not reject. The job is `failed` then. */
  readonly problem?: (result: T) => StillpointError | undefined;
}

/** Works on one store of a repository; with `dataDir` as a job of that directory. Rejects with what the work rejects with. */
export async function onRecord<T>(
  kind: JobKind,
  options: OnRecordOptions,
  prepare: (store: StoreBackups, jobs: JobStore | undefined) => Promise<Prepared<T>>,
): Promise<T> {
  const { dataDir, jobs: choice, onJobCreated, dryRun = false, ...from } = options;
  const env = environmentOf(from);
  const layout = dataDir === undefined ? undefined : await new DataDirectory(dataDir, env).layout();
  const storeId = layout && (await ownStore(env, layout));
  if (layout === undefined || storeId === undefined || dryRun) {
    const { look, work } = await prepare(await storeOf(from, storeId), undefined);
    return followed(env, from, look, work);
  }
  const jobs = await openJobs(env, layout, choice);
  try {
    const control = new RunControl();
    const repositoryUrl = addressOfChoice(from.from);
    const about = {
      jobs,
      clock: env.clock,
      kind,
      storeId,
      repositoryId: null,
      repositoryUrl,
      control,
      onJobCreated,
    };
    const running = await RunningJob.create(about);
    const attempt = async (): Promise<{ result: T; problem: StillpointError | undefined }> => {
      // A cancel by job ends the requests of a bucket as one by the caller does.
      const store = await storeOf({ ...from, signal: control.signal }, storeId);
      refuseOther(store, storeId, layout.dataDir);
      const { backupId, look, work, problem } = await prepare(store, jobs);
      await running.update({ repositoryId: store.repositoryId, ...(backupId !== undefined && { backupId }) });
      const onProgress = (progress: BackupProgress) => {
        running.tell(percentOf(progress));
        from.onProgress?.(progress);
      };
      const result = await followed(env, { onProgress }, look, work, control);
      return { result, problem: problem?.(result) };
    };
    const ended = await cancelledBy(from.signal, control, attempt).catch(async (error) => {
      throw await running.fail(error);
    });
    if (ended.problem === undefined) await running.succeed();
    else await running.fail(ended.problem);
    return ended.result;
  } finally {
    await jobs.close();
  }
}

const STILL_TO_END = 95;

const percentOf = ({ bytesProcessed, bytesTotal }: BackupProgress): number =>
  bytesTotal === 0 ? 0 : Math.min(STILL_TO_END, Math.floor((100 * bytesProcessed) / bytesTotal));

/** The store of a data directory; `NOT_FOUND` for one that was never backed up. */
export async function ownStore(env: Environment, layout: Layout): Promise<string> {
  const identity = await readStoreFile(env.fs, layout);
  if (identity !== undefined) return identity.store_id;
  throw new StillpointError('NOT_FOUND', `${layout.dataDir} was never backed up`, { path: layout.dataDir });
}

/** `INVALID_REQUEST` when the store is not that of the data directory. */
export function refuseOther(store: StoreBackups, own: string, dataDir: string): void {
  if (store.storeId === own) return;
  throw new StillpointError(
    'INVALID_REQUEST',
    `${dataDir} is store ${own}, which has no backup in ${store.destination.url}`,
    { path: dataDir },
  );
}
