import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { setImmediate, setTimeout } from 'node:timers/promises';

export interface Clock {
  /** Milliseconds since 1970, never negative. May jump in either direction. For names and records. */
  nowMs(): number;
  /** Milliseconds since an arbitrary moment; never goes back. For durations. */
  monotonicMs(): number;
  /** Calls `tick` at every interval until the returned function is called. Does not keep the process alive. */
  every(intervalMs: number, tick: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => Math.max(0, Date.now()),
  monotonicMs: () => performance.now(),
  every(intervalMs, tick) {
    const timer = setInterval(tick, intervalMs).unref();
    return () => clearInterval(timer);
  },
};

export const newId = (): string => randomUUID();

/** For polling and for rate limits; where there is an event, wait for that. Rejects with the signal's reason. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  // Many may wait on one signal at once. Node.js would take more than ten for a leak, and each goes with its pause.
  if (signal !== undefined) setMaxListeners(0, signal);
  await setTimeout(ms, undefined, signal && { signal }).catch(() => signal?.throwIfAborted());
}

/** Lets timers, requests and answers of this process have their turn. For long work that waits for nothing. */
export const yieldToEventLoop = (): Promise<void> => setImmediate();

/** A time of `Clock.nowMs` as ISO 8601 text in UTC. */
export const isoTime = (ms: number): string => new Date(ms).toISOString();
