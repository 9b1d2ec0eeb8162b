import type { Destination } from '../destination/destination.ts';
import { openDestination } from '../destination/open.ts';
import {
  aFunction,
  aSignal,
  aText,
  type Checks,
  isPath,
  must,
  optional,
  withMethods,
} from '../env/checks.ts';
import { RunControl } from '../env/worker-pool.ts';
import { toStillpointError } from '../errors.ts';
import { anEnvironment } from '../operation/option-checks.ts';
import { Repository } from '../repository/repository.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';

/** How far work is. */
export interface BackupProgress {
  readonly phase: string;
  readonly bytesProcessed: number;
  /** 0 while it is not known. */
  readonly bytesTotal: number;
}

export interface BackupOptions {
  readonly environment?: Environment;
  /** Cancels the work; it then rejects with `CANCELLED`. */
  readonly signal?: AbortSignal;
  /** Called now and then. */
  readonly onProgress?: (progress: BackupProgress) => void;
}

export const COMMON: Checks<BackupOptions> = {
  environment: optional(anEnvironment),
  signal: optional(aSignal),
  onProgress: optional(aFunction),
};

/** A folder's path, `folder:/path`, or an opened destination. */
export type DestinationChoice = string | Destination;

const VERBS = ['put', 'get', 'head', 'list', 'delete', 'abortStale', 'probe'] as const;
const aDestinationObject = withMethods(
  'a destination: a path, a URL, or an object with the seven verbs',
  ...VERBS,
);

export const aDestination = (name: string, value: unknown): void => {
  if (typeof value === 'string') must('a path or a URL', isPath)(name, value);
  else aDestinationObject(name, value);
};

export const aBackup = aText;

export async function destinationOf(choice: DestinationChoice): Promise<Destination> {
  return typeof choice === 'string' ? openDestination(choice) : choice;
}

export const environmentOf = (options: BackupOptions): Environment =>
  options.environment ?? systemEnvironment;

export async function repositoryOf(env: Environment, choice: DestinationChoice): Promise<Repository> {
  return Repository.open(env, await destinationOf(choice));
}

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
  { signal, onProgress }: BackupOptions,
  look: (control: RunControl) => BackupProgress | Promise<BackupProgress>,
  work: (control: RunControl) => Promise<T>,
): Promise<T> {
  const control = new RunControl();
  const cancel = () => control.cancel();
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  let stop = () => {};
  if (onProgress !== undefined) {
    stop = env.clock.every(TICK_MS, () => {
      // A look that fails is no reason to fail: the work itself tells what is wrong.
      void Promise.resolve(look(control)).then(onProgress, () => undefined);
    });
  }
  try {
    return await work(control);
  } finally {
    stop();
    signal?.removeEventListener('abort', cancel);
  }
}
