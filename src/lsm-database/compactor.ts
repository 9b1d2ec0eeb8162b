import { join } from 'node:path';
import { tablePath } from '../engine/lsm/names.ts';
import { removeIfPresent } from '../env/io.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { TableEntry } from '../format/lsm/table-block.ts';
import { mergeNewest, TableCursor } from './merge.ts';
import type { Store } from './shared-state.ts';
import { TableFile } from './table-file.ts';
import { writeTable } from './table-writer.ts';

const BLOCKS_AT_ONCE = 64;

/**
 * Merges all tables into one that has the newest version of each key and no tombstones.
 *
 * Why tombstones may go: everything older than a table's entries is in tables too (memtables and later tables are newer), and all
 * tables take part, or stand in the queue of those to be deleted.
 *
 * Why no deleted key can come back: there is no list of live tables, so after a crash every file that is left counts. Say one
 * table has a key, a later one its tombstone, the merged one neither. Were the tombstone's file deleted first, the key would be
 * alive again. So old tables are deleted one by one, the one with the oldest commits first, each deletion durable before the
 * next, and those of an earlier merge before those of a later one: whatever is left contains, for each key, the newest
 * of the old versions, or nothing of that key at all.
 *
 * A failure to write here harms nothing, since the old tables stand: it is reported and the database goes on.
 */
export class Compactor {
  readonly #store: Store;
  /** In the order in which they must be deleted. */
  readonly #obsolete: TableFile[] = [];
  #running: Promise<void> | undefined;
  #sweeping: Promise<void> | undefined;
  #isStopped = false;
  #lastFailure: StillpointError | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Why the last merge or deletion in the background failed, if it did. */
  get lastFailure(): StillpointError | undefined {
    return this.#lastFailure;
  }

  /** Tables that are no longer in use and whose files are not deleted yet. */
  get obsoleteCount(): number {
    return this.#obsolete.length;
  }

  /** Closes what could not be deleted. The last call, after `stop`. */
  async close(): Promise<void> {
    for (const table of this.#obsolete.splice(0)) await table.release();
  }

  /** Starts merging in the background if there are enough tables. */
  consider(): void {
    if (this.#isStopped || this.#running !== undefined || this.#store.failure !== undefined) return;
    if (this.#store.tables.length < this.#store.options.compactAtTables) return;
    this.#start().catch(() => undefined); // kept in `lastFailure`
  }

  /** Merges all tables there are now; waits first for a merge that is under way. */
  async run(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => undefined);
    await this.#start();
  }

  /** Deletes what is obsolete, unless a hold keeps it. */
  async sweep(): Promise<void> {
    while (this.#sweeping !== undefined) await this.#sweeping;
    this.#sweeping = this.#deleteObsolete().finally(() => {
      this.#sweeping = undefined;
    });
    await this.#sweeping;
  }

  /** Gives up a merge under way and resolves when nothing goes on any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    while (this.#running !== undefined) await this.#running.catch(() => undefined);
    await this.sweep();
  }

  #start(): Promise<void> {
    this.#running = this.#mergeAll()
      .then(
        () => {
          this.#lastFailure = undefined;
        },
        (error: unknown) => {
          this.#lastFailure = toStillpointError(error);
          throw this.#lastFailure;
        },
      )
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running.then(() => this.sweep());
  }

  async #mergeAll(): Promise<void> {
    const store = this.#store;
    const { fs } = store.options;
    if (store.failure !== undefined) throw store.failure;
    const view = store.view();
    try {
      if (view.tables.length === 0) return;
      const inputs = view.tables.map((table) => ({
        table,
        cursor: new TableCursor(table, { blocksAtOnce: BLOCKS_AT_ONCE }),
      }));
      const id = store.takeTableId();
      try {
        const entries = withoutTombstones(mergeNewest(inputs.map(({ cursor }) => cursor)));
        const isWritten = await writeTable(fs, store.dir, id, entries, () => this.#checkStopped());
        for (const { table, cursor } of inputs) {
          if (BigInt(cursor.entryCount) === table.entryCount) continue;
          throw table.damaged(
            `its header counts ${table.entryCount} entries and it has ${cursor.entryCount}`,
          );
        }
        const merged = isWritten ? [await TableFile.open(fs, store.dir, id, false)] : [];
        store.replaceTables(view.tables, merged);
      } catch (error) {
        await this.#discard(id);
        throw error;
      }
      // The timestamps are those that were read: the ones in a table's footer are under no checksum.
      inputs.sort((a, b) => Number(a.cursor.maxTimestamp > b.cursor.maxTimestamp) * 2 - 1);
      this.#obsolete.push(...inputs.map(({ table }) => table));
    } finally {
      await view.release();
    }
  }

  async #discard(id: bigint): Promise<void> {
    const { dir, options, tablesFolder } = this.#store;
    try {
      await removeIfPresent(options.fs, join(tablesFolder, `.${id}.sst.tmp`));
      await removeIfPresent(options.fs, join(dir, tablePath(id)));
    } catch (error) {
      // A merged table that stays behind unseen would bring keys back that are deleted, and compacted away, later on.
      this.#store.fail(error);
    }
  }

  async #deleteObsolete(): Promise<void> {
    const store = this.#store;
    const { fs } = store.options;
    try {
      while (this.#obsolete.length > 0 && store.holds === 0 && store.failure === undefined) {
        const table = this.#obsolete[0]!;
        await removeIfPresent(fs, join(store.dir, table.path));
        try {
          await fs.syncFolder(store.tablesFolder);
        } catch (error) {
          throw store.fail(error); // the order of further deletions could not be kept
        }
        this.#obsolete.shift();
        await table.release();
      }
    } catch (error) {
      this.#lastFailure = toStillpointError(error);
    }
  }

  #checkStopped(): void {
    if (this.#isStopped)
      throw new StillpointError('DATABASE_CLOSED', 'the database was closed during the compaction');
  }
}

async function* withoutTombstones(entries: AsyncIterable<TableEntry>): AsyncGenerator<TableEntry, void> {
  for await (const entry of entries) if (entry.type === 'put') yield entry;
}
