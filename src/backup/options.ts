import * as z from 'zod/mini';
import type { Destination } from '../destination/destination.ts';
import { limited } from '../destination/limited.ts';
import { addressOf, openDestination } from '../destination/open.ts';
import { RunControl } from '../env/run-control.ts';
import { toStillpointError } from '../errors.ts';
import { OptionSet, type OptionsOf, optional } from '../options/option.ts';
import { signal } from '../options/snapshot.ts';
import { LEAST_BYTES_PER_SECOND } from '../options/throttle.ts';
import { callback, hasMethods, nested, wholeNumber } from '../options/values.ts';
import { Repository } from '../repository/repository.ts';
import { type Environment, environmentOption, systemEnvironment } from '../snapshot/environment.ts';
import { encryptionOptions, readUnlockers } from './encryption.ts';

/** How far work is. */
export interface BackupProgress {
  readonly phase: string;
  readonly bytesProcessed: number;
  /** 0 while it is not known. */
  readonly bytesTotal: number;
}

/** What every call that works with a repository takes. */
export const backupFields = () => ({
  environment: environmentOption(),
  encryption: optional(nested(encryptionOptions.fields), {
    description: 'Opens a repository that is encrypted.',
    without: 'the repository is in clear',
  }),
  limitUpload: optional(wholeNumber(LEAST_BYTES_PER_SECOND), {
    description: 'Sends at most this many bytes a second to the repository.',
    unit: 'bytes',
    without: 'no limit',
  }),
  limitDownload: optional(wholeNumber(LEAST_BYTES_PER_SECOND), {
    description: 'Reads at most this many bytes a second from the repository.',
    unit: 'bytes',
    without: 'no limit',
  }),
  signal: signal(),
  onProgress: optional(callback<(progress: BackupProgress) => void>(), {
    description: 'Called about ten times a second with the phase and the bytes done so far and in all.',
  }),
});

export const backupOptions = new OptionSet(backupFields);
export type BackupOptions = OptionsOf<typeof backupOptions>;

/** A folder's path, `folder:/path`, or an opened destination. */
export type DestinationChoice = string | Destination;

const VERBS = ['put', 'get', 'head', 'list', 'delete', 'abortStale', 'probe'] as const;

export const destinationChoice = () =>
  z.custom<DestinationChoice>(
    (value) => (typeof value === 'string' ? value !== '' && !value.includes('\0') : hasMethods(value, VERBS)),
    'must be a path, a URL, or a destination with its seven verbs',
  );

export async function destinationOf(choice: DestinationChoice, signal?: AbortSignal): Promise<Destination> {
  return typeof choice === 'string' ? openDestination(choice, { signal }) : choice;
}

/** For the row of a job. Undefined for a destination of the caller's own. */
export const addressOfChoice = (choice: DestinationChoice): string | undefined =>
  typeof choice === 'string' ? addressOf(choice) : undefined;

export const environmentOf = ({ environment }: Pick<BackupOptions, 'environment'>): Environment =>
  environment ?? systemEnvironment;

export async function repositoryOf(
  env: Environment,
  choice: DestinationChoice,
  {
    encryption,
    limitUpload: upload,
    limitDownload: download,
    signal,
  }: Pick<BackupOptions, 'encryption' | 'limitUpload' | 'limitDownload' | 'signal'>,
): Promise<Repository> {
  const unlockers = await readUnlockers(env.fs, encryption);
  return Repository.open(env, limited(await destinationOf(choice, signal), { upload, download }), unlockers);
}

/** Every error as a `StillpointError`. */
export async function translated<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toStillpointError(error);
  }
}

const TICK_MS = 100;

/** Lets the caller cancel the work and see how far it is. `look` is asked about ten times a second. */
export async function followed<T>(
  env: Environment,
  { signal, onProgress }: Pick<BackupOptions, 'signal' | 'onProgress'>,
  look: (control: RunControl) => BackupProgress | Promise<BackupProgress>,
  work: (control: RunControl) => Promise<T>,
  control = new RunControl(),
): Promise<T> {
  let stop = () => {};
  if (onProgress !== undefined) {
    stop = env.clock.every(TICK_MS, () => {
      // Ignore a look that fails: the work itself reports the error.
      void Promise.resolve(look(control)).then(onProgress, () => undefined);
    });
  }
  try {
    return await cancelledBy(signal, control, () => work(control));
  } finally {
    stop();
  }
}

/** Cancels `control` when `signal` is aborted while the work goes on. */
export async function cancelledBy<T>(
  signal: AbortSignal | undefined,
  control: RunControl,
  work: () => Promise<T>,
): Promise<T> {
  const cancel = () => control.cancel();
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    return await work();
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
