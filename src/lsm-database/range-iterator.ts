import { StillpointError } from '../errors.ts';
import type { TableEntry } from '../format/lsm/table-block.ts';
import { asBytes, type Bytes } from './batch.ts';
import { type Cursor, MemoryCursor, mergeNewest, TableCursor } from './merge.ts';
import type { View } from './shared-state.ts';

export interface IterateOptions {
  readonly gte?: Bytes;
  readonly gt?: Bytes;
  readonly lte?: Bytes;
  readonly lt?: Bytes;
  /** Only keys that begin with it. */
  readonly prefix?: Bytes;
  /** Descending. Default false. */
  readonly reverse?: boolean;
  /** At most so many pairs. Default: all. */
  readonly limit?: number;
}

const OPTION_NAMES = ['gte', 'gt', 'lte', 'lt', 'prefix', 'reverse', 'limit'];
const BLOCKS_AT_ONCE = 8;

interface Bound {
  readonly key: Buffer;
  readonly isIncluded: boolean;
}

export interface Range {
  readonly low: Bound | undefined;
  readonly high: Bound | undefined;
  readonly reverse: boolean;
  readonly limit: number;
}

/** The tightest bounds that the options give; a `TypeError` names the one that is wrong. */
export function resolveRange(options: IterateOptions = {}): Range {
  if (typeof options !== 'object' || options === null) throw new TypeError('options must be an object');
  for (const name of Object.keys(options)) {
    if (!OPTION_NAMES.includes(name)) throw new TypeError(`options.${name} is not an option`);
  }
  const { prefix, reverse = false, limit = Number.POSITIVE_INFINITY } = options;
  if (typeof reverse !== 'boolean') throw new TypeError('options.reverse must be true or false');
  if (limit !== Number.POSITIVE_INFINITY && !(Number.isSafeInteger(limit) && limit >= 0)) {
    throw new TypeError('options.limit must be a whole number from 0, or Infinity');
  }
  const bound = (name: 'gte' | 'gt' | 'lte' | 'lt', isIncluded: boolean): Bound | undefined =>
    options[name] === undefined
      ? undefined
      : { key: Buffer.from(asBytes(`options.${name}`, options[name])), isIncluded };
  const prefixKey = prefix === undefined ? undefined : Buffer.from(asBytes('options.prefix', prefix));
  const behind = prefixKey && keyBehindPrefix(prefixKey);
  return {
    low: tightest(
      1,
      bound('gte', true),
      bound('gt', false),
      prefixKey && { key: prefixKey, isIncluded: true },
    ),
    high: tightest(-1, bound('lte', true), bound('lt', false), behind && { key: behind, isIncluded: false }),
    reverse,
    limit,
  };
}

/** The tighter of two bounds; lower ones with `direction` 1, upper ones with -1. */
function tightest(direction: 1 | -1, ...bounds: readonly (Bound | undefined)[]): Bound | undefined {
  let best: Bound | undefined;
  for (const bound of bounds) {
    if (bound === undefined) continue;
    const order = best === undefined ? 1 : direction * bound.key.compare(best.key);
    if (order > 0 || (order === 0 && !bound.isIncluded)) best = bound;
  }
  return best;
}

/** The first key above all that begin with `prefix`; undefined if there is none, as after ff ff. */
function keyBehindPrefix(prefix: Buffer): Buffer | undefined {
  let length = prefix.byteLength;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const key = Buffer.from(prefix.subarray(0, length));
  key[length - 1]!++;
  return key;
}

/**
 * Keys and values of one state, in order. It uses its tables until it has reached its end, was left (`break` in a `for await`
 * does that) or the database closes; then `next` rejects with `DATABASE_CLOSED`, so that a walk cut short is not taken for a whole one.
 */
export class RangeIterator implements AsyncIterableIterator<[Buffer, Buffer]> {
  readonly #view: View;
  readonly #pairs: AsyncGenerator<[Buffer, Buffer], void>;
  readonly #onEnd: (iterator: RangeIterator) => void;
  #isClosed = false;

  constructor(view: View, range: Range, onEnd: (iterator: RangeIterator) => void) {
    this.#view = view;
    this.#onEnd = onEnd;
    this.#pairs = readRange(view, range);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<[Buffer, Buffer], undefined>> {
    if (this.#isClosed) throw new StillpointError('DATABASE_CLOSED', 'the database was closed during a walk');
    try {
      const step = await this.#pairs.next();
      if (step.done !== true) return step;
    } catch (error) {
      await this.#end();
      throw error;
    }
    if (this.#isClosed) throw new StillpointError('DATABASE_CLOSED', 'the database was closed during a walk');
    await this.#end();
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorResult<[Buffer, Buffer], undefined>> {
    await this.#end();
    return { done: true, value: undefined };
  }

  /** Releases the tables, after reads that are running have ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#end();
  }

  async #end(): Promise<void> {
    this.#onEnd(this);
    await this.#pairs.return(); // stands in line behind a `next` that is under way
    await this.#view.release();
  }
}

async function* readRange(view: View, range: Range): AsyncGenerator<[Buffer, Buffer], void> {
  const { reverse, low, high, limit } = range;
  const from = reverse ? high?.key : low?.key;
  const cursors: Cursor[] = view.memtables.map(
    (memtable) =>
      new MemoryCursor(reverse ? memtable.descending(view.lsn, from) : memtable.ascending(view.lsn, from)),
  );
  for (const table of view.tables) {
    cursors.push(new TableCursor(table, { from, descending: reverse, blocksAtOnce: BLOCKS_AT_ONCE }));
  }
  let left = limit;
  if (left === 0) return;
  for await (const entry of mergeNewest(cursors, reverse)) {
    const place = placeOf(entry, low, high);
    if (place === (reverse ? 'below' : 'above')) return;
    if (place !== 'within' || entry.type === 'delete') continue;
    // Copies: the caller may change them, and memtables and blocks must not change.
    yield [Buffer.from(entry.key), Buffer.from(entry.value)];
    left--;
    if (left === 0) return;
  }
}

function placeOf(
  { key }: TableEntry,
  low: Bound | undefined,
  high: Bound | undefined,
): 'below' | 'within' | 'above' {
  if (low !== undefined) {
    const order = key.compare(low.key);
    if (order < 0 || (order === 0 && !low.isIncluded)) return 'below';
  }
  if (high !== undefined) {
    const order = key.compare(high.key);
    if (order > 0 || (order === 0 && !high.isIncluded)) return 'above';
  }
  return 'within';
}
