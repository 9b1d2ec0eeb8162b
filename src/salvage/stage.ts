import type { ClassicLevel } from 'classic-level';
import type { Entry } from './source.ts';

const SEQUENCE_BYTES = 8;
const DELETED = Buffer.from([0]);
const PRESENT = Buffer.from([1]);
/** Keys that are asked for at once. */
const AT_ONCE = 500;

export type Database = ClassicLevel<Buffer, Buffer>;

/** The newest version of each key, in a database of its own: there may be more of them than memory. */
export class Stage {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Keys of one call are distinct. */
  async take(entries: readonly Entry[]): Promise<void> {
    for (let from = 0; from < entries.length; from += AT_ONCE) {
      const some = entries.slice(from, from + AT_ONCE);
      const known = await this.#database.getMany(some.map(({ key }) => key));
      const newer = some.filter(({ sequence }, i) => {
        const staged = known[i];
        return staged === undefined || staged.readBigUInt64LE(0) <= sequence;
      });
      await this.#database.batch(
        newer.map(({ key, sequence, value }) => ({ type: 'put', key, value: staged(sequence, value) })),
      );
    }
  }

  /** What is there in the end, in order. */
  async *present(): AsyncGenerator<[key: Buffer, value: Buffer]> {
    for await (const [key, value] of this.#database.iterator()) {
      if (value[SEQUENCE_BYTES] === PRESENT[0]) yield [key, value.subarray(SEQUENCE_BYTES + 1)];
    }
  }
}

function staged(sequence: bigint, value: Buffer | undefined): Buffer {
  const head = Buffer.allocUnsafe(SEQUENCE_BYTES);
  head.writeBigUInt64LE(sequence);
  return Buffer.concat(value === undefined ? [head, DELETED] : [head, PRESENT, value]);
}
