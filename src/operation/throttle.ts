import { adaptiveThrottle, watchHost } from '../env/adaptive-throttle.ts';
import { aFunction, type Checks, optional, optionsOf, wholeNumber } from '../env/checks.ts';
import { warn } from '../env/safe-calls.ts';
import type { RunControl } from '../env/worker-pool.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';

/** What a run may take of the machine that its host lives on. By default nothing holds it back. */
export interface ThrottleOptions {
  /**
   * So many bytes in a second at most, over all threads of the run, without bursts. Counted is what is copied or compared
   * (once, though it is read and written, or read twice) and what is read back for the proof: a proven copy of 1 GB counts as 2 GB.
   * At least 65,536; default: no limit.
   */
  readonly maxBytesPerSecond?: number;
  /**
   * One task at a time, unless `concurrency` says otherwise, and pauses while the host suffers: never more than nine tenths of
   * the time, so that the run takes ten times as long at the worst and always comes to its end. Default false.
   */
  readonly background?: boolean | BackgroundOptions;
  /** Tasks that compute at once, each in a thread of its own. Default: one for each processor; more is never of use. */
  readonly concurrency?: number;
}

export interface BackgroundOptions {
  /** The host suffers when its event loop is late by more than this. Default 10. */
  readonly maxEventLoopDelayMs?: number;
  /** The host says itself that it suffers, its writes being slow for instance. Asked about ten times a second. */
  readonly isBusy?: () => boolean;
}

/** A thread moves up to 1 MiB at a time, and waits for what it took too much: with less, for minutes. */
export const LEAST_BYTES_PER_SECOND = 64 * 1024;

const BACKGROUND: Checks<BackgroundOptions> = {
  maxEventLoopDelayMs: optional(wholeNumber(1)),
  isBusy: optional(aFunction),
};
const backgroundOptions = optionsOf(BACKGROUND, 'true, false or an object of options');

export const THROTTLE: Checks<ThrottleOptions> = {
  maxBytesPerSecond: optional(wholeNumber(LEAST_BYTES_PER_SECOND)),
  background: optional((name, value) => {
    if (typeof value !== 'boolean') backgroundOptions(name, value);
  }),
  concurrency: optional(wholeNumber(1)),
};

/** Does the work of a run with the manners asked for, in an environment that keeps them. */
export async function withThrottle<T>(
  env: Environment,
  control: RunControl,
  {
    maxBytesPerSecond,
    background = false,
    concurrency = background === false ? undefined : 1,
  }: ThrottleOptions,
  work: (env: Environment) => Promise<T>,
): Promise<T> {
  const { pool } = env;
  const most = Math.min(concurrency ?? pool.concurrency, pool.concurrency);
  const throttled: Environment = {
    ...env,
    pool: { ...pool, concurrency: most },
  };
  if (maxBytesPerSecond !== undefined || background !== false) control.pace.start(maxBytesPerSecond);
  if (!control.pace.isOn) pool.prepare(); // a thread is ready by the time that it is known what there is to do
  if (background === false) return work(throttled);
  const { maxEventLoopDelayMs = 10, isBusy } = background === true ? {} : background;
  const end = adaptiveThrottle(control.pace, watchHost(maxEventLoopDelayMs, safely(isBusy)), env.clock);
  try {
    return await work(throttled);
  } finally {
    end();
  }
}

/** Asking the host must not be able to bring it down: it is done in a timer. A function that fails is not asked again. */
function safely(isBusy: () => boolean = () => false): () => boolean {
  let isUsable = true;
  return () => {
    try {
      return isUsable && isBusy() === true;
    } catch (error) {
      isUsable = false;
      const why = error instanceof Error ? error.message : String(error);
      const message = `isBusy failed: ${why}; it is not asked again, and the host counts as not busy for the rest of this run`;
      warn(new StillpointError('HOOK_FAILED', message, { cause: error }));
      return false;
    }
  };
}
