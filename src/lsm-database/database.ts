import { join } from 'node:path';
import { LOCK } from '../engine/lsm/names.ts';
import { makeFolders, realPlace } from '../env/io.ts';
import type { HeldLock } from '../env/lock.ts';
import { StillpointError, systemCode, toStillpointError } from '../errors.ts';
import { checkArgument } from '../options/option.ts';
import { folder } from '../options/values.ts';
import { asBytes, type Bytes, type LsmOp, normalizeBatch } from './batch.ts';
import { CommitQueue } from './commit-queue.ts';
import { Compactor } from './compactor.ts';
import { Flusher } from './flusher.ts';
import { type LsmHold, takeHold } from './hold.ts';
import { type LsmOptions, type ResolvedOptions, resolveOptions } from './options.ts';
import { type IterateOptions, RangeIterator, resolveRange } from './range-iterator.ts';
import { noDatabase, openStore, refuseForeignFolder, replayLog } from './recovery.ts';
import type { Store } from './shared-state.ts';
import { Signal } from './wake-up.ts';

/** What a durable write answers: the place of its commit in the order of all, a decimal u64. */
export interface Committed {
  readonly lsn: string;
}

export interface LsmStats {
  /** `failed`: a write or a sync went wrong; reads go on, writes are refused until the database is opened again. */
  readonly state: 'open' | 'failed' | 'closed';
  /** Decimal u64 of the last commit. */
  readonly lastLsn: string;
  /** Decimal u64: commits up to this one are in tables, and `checkpoint.meta` says so. */
  readonly checkpointLsn: string;
  readonly tables: number;
  readonly tableBytes: number;
  /** Tables that were merged into another one and are not deleted yet. */
  readonly obsoleteTables: number;
  /** The current memtable, and how many frozen ones wait to be written. */
  readonly memtableBytes: number;
  readonly frozenMemtables: number;
  readonly logUsedBytes: number;
  readonly logBytes: number;
  readonly holds: number;
  /** Syncs of the log by commits since opening: fewer than commits where several shared one. */
  readonly commitGroups: number;
  /** Commits that opening replayed from the log. */
  readonly replayedEntries: number;
  /** Why it takes no more writes, if it does not. */
  readonly failure: StillpointError | undefined;
  /** Why the last compaction failed, if it did. It is tried again after the next flush. */
  readonly compactionFailure: StillpointError | undefined;
}

/**
 * An embedded database in one folder, in the `lsm` format, for one process at a time.
 *
 * Keys and values are bytes; keys are ordered bytewise. A write resolves when it is on disk, and whoever reads after that sees it.
 * Every method rejects with a `StillpointError`, and with a `TypeError` for a mistake in the call.
 *
 * ```
 *         openLsm                 close
 *  (none) ───────► open ─────────────────────► closing ───► closed
 *                   │ a write or a sync failed    ▲
 *                   └──────────► failed ──────────┘
 * ```
 *
 * `failed` refuses writes, checkpoints and compactions with what went wrong; reads and holds go on. `closing` refuses everything new.
 */
export class LsmDatabase {
  readonly #store: Store;
  readonly #queue: CommitQueue;
  readonly #flusher: Flusher;
  readonly #compactor: Compactor;
  readonly #changed = new Signal();
  readonly #lock: HeldLock;
  readonly #iterators = new Set<RangeIterator>();
  /** Checkpoints that were begun; `close` lets them end. */
  readonly #checkpoints = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;
  #replayed = 0;

