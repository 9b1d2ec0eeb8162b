import { RunControl } from '../env/run-control.ts';
import { toStillpointError } from '../errors.ts';
import { withThrottle } from '../operation/throttle.ts';
import { optional } from '../options/option.ts';
import { signal } from '../options/snapshot.ts';
import type { ThrottleOptions } from '../options/throttle.ts';
import { callback } from '../options/values.ts';
import type { Environment } from '../snapshot/environment.ts';

/** What every long call takes. */
export const watchFields = () => ({
  signal: signal(),
  onProgress: optional(callback<(bytesProcessed: number, bytesTotal: number) => void>(), {
    description: 'Called about ten times a second with the bytes read so far and in all.',
  }),
});

interface WatchOptions extends ThrottleOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytesProcessed: number, bytesTotal: number) => void) | undefined;
}

const TICK_MS = 100;

/** Does work that the caller can cancel and watch, within its throttle options. */
export function watched<T>(
  env: Environment,
  options: WatchOptions,
  work: (env: Environment, control: RunControl, watch: (bytesTotal: number) => void) => Promise<T>,
): Promise<T> {
  return translated(async () => {
    const { signal, onProgress } = options;
    const control = new RunControl();
    const cancel = () => control.cancel();
    if (signal?.aborted) cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    let stop = () => {};
    const watch = (bytesTotal: number) => {
      if (onProgress !== undefined)
        stop = env.clock.every(TICK_MS, () => onProgress(control.bytes, bytesTotal));
    };
    try {
      return await withThrottle(env, control, options, (throttled) => work(throttled, control, watch));
    } finally {
      stop();
      signal?.removeEventListener('abort', cancel);
    }
  });
}

/** Every error as a `StillpointError`. */
export async function translated<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toStillpointError(error);
  }
}
