import { adaptiveThrottle, watchHost } from '../env/adaptive-throttle.ts';
import type { RunControl } from '../env/run-control.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import { backgroundOptions, type ThrottleOptions } from '../options/throttle.ts';
import type { Environment } from '../snapshot/environment.ts';

/** Does the work of a run within its throttle options, in an environment that keeps to them. */
export async function withThrottle<T>(
  env: Environment,
  control: RunControl,
  {
    maxBytesPerSecond,
    background = false,
    pace = 'fast',
    medium = false,
    concurrency = background === false && pace === 'fast' ? undefined : 1,
  }: ThrottleOptions,
  work: (env: Environment) => Promise<T>,
): Promise<T> {
  const { pool } = env;
  const most = Math.min(concurrency ?? pool.concurrency, pool.concurrency);
  const throttled: Environment = {
    ...env,
    pool: { ...pool, concurrency: most },
  };
  // Quiet alone takes what an earlier proof has seen: where the file system admits no other way, all would be read each time.
  if (pace === 'quiet') control.goPastCache('all', medium);
  else if (medium) control.goPastCache('proof', true);
  if (maxBytesPerSecond !== undefined || background !== false) control.rateLimiter.start(maxBytesPerSecond);
  if (!control.rateLimiter.isOn) pool.prepare(); // a thread is ready once the work is planned
  if (background === false) return work(throttled);
  const given = background === true ? {} : background;
  const { maxEventLoopDelayMs, isBusy } = backgroundOptions.resolve('background', given);
  const end = adaptiveThrottle(
    control.rateLimiter,
    watchHost(maxEventLoopDelayMs, safely(isBusy)),
    env.clock,
  );
  try {
    return await work(throttled);
  } finally {
    end();
  }
}

/** It is called in a timer, where an error would end the host. A function that fails is not called again. */
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
