import { join } from 'node:path';
import { CHECKPOINT } from '../engine/lsm/names.ts';
import { replaceFile } from '../env/io.ts';
import { encodeCheckpoint } from '../format/lsm/checkpoint.ts';
import type { Store } from './shared-state.ts';
import { TableFile } from './table-file.ts';
import { writeTable } from './table-writer.ts';

/**
 * Writes frozen memtables to tables, oldest first, one at a time. The order is what recovery relies on: the table is durable,
 * then `checkpoint.meta` says so, then the log may give the commits up. A crash in between repeats work and loses nothing.
 * A failure is the database's failure.
 */
export class Flusher {
  readonly #store: Store;
  readonly #onFlushed: () => void;
  #running: Promise<void> | undefined;
  /** `checkpoint.meta` is to say at least this, although there may be no memtable to flush. */
  #wantedLsn = 0n;

  /** @param onFlushed Called after each memtable, and after a failure. */
  constructor(store: Store, onFlushed: () => void) {
    this.#store = store;
    this.#onFlushed = onFlushed;
  }

  wake(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when nothing frozen is left, or the database has failed. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** Resolves once everything up to `lsn`, which must be frozen, is in tables and recorded. Rejects if that fails. */
  async flushTo(lsn: bigint): Promise<void> {
    const store = this.#store;
    if (lsn > this.#wantedLsn) this.#wantedLsn = lsn;
    while (store.checkpoint.lsn < lsn) {
      if (store.failure !== undefined) throw store.failure;
      this.wake();
      await this.#running;
    }
  }

  async #run(): Promise<void> {
    // Nothing happens in the caller's turn: it may be in the middle of a change.
    await Promise.resolve();
    const store = this.#store;
    try {
      while (store.failure === undefined && store.frozen.length > 0) {
        await this.#flushOldest();
        this.#onFlushed();
      }
      if (store.failure === undefined && store.checkpoint.lsn < this.#wantedLsn) {
        await this.#saveCheckpoint(this.#wantedLsn);
      }
    } catch (error) {
      store.fail(error);
      this.#onFlushed();
    } finally {
      this.#running = undefined;
    }
  }

  async #flushOldest(): Promise<void> {
    const store = this.#store;
    const { fs } = store.options;
    const { memtable, logEnd } = store.frozen[0]!;
    const id = store.takeTableId();
    await writeTable(fs, store.dir, id, memtable.ascending(memtable.lastLsn));
    store.addTable(await TableFile.open(fs, store.dir, id, false));
    store.frozen.shift();
    await this.#saveCheckpoint(memtable.lastLsn);
    store.flushedTo = logEnd;
  }

  async #saveCheckpoint(lsn: bigint): Promise<void> {
    const store = this.#store;
    const { fs, clock } = store.options;
    const bytes = encodeCheckpoint({ lsn, createdAtMs: BigInt(Math.max(0, Math.floor(clock.nowMs()))) });
    await replaceFile(fs, join(store.dir, CHECKPOINT), bytes);
    store.checkpoint = { lsn, bytes };
  }
}
