import { StillpointError } from '../errors.ts';
import { callSafely } from './safe-calls.ts';

/**
 * Runs `work` over all items, at most `limit` at once. Results are in the order of the items. After the first failure no
 * further item is started. The promise rejects only when everything under way has ended, so that the caller may remove
 * what was being written.
 */
export async function mapConcurrent<T, R>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  const failures: unknown[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length && failures.length === 0) {
      const index = next++;
      try {
        results[index] = await work(items[index]!);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
  return results;
}

/** Settles as `work`, or rejects with the signal's reason as soon as that is aborted; the outcome of `work` is ignored then. */
export function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

/** What hangs is waited for so long after a cancel. */
const GRACE_MS = 1_000;

/**
 * Settles as `work`. When the signal is aborted and `work` does not end soon by itself, rejects with `CANCELLED`; what it still
 * resolves to goes to `onLate`.
 */
export function orGivenUp<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  onLate: (value: T) => unknown = () => {},
): Promise<T> {
  if (signal === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    let isGivenUp = false;
    let grace: NodeJS.Timeout | undefined;
    const giveUp = () => {
      isGivenUp = true;
      reject(new StillpointError('CANCELLED', 'cancelled on request', { cause: signal.reason }));
    };
    const abort = () => {
      grace = setTimeout(giveUp, GRACE_MS);
    };
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    work
      .then((value) => {
        if (isGivenUp) callSafely(() => onLate(value));
        resolve(value);
      }, reject)
      .finally(() => {
        clearTimeout(grace);
        signal.removeEventListener('abort', abort);
      });
  });
}

/** Counting semaphore. */
export class Semaphore {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

const BATCH_BYTES = 16 * 1024 * 1024;
const BATCH_ITEMS = 64;

/** Groups items into batches, each worth a trip to a worker thread. The largest come first, so that the threads end together. */
export function inBatches<T>(items: readonly T[], bytesOf: (item: T) => number): T[][] {
  const batches: T[][] = [];
  let batch: T[] = [];
  let bytes = 0;
  for (const item of [...items].sort((a, b) => bytesOf(b) - bytesOf(a))) {
    if (batch.length > 0 && (batch.length === BATCH_ITEMS || bytes + bytesOf(item) > BATCH_BYTES)) {
      batches.push(batch);
      batch = [];
      bytes = 0;
    }
    batch.push(item);
    bytes += bytesOf(item);
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}
