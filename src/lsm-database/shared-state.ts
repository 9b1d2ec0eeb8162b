import { join } from 'node:path';
import { TABLES } from '../engine/lsm/names.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { TableEntry } from '../format/lsm/table-block.ts';
import type { WalOp } from '../format/lsm/wal-entry.ts';
import { BlockCache } from './block-cache.ts';
import { Memtable } from './memtable.ts';
import type { ResolvedOptions } from './options.ts';
import type { RingLog } from './ring-log.ts';
import type { TableFile } from './table-file.ts';

/** A memtable that takes no more commits and waits to be written to a table. */
export interface FrozenMemtable {
  readonly memtable: Memtable;
  /** Position in the log behind its last commit. */
  readonly logEnd: number;
}

/** One state of the database, readable while the database goes on. It uses its tables until `release`. */
export interface View {
  readonly lsn: bigint;
  /** Newest first. */
  readonly memtables: readonly Memtable[];
  readonly tables: readonly TableFile[];
  release(): Promise<void>;
}

/**
 * What the parts of an open database share: where the data is at this moment. Changes are synchronous, so that whoever looks
 * between two awaits sees one state. A commit is in the active memtable, in a frozen one or in a table; in the log it is
 * until the start moves past it, which comes last.
 */
export class Store {
  readonly dir: string;
  readonly options: ResolvedOptions;
  readonly log: RingLog;
  readonly cache: BlockCache;
  active = new Memtable();
  /** Oldest first. */
  readonly frozen: FrozenMemtable[] = [];
  /** By id, ascending. */
  tables: readonly TableFile[];
  /** Of the last commit that is durable and visible. */
  lastLsn: bigint;
  /** What `checkpoint.meta` holds, byte for byte. */
  checkpoint: { readonly lsn: bigint; readonly bytes: Buffer | undefined };
  /** Everything before this position of the log is in tables, and `checkpoint.meta` says so. */
  flushedTo: number;
  holds = 0;
  #nextTableId: bigint;
  #failure: StillpointError | undefined;

  constructor(
    dir: string,
    options: ResolvedOptions,
    log: RingLog,
    tables: readonly TableFile[],
    checkpoint: Store['checkpoint'],
  ) {
    this.dir = dir;
    this.options = options;
    this.log = log;
    this.cache = new BlockCache(options.blockCacheBytes);
    this.tables = tables;
    this.checkpoint = checkpoint;
    this.flushedTo = log.start;
    this.lastLsn = checkpoint.lsn;
    for (const { maxTimestamp } of tables) {
      // Should `checkpoint.meta` be lost, the tables still say how far the counter had come.
      if (maxTimestamp > this.lastLsn) this.lastLsn = maxTimestamp;
    }
    this.#nextTableId = (tables.at(-1)?.id ?? 0n) + 1n;
  }

  get tablesFolder(): string {
    return join(this.dir, TABLES);
  }

  takeTableId(): bigint {
    return this.#nextTableId++;
  }

  addTable(table: TableFile): void {
    this.replaceTables([], [table]);
  }

  replaceTables(old: readonly TableFile[], by: readonly TableFile[]): void {
    const kept = this.tables.filter((table) => !old.includes(table));
    this.tables = [...kept, ...by].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Makes a durable commit visible. */
  apply(lsn: bigint, ops: readonly WalOp[]): void {
    this.active.apply(lsn, ops);
    this.lastLsn = lsn;
  }

  /** Whether the active memtable is to be frozen before it takes more. */
  get isActiveFull(): boolean {
    return this.active.bytes >= this.options.memtableBytes;
  }

  /**
   * Freezes the active memtable, if there is anything in it. Only between two commits.
   * @param logEnd Position in the log behind its last commit.
   */
  freeze(logEnd: number): void {
    if (this.active.keyCount === 0) return;
    this.frozen.push({ memtable: this.active, logEnd });
    this.active = new Memtable();
  }

  /** The newest version of a key that is in memory, tombstones too. It is newer than all in tables. */
  getInMemory(key: Buffer): TableEntry | undefined {
    for (const memtable of this.#memtables()) {
      const entry = memtable.get(key, this.lastLsn);
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  view(): View {
    const { tables } = this;
    for (const table of tables) table.retain();
    let isReleased = false;
    return {
      lsn: this.lastLsn,
      memtables: this.#memtables(),
      tables,
      async release() {
        if (isReleased) return;
        isReleased = true;
        for (const table of tables) await table.release();
      },
    };
  }

  get failure(): StillpointError | undefined {
    return this.#failure;
  }

  /**
   * A write or a sync failed: what reached the disk is unknown, and trying again would only hide that (after a failed fsync the
   * kernel may drop the pages and report success). From here on nothing is written; reads go on.
   */
  fail(error: unknown): StillpointError {
    const cause = toStillpointError(error);
    this.#failure ??= new StillpointError(
      cause.code,
      `the database in ${this.dir} takes no more writes: ${cause.message}`,
      {
        path: cause.path ?? this.dir,
        cause: error,
        hint:
          cause.code === 'NO_SPACE'
            ? 'Free space on that disk, then open the database again: restart the program that has it open. Every acknowledged write is kept.'
            : 'Remove the cause and open the database again; every acknowledged write is kept.',
      },
    );
    return this.#failure;
  }

  #memtables(): Memtable[] {
    return [this.active, ...this.frozen.map(({ memtable }) => memtable).reverse()];
  }
}
