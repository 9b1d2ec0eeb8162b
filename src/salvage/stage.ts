import type { Entry } from './source.ts';
import type { Row, Store } from './store.ts';

const HALF_BYTES = 8;
const VERSION_BYTES = 2 * HALF_BYTES;
const LOW_HALF = (1n << 64n) - 1n;
const DELETED = 0;
const PRESENT = 1;
/** Keys that are asked for at once. */
const AT_ONCE = 500;

/** The newest version of each key, in a database of its own: there may be more of them than memory. */
export class Stage {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** Keys of one call are distinct. */
  async take(entries: readonly Entry[]): Promise<void> {
    for (let from = 0; from < entries.length; from += AT_ONCE) {
      const some = entries.slice(from, from + AT_ONCE);
      const known = await this.#store.getMany(some.map(({ key }) => key));
      const newer = some.filter(({ version }, i) => {
        const staged = known[i];
        return staged === undefined || versionOf(staged) <= version;
      });
      await this.#store.put(newer.map((entry): Row => [entry.key, staged(entry)]));
    }
  }

  /** The rows here that `sound` lacks, or has in an older version, in order. */
  async *newerThan(sound: Stage): AsyncGenerator<Row> {
    let rows: Row[] = [];
    for await (const row of this.#store.rows()) {
      rows.push(row);
      if (rows.length < AT_ONCE) continue;
      yield* await sound.#lacking(rows);
      rows = [];
    }
    yield* await sound.#lacking(rows);
  }

  async #lacking(rows: readonly Row[]): Promise<Row[]> {
    const known = await this.#store.getMany(rows.map(([key]) => key));
    return rows
      .filter(([, value], i) => known[i] === undefined || versionOf(known[i]) < versionOf(value))
      .flatMap(presentIn);
  }

  /** What is there in the end, in order. */
  async *present(): AsyncGenerator<Row> {
    for await (const row of this.#store.rows()) yield* presentIn(row);
  }
}

const presentIn = ([key, value]: Row): Row[] =>
  value[VERSION_BYTES] === PRESENT ? [[key, value.subarray(VERSION_BYTES + 1)]] : [];

const versionOf = (staged: Buffer): bigint =>
  (staged.readBigUInt64BE(0) << 64n) | staged.readBigUInt64BE(HALF_BYTES);

function staged({ version, value }: Entry): Buffer {
  const bytes = Buffer.allocUnsafe(VERSION_BYTES + 1 + (value?.length ?? 0));
  bytes.writeBigUInt64BE(version >> 64n, 0);
  bytes.writeBigUInt64BE(version & LOW_HALF, HALF_BYTES);
  bytes[VERSION_BYTES] = value === undefined ? DELETED : PRESENT;
  value?.copy(bytes, VERSION_BYTES + 1);
  return bytes;
}
