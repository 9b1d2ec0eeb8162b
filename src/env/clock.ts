import { randomUUID } from 'node:crypto';

export interface Clock {
  /** Milliseconds since 1970; may jump in either direction. For names and records. */
  nowMs(): number;
  /** Milliseconds since some moment; never goes back. For durations. */
  monotonicMs(): number;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

export const newId = (): string => randomUUID();

/** For polling what nobody announces; where an event can be had, wait for that. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
