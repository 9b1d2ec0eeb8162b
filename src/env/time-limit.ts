import { setMaxListeners } from 'node:events';

/** A timer takes no more. */
const LONGEST_MS = 2 ** 31 - 1;

export interface TimeLimit {
  readonly signal: AbortSignal;
  /** Lets go of the timer and of the other signals: the work is over. */
  end(): void;
}

/**
 * A signal that is aborted after `ms`, or with one of `others`. Not `AbortSignal.any` of an `AbortSignal.timeout`: Node.js may collect
 * that while somebody waits for it, and then it is never aborted.
 */
export function timeLimit(ms: number, ...others: readonly (AbortSignal | undefined)[]): TimeLimit {
  const controller = new AbortController();
  const signals = others.filter((other) => other !== undefined);
  const onAbort = ({ target }: Event) => controller.abort((target as AbortSignal).reason);
  const timer = setTimeout(
    () => controller.abort(new DOMException(`took longer than ${ms} ms`, 'TimeoutError')),
    Math.min(ms, LONGEST_MS),
  );
  timer.unref();
  for (const other of signals) {
    setMaxListeners(0, other); // many requests of a fleet may share it, and each goes with its limit
    other.addEventListener('abort', onAbort, { once: true });
    if (other.aborted) controller.abort(other.reason);
  }
  return {
    signal: controller.signal,
    end() {
      clearTimeout(timer);
      for (const other of signals) other.removeEventListener('abort', onAbort);
    },
  };
}

/** Does `work` under such a signal. */
export async function withTimeLimit<T>(
  ms: number,
  other: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { signal, end } = timeLimit(ms, other);
  try {
    return await work(signal);
  } finally {
    end();
  }
}
