import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Clock } from './clock.ts';
import type { RateLimiter } from './rate-limiter.ts';

/** How long a run works before its effect on the host is judged again. */
const WORK_MS = 100;
const SHORTEST_PAUSE_MS = 100;
/** Nine times the work: a run takes at most ten times as long, and always ends. */
const LONGEST_PAUSE_MS = 9 * WORK_MS;

/** The host's state while the run works, since the last call of `reset`. */
export interface HostWatch {
  isSuffering(): boolean;
  reset(): void;
  stop(): void;
}

/**
 * Pauses a run after each stretch of work in which the host suffered. Each pause is twice as long as the one before while the host
 * goes on suffering, and half as long once it does not. Returns the function that stops this.
 */
export function adaptiveThrottle(
  rateLimiter: Pick<RateLimiter, 'pause'>,
  host: HostWatch,
  clock: Clock,
): () => void {
  let pauseMs = 0;
  let worksAgainAt = clock.monotonicMs();
  let isWorking = true;
  host.reset();
  const end = clock.every(WORK_MS, () => {
    if (clock.monotonicMs() < worksAgainAt) return;
    if (!isWorking) {
      isWorking = true;
      host.reset(); // what happened during the pause is not caused by the run
      return;
    }
    pauseMs = nextPause(pauseMs, host.isSuffering());
    host.reset();
    if (pauseMs === 0) return;
    isWorking = false;
    worksAgainAt = clock.monotonicMs() + pauseMs;
    rateLimiter.pause(pauseMs);
  });
  return () => {
    end();
    host.stop();
  };
}

function nextPause(lastMs: number, isSuffering: boolean): number {
  if (isSuffering) return Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, 2 * lastMs));
  return lastMs / 2 < SHORTEST_PAUSE_MS ? 0 : lastMs / 2;
}

const RESOLUTION_MS = 10;

/** The host suffers when the event loop of this thread is late, or when the host says that it is busy. */
export function watchHost(maxEventLoopDelayMs: number, isBusy: () => boolean): HostWatch {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  return {
    // Each value is a whole timer interval; what is over the resolution is the delay.
    isSuffering: () => delays.max / 1e6 - RESOLUTION_MS > maxEventLoopDelayMs || isBusy(),
    reset: () => delays.reset(),
    stop: () => void delays.disable(),
  };
}
