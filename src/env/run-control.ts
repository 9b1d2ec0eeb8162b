import { StillpointError } from '../errors.ts';
import { RateLimiter } from './rate-limiter.ts';

/** The run that a task belongs to, as the task sees it. */
export interface TaskRun {
  /** Throws `CANCELLED` once the run is cancelled. Call it at least once a buffer. */
  checkCancelled(): void;
  /** Counts bytes that were copied or read back; call it after each buffer. In a worker thread it blocks to keep the rate limit. */
  addBytes(count: number): void;
  /** Counts bytes that were planned and cost nothing, as those of a hole: progress, without the rate limit. */
  skipBytes(count: number): void;
  /** What goes past the page cache, where the file system admits it. */
  readonly pastCache: PastCache;
}

/** `proof`: what is read for a proof. `all`: copying, too. */
export type PastCache = 'nothing' | 'proof' | 'all';
const PAST_CACHE: readonly PastCache[] = ['nothing', 'proof', 'all'];
const WANTS_MEDIUM = 4;

const LIMITER_AT = 16;

/** The state of one run, shared by all threads: cancelled or not, what goes past the page cache, bytes done, rate limit. */
export class RunControl implements TaskRun {
  readonly shared: SharedArrayBuffer;
  readonly rateLimiter: RateLimiter;
  readonly #cancelled: Int32Array;
  readonly #pastCache: Int32Array;
  readonly #bytes: BigInt64Array;
  readonly #onCancel = new Set<() => void>();
  #abort: AbortController | undefined;
  /** Files that are done, as the main thread counts them. */
  files = 0;

  constructor(shared = new SharedArrayBuffer(LIMITER_AT + RateLimiter.SIZE_BYTES)) {
    this.shared = shared;
    this.#cancelled = new Int32Array(shared, 0, 1);
    this.#pastCache = new Int32Array(shared, 4, 1);
    this.#bytes = new BigInt64Array(shared, 8, 1);
    this.rateLimiter = new RateLimiter(shared, LIMITER_AT);
  }

  get pastCache(): PastCache {
    return PAST_CACHE[this.#pastCache[0]! & ~WANTS_MEDIUM]!;
  }

  /** REQUIRES: no task has begun. */
  goPastCache(what: PastCache, wantsMedium: boolean): void {
    this.#pastCache[0] = PAST_CACHE.indexOf(what) | (wantsMedium ? WANTS_MEDIUM : 0);
  }

  /** Whether a proof counts only if it saw the device. */
  get wantsMedium(): boolean {
    return (this.#pastCache[0]! & WANTS_MEDIUM) !== 0;
  }

  cancel(): void {
    Atomics.store(this.#cancelled, 0, 1);
    Atomics.notify(this.#cancelled, 0);
    this.#abort?.abort(cancelled());
    for (const listener of this.#onCancel) listener();
  }

  /** Aborted when the run is cancelled in this thread. */
  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.isCancelled) this.#abort.abort(cancelled());
    }
    return this.#abort.signal;
  }

  /** Calls `listener` when the run is cancelled, in this thread, until the returned function is called. */
  onCancel(listener: () => void): () => void {
    this.#onCancel.add(listener);
    return () => this.#onCancel.delete(listener);
  }

  get isCancelled(): boolean {
    return Atomics.load(this.#cancelled, 0) === 1;
  }

  checkCancelled(): void {
    if (this.isCancelled) throw cancelled();
  }

  addBytes(count: number): void {
    Atomics.add(this.#bytes, 0, BigInt(count));
  }

  skipBytes(count: number): void {
    this.addBytes(count);
  }

  get bytes(): number {
    return Number(Atomics.load(this.#bytes, 0));
  }

  /** For a task in a worker thread: blocks to keep the rate limit. The main thread must never block. */
  get inThread(): TaskRun {
    return {
      checkCancelled: () => this.checkCancelled(),
      addBytes: (count) => {
        this.addBytes(count);
        this.rateLimiter.hold(count, this.#cancelled);
      },
      skipBytes: (count) => this.skipBytes(count),
      pastCache: this.pastCache,
    };
  }
}

const cancelled = () => new StillpointError('CANCELLED', 'cancelled on request');