  private constructor(store: Store, lock: HeldLock) {
    this.#store = store;
    this.#lock = lock;
    this.#compactor = new Compactor(store);
    this.#flusher = new Flusher(store, () => {
      this.#queue.wake();
      this.#compactor.consider();
    });
    this.#queue = new CommitQueue(store, this.#changed, () => this.#flusher.wake());
  }

  /** @internal Use `openLsm`. */
  static async open(dir: string, options: ResolvedOptions): Promise<LsmDatabase> {
    const lock = await acquireLock(dir, options);
    let store: Store;
    try {
      store = await openStore(dir, options);
    } catch (error) {
      await lock.release();
      throw error;
    }
    const database = new LsmDatabase(store, lock);
    try {
      database.#replayed = await replayLog(store, database.#flusher);
    } catch (error) {
      await database.close();
      throw error;
    }
    database.#queue.wake();
    database.#compactor.consider();
    return database;
  }

  get dir(): string {
    return this.#store.dir;
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /** The value of a key, a copy; undefined when there is none. A damaged block is `DATABASE_DAMAGED`. */
  async get(key: Bytes): Promise<Buffer | undefined> {
    const bytes = asBytes('key', key);
    this.#requireOpen();
    const inMemory = this.#store.getInMemory(bytes);
    if (inMemory !== undefined) return inMemory.type === 'put' ? Buffer.from(inMemory.value) : undefined;
    const view = this.#store.view();
    try {
      let newest: Awaited<ReturnType<(typeof view.tables)[0]['get']>>;
      for (const table of view.tables) {
        const entry = await table.get(bytes, this.#store.cache);
        // The timestamps in a footer have no checksum, so no table is skipped because of them.
        if (entry !== undefined && (newest === undefined || entry.timestamp >= newest.timestamp))
          newest = entry;
      }
      return newest?.type === 'put' ? Buffer.from(newest.value) : undefined;
    } catch (error) {
      throw toStillpointError(error);
    } finally {
      await view.release();
    }
  }

  put(key: Bytes, value: Bytes): Promise<Committed> {
    return this.batch([{ type: 'put', key, value }]);
  }

  /** Deleting an absent key is a commit too. */
  delete(key: Bytes): Promise<Committed> {
    return this.batch([{ type: 'delete', key }]);
  }

  /**
   * All operations or none of them; of several on one key the last one counts. Resolves when they are durable. An empty batch
   * writes nothing. `INVALID_REQUEST` when it is larger than the whole log, before anything is written. When a write to disk
   * fails, this and all later batches reject; whether this one is there after opening again is then unknown.
   */
  async batch(ops: readonly LsmOp[]): Promise<Committed> {
    const batch = normalizeBatch(ops);
    this.#requireOpen();
    if (batch.length === 0) return { lsn: String(this.#store.lastLsn) };
    return { lsn: String(await this.#queue.commit(batch)) };
  }

  /** Pairs in the order of keys, from the state of this moment; commits during the walk are not in it. Pairs are copies. */
  iterate(options: IterateOptions = {}): RangeIterator {
    const range = resolveRange(options);
    this.#requireOpen();
    const iterator = new RangeIterator(this.#store.view(), range, (ended) => this.#iterators.delete(ended));
    this.#iterators.add(iterator);
    return iterator;
  }

  /**
   * Resolves when every commit before this call is in tables, `checkpoint.meta` says so, and the log has given them up (while there
   * is a hold it does so at its release). Writes go on meanwhile. `CANCELLED` when the signal is aborted; what was begun goes
   * on behind it and does no harm.
   */
  async checkpoint(options: { readonly signal?: AbortSignal } = {}): Promise<Committed> {
    const { signal } = options;
    this.#requireOpen();
    throwIfAborted(signal);
    const work = this.#checkpoint();
    this.#checkpoints.add(work);
    const forget = (): void => void this.#checkpoints.delete(work);
    work.then(forget, forget);
    if (signal === undefined) return work;
    const { promise, resolve, reject } = withResolvers<Committed>();
    work.then(resolve, reject);
    const onAbort = (): void => reject(cancelled(signal));
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Merges all tables into one; without versions that are superseded and without tombstones. Reads and writes go on. */
  async compact(): Promise<void> {
    this.#requireOpen();
    await this.#compactor.run();
  }

  /**
   * Holds the state of this moment for a capture: it has every write that was acknowledged before this call, and no write without
   * all before it. Until `release` the files that the plan names keep it; a log that becomes full then makes writers wait.
   */
  async hold(): Promise<LsmHold> {
    this.#requireOpen();
    return this.#queue.between(() =>
      takeHold(this.#store, () => {
        this.#queue.wake();
        this.#changed.notify();
        void this.#compactor.sweep();
      }),
    );
  }

  stats(): LsmStats {
    const store = this.#store;
    const tableBytes = store.tables.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return {
      state: this.closed ? 'closed' : store.failure === undefined ? 'open' : 'failed',
      lastLsn: String(store.lastLsn),
      checkpointLsn: String(store.checkpoint.lsn),
      tables: store.tables.length,
      tableBytes,
      obsoleteTables: this.#compactor.obsoleteCount,
      memtableBytes: store.active.bytes,
      frozenMemtables: store.frozen.length,
      logUsedBytes: store.log.usedBytes,
      logBytes: store.log.ringBytes,
      holds: store.holds,
      commitGroups: this.#queue.groups,
      replayedEntries: this.#replayed,
      failure: store.failure,
      compactionFailure: this.#compactor.lastFailure,
    };
  }

  /**
   * Finishes the writes that wait, waits for holds to be released and for flushes to end, gives up a compaction under way, and frees
   * the folder for others. Walks that are not at their end reject from then on. Calling it again gives the same promise.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #checkpoint(): Promise<Committed> {
    const lsn = await this.#queue.between(() => {
      this.#store.freeze(this.#store.log.end);
      return this.#store.lastLsn;
    });
    await this.#flusher.flushTo(lsn);
    // The log's start moves before anything that runs between commits.
    await this.#queue.between(() => {
      if (this.#store.failure !== undefined) throw this.#store.failure;
    });
    return { lsn: String(lsn) };
  }

  async #close(): Promise<void> {
    await this.#queue.idle();
    await Promise.allSettled(this.#checkpoints);
    await this.#flusher.idle();
    while (this.#store.holds > 0) await this.#changed.wait();
    await this.#queue.idle(); // what a flush or a release has set going
    for (const iterator of [...this.#iterators]) await iterator.close();
    await this.#compactor.stop();
    await this.#compactor.close();
    const { tables, log } = this.#store;
    for (const table of tables) await table.release();
    await log.close();
    await this.#lock.release();
  }

  #requireOpen(): void {
    if (!this.closed) return;
    throw new StillpointError('DATABASE_CLOSED', `the database in ${this.dir} is closed`, { path: this.dir });
  }
}

/**
 * Opens the database in a folder, or makes a new one there. Directories of the original engine are read and written in place.
 *
 * Commits that were acknowledged are there, whatever ended the last process; the torn end of a write that was not acknowledged
 * is cut off. Rejects with `CONFLICT` when somebody has the folder open, `NOT_FOUND` when there is no database and
 * `createIfMissing` is false, `ENGINE_MISMATCH` when a new one would stand among files that are not its own,
 * `DATABASE_DAMAGED` naming the file when any part does not hold, `UNSUPPORTED_FILE` for links in place of files; nothing was
 * changed then.
 *
 * @param dir The data directory; made, with its parents, when absent.
 */
export async function openLsm(dir: string, options?: LsmOptions): Promise<LsmDatabase> {
  checkArgument('openLsm: dir', folder(), dir);
  const resolved = resolveOptions(options);
  try {
    return await LsmDatabase.open(await realPlace(resolved.fs, dir), resolved);
  } catch (error) {
    throw toStillpointError(error);
  }
}

async function acquireLock(dir: string, options: ResolvedOptions): Promise<HeldLock> {
  const { fs, locks, createIfMissing } = options;
  if (!createIfMissing && (await fs.inspect(dir)) === undefined) throw noDatabase(dir);
  await makeFolders(fs, dir);
  if (createIfMissing) await refuseForeignFolder(dir, options);
  const path = join(dir, LOCK);
  let lock: HeldLock | undefined;
  try {
    lock = await locks.tryAcquire(fs, path, 'exclusive');
  } catch (error) {
    if (systemCode(error) !== 'ELOOP') throw error;
    throw new StillpointError('UNSUPPORTED_FILE', `${path} is a link`, { path, cause: error });
  }
  if (lock !== undefined) return lock;
  throw new StillpointError('CONFLICT', `the database in ${dir} is open elsewhere`, {
    path: dir,
    hint: 'Another process, or another part of this one, has the database open: close it there first.',
  });
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw cancelled(signal);
}

const cancelled = (signal: AbortSignal): StillpointError =>
  new StillpointError('CANCELLED', 'the checkpoint was cancelled', { cause: signal.reason });

function withResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
