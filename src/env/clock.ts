import { randomUUID } from 'node:crypto';

export interface Clock {
  /** Milliseconds since 1970, never before it; may jump in either direction. For names and records. */
  nowMs(): number;
  /** Milliseconds since some moment; never goes back. For durations. */
  monotonicMs(): number;
  /** Calls `tick` again and again until the returned function is called; does not keep the process alive. */
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

/** For polling what nobody announces; where an event can be had, wait for that. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A moment of `Clock.nowMs` as ISO 8601 text in UTC. */
export const isoTime = (ms: number): string => new Date(ms).toISOString();
