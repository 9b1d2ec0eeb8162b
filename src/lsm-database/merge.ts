import type { TableEntry } from '../format/lsm/table-block.ts';
import { compareEntries } from '../format/lsm/table-block.ts';
import type { TableFile } from './table-file.ts';

/** Walks through sorted entries. `next` returns a promise only when it has to read: most steps are synchronous. */
export interface Cursor {
  /** The current entry; undefined after the last. */
  readonly entry: TableEntry | undefined;
  next(): void | Promise<void>;
}

/** Over entries that are in memory. Call `next` once to begin. */
export class MemoryCursor implements Cursor {
  readonly #entries: Iterator<TableEntry, void>;
  entry: TableEntry | undefined;

  constructor(entries: Iterator<TableEntry, void>) {
    this.#entries = entries;
  }

  next(): void {
    const step = this.#entries.next();
    this.entry = step.done === true ? undefined : step.value;
  }
}

export interface TableWalk {
  /** Ascending: from the block that may hold this key; descending: from that block, or the last, downwards. */
  readonly from?: Buffer | undefined;
  readonly descending?: boolean;
  /** Blocks to read at once in ascending order. */
  readonly blocksAtOnce: number;
}

/** Over a table, all versions. It checks that entries ascend. Call `next` once to begin. */
export class TableCursor implements Cursor {
  readonly #table: TableFile;
  readonly #walk: TableWalk;
  /** The next block to read. */
  #block: number;
  #loaded: TableEntry[] = [];
  #at = 0;
  #entryCount = 0;
  #maxTimestamp = 0n;
  entry: TableEntry | undefined;

  constructor(table: TableFile, walk: TableWalk) {
    this.#table = table;
    this.#walk = walk;
    this.#block = walk.descending === true ? table.lastBlock(walk.from) : table.firstBlock(walk.from);
  }

  /** Of the blocks read so far. */
  get entryCount(): number {
    return this.#entryCount;
  }

  /** Of the blocks read so far. */
  get maxTimestamp(): bigint {
    return this.#maxTimestamp;
  }

  next(): void | Promise<void> {
    if (this.#at < this.#loaded.length) this.entry = this.#loaded[this.#at++];
    else if (this.#block < 0 || this.#block >= this.#table.blockCount) this.entry = undefined;
    else return this.#load();
  }

  async #load(): Promise<void> {
    const before = this.entry;
    if (this.#walk.descending === true) {
      const [entries] = await this.#table.readBlocks(this.#block, 1);
      this.#block--;
      this.#requireOrder(entries!, undefined, before);
      this.#loaded = entries!.reverse();
    } else {
      const blocks = await this.#table.readBlocks(this.#block, this.#walk.blocksAtOnce);
      this.#block += blocks.length;
      this.#loaded = blocks.length === 1 ? blocks[0]! : blocks.flat();
      this.#requireOrder(this.#loaded, before, undefined);
    }
    this.#at = 0;
    this.#entryCount += this.#loaded.length;
    for (const { timestamp } of this.#loaded) {
      if (timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp;
    }
    const step = this.next(); // an empty block goes on to the one behind it
    if (step !== undefined) await step;
  }

  #requireOrder(entries: TableEntry[], below: TableEntry | undefined, above: TableEntry | undefined): void {
    let last = below;
    for (const entry of above === undefined ? entries : [...entries, above]) {
      if (last !== undefined && compareEntries(last, entry) >= 0) {
        throw this.#table.damaged(`the entries are out of order at the key ${entry.key.toString('hex')}`);
      }
      last = entry;
    }
  }
}

/**
 * The newest version of each key among all cursors, tombstones too, in the order of keys that all of them walk in.
 * Closes nothing; each entry is good for as long as the caller keeps it.
 */
export async function* mergeNewest(
  cursors: readonly Cursor[],
  descending = false,
): AsyncGenerator<TableEntry, void> {
  const direction = descending ? -1 : 1;
  const heap = new CursorHeap((a, b) => direction * a.entry!.key.compare(b.entry!.key));
  for (const cursor of cursors) {
    const step = cursor.next();
    if (step !== undefined) await step;
    if (cursor.entry !== undefined) heap.push(cursor);
  }
  while (heap.top !== undefined) {
    let newest = heap.top.entry!;
    // All versions of this key come from the top of the heap, one after the other.
    while (heap.top?.entry?.key.equals(newest.key)) {
      const cursor: Cursor = heap.top;
      const entry = cursor.entry!;
      if (compareEntries(entry, newest) < 0) newest = entry;
      const step = cursor.next();
      if (step !== undefined) await step;
      heap.settleTop();
    }
    yield newest;
  }
}

/** A binary heap of cursors that stand at an entry; the least on top. */
class CursorHeap {
  readonly #compare: (a: Cursor, b: Cursor) => number;
  readonly #items: Cursor[] = [];

  constructor(compare: (a: Cursor, b: Cursor) => number) {
    this.#compare = compare;
  }

  get top(): Cursor | undefined {
    return this.#items[0];
  }

  push(cursor: Cursor): void {
    const items = this.#items;
    let at = items.push(cursor) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#compare(items[parent]!, cursor) <= 0) break;
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = cursor;
  }

  /** Restores the heap after the top cursor has moved; drops the cursor at its end. */
  settleTop(): void {
    const items = this.#items;
    let cursor = items[0]!;
    if (cursor.entry === undefined) {
      const last = items.pop()!;
      if (items.length === 0) return;
      cursor = last;
    }
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && this.#compare(items[child + 1]!, items[child]!) < 0) child++;
      if (this.#compare(cursor, items[child]!) <= 0) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = cursor;
  }
}
