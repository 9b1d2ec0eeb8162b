import { StillpointError } from '../errors.ts';
import { encodeEntry, entryBytes, type WalOp } from '../format/lsm/wal-entry.ts';
import type { LogEntry } from './ring-log.ts';
import type { Store } from './shared-state.ts';
import type { Signal } from './wake-up.ts';

/** A group of more than one batch is not larger than this. */
const GROUP_BYTES = 1024 * 1024;
/** Lengths in the log and in tables are u32, with some bytes around them. */
const MAX_BATCH_BYTES = 0xffff_ffff - 1024;
/** With so many memtables waiting for their tables, commits wait too. */
const MAX_FROZEN = 2;

interface Waiting {
  readonly ops: readonly WalOp[];
  /** What its entry takes in the log. */
  readonly bytes: number;
  resolve(lsn: bigint): void;
  reject(error: unknown): void;
}

/**
 * The only place that changes the log: one loop that runs while there is something to do, so that nobody needs a lock. A turn of
 * it moves the log's start if it may, runs what others asked to be run between two commits, and then commits as one group all
 * batches that wait at that moment: one write, one sync.
 *
 * When the log or the memory has no room, the active memtable is frozen for the flusher and the batches wait; nothing fails for it.
 */
export class CommitQueue {
  readonly #store: Store;
  readonly #changed: Signal;
  readonly #onFrozen: () => void;
  #waiting: Waiting[] = [];
  readonly #between: (() => void)[] = [];
  #running: Promise<void> | undefined;
  #groups = 0;

  /**
   * @param changed Whoever makes room notifies it.
   * @param onFrozen Called when a memtable was frozen, to have it written to a table.
   */
  constructor(store: Store, changed: Signal, onFrozen: () => void) {
    this.#store = store;
    this.#changed = changed;
    this.#onFrozen = onFrozen;
  }

  get groups(): number {
    return this.#groups;
  }

  /** Resolves to the LSN once the batch, not empty and normalized, is durable and visible. */
  commit(ops: readonly WalOp[]): Promise<bigint> {
    const { failure, log } = this.#store;
    if (failure !== undefined) return Promise.reject(failure);
    const bytes = entryBytes(ops, 'batch');
    const limit = Math.min(log.ringBytes, MAX_BATCH_BYTES);
    if (bytes > limit) {
      return Promise.reject(
        new StillpointError(
          'INVALID_REQUEST',
          `the batch takes ${bytes} bytes in the log and can never fit: it holds ${limit}`,
          {
            path: log.path,
            hint: 'Split the batch; the size of the log is fixed when a database is created.',
          },
        ),
      );
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ops, bytes, resolve, reject });
      this.wake();
    });
  }

  /** Runs something synchronous between two commits, after the log's start has moved as far as it may. */
  between<T>(task: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#between.push(() => {
        try {
          resolve(task());
        } catch (error) {
          reject(error);
        }
      });
      this.wake();
    });
  }

  /** Looks whether there is something to do. */
  wake(): void {
    if (this.#running === undefined) this.#running = this.#run();
    else this.#changed.notify();
  }

  /** Resolves when nothing waits any more. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    // Whoever calls in the same turn joins the first group.
    await Promise.resolve();
    for (;;) {
      await this.#guard(() => this.#moveStart());
      for (const task of this.#between.splice(0)) task();
      const { failure } = this.#store;
      if (failure !== undefined) {
        for (const { reject } of this.#waiting.splice(0)) reject(failure);
      }
      // New work has come while the start was moving, or none is left. No await stands before the end of the loop.
      if (this.#waiting.length === 0 && this.#between.length === 0) break;
      if (this.#waiting.length === 0) continue;
      if (this.#makeRoom()) await this.#commitGroup();
      else await this.#changed.wait();
    }
    this.#running = undefined;
  }

  async #moveStart(): Promise<void> {
    const store = this.#store;
    if (store.failure !== undefined || store.holds > 0 || store.flushedTo <= store.log.start) return;
    await store.log.moveStart(store.flushedTo);
  }

  /** Whether the first batch can be written now; if not, everything is under way that makes room for it. */
  #makeRoom(): boolean {
    const store = this.#store;
    const { log, frozen } = store;
    const isFull = this.#waiting[0]!.bytes > log.freeBytes;
    if (store.isActiveFull ? frozen.length < MAX_FROZEN : isFull && frozen.length === 0) {
      store.freeze(log.end);
      this.#onFrozen();
    }
    return !isFull && !store.isActiveFull;
  }

  #takeGroup(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const waiting of this.#waiting) {
      const isTooMuch = count > 0 && bytes + waiting.bytes > GROUP_BYTES;
      if (isTooMuch || bytes + waiting.bytes > this.#store.log.freeBytes) break;
      bytes += waiting.bytes;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #commitGroup(): Promise<void> {
    const store = this.#store;
    const group = this.#takeGroup();
    const lsns = groupLsns(store.lastLsn, group.length);
    const written = await this.#guard(async () => {
      const entries = group.map(
        ({ ops }, i): LogEntry => ({ lsn: lsns[i]!, bytes: encodeEntry(lsns[i]!, ops, 'batch') }),
      );
      await store.log.append(entries);
      this.#groups++;
    });
    for (const [i, { ops, resolve, reject }] of group.entries()) {
      if (!written) {
        reject(store.failure);
        continue;
      }
      store.apply(lsns[i]!, ops);
      resolve(lsns[i]!);
    }
  }

  /** Whether it went well; if not, the database has failed. */
  async #guard(task: () => Promise<void>): Promise<boolean> {
    try {
      await task();
      return true;
    } catch (error) {
      this.#store.fail(error);
      this.#changed.notify();
      return false;
    }
  }
}

/**
 * LSNs for one group: the first is even, the others odd. Like the engine's, they leave gaps: a transaction there takes a number when it
 * begins and one when it commits, so the first commit of a new database has 2, the next one 4. What the parity tells is
 * which entries shared a sync; recovery needs it, see `recovery.ts`.
 */
export function groupLsns(last: bigint, count: number): bigint[] {
  const first = last + (last % 2n === 0n ? 2n : 1n);
  return Array.from({ length: count }, (_, i) => (i === 0 ? first : first + 2n * BigInt(i) - 1n));
}
