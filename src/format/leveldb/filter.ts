/**
 * The filter block (LevelDB `doc/table_format.md`, `util/bloom.cc`): one bloom filter for all keys of the data blocks that
 * begin in the same 2^base bytes of the file.
 *
 *     filters | u32 × n offsets of the filters | u32 offset of these offsets | u8 base
 *
 * A filter: bits, then one byte that says how many probes a key takes.
 */

/** The filter policy that is known here. A metaindex names it as `filter.` and this name. */
export const BLOOM_POLICY = 'leveldb.BuiltinBloomFilter2';

const TRAILER_BYTES = 5;
const MAX_PROBES = 30; // more is reserved for other encodings, which deny nothing
const NO_FILTER = Number.POSITIVE_INFINITY; // denies nothing

export interface FilterPlace {
  readonly from: number;
  readonly bits: number;
  readonly probes: number;
}

export class FilterBlock {
  readonly #bytes: Buffer;
  readonly #offsetsAt: number;
  readonly #count: number;
  readonly #base: number;
  // The filter of the block that was asked for last.
  #blockOffset = -1;
  #from = 0;
  #bits = 0;
  #probes = 0;

  private constructor(bytes: Buffer, offsetsAt: number, count: number, base: number) {
    this.#bytes = bytes;
    this.#offsetsAt = offsetsAt;
    this.#count = count;
    this.#base = base;
  }

  /** The filter block, or why these bytes are not one. Shares memory with `bytes`. */
  static decode(bytes: Buffer): FilterBlock | string {
    if (bytes.length < TRAILER_BYTES) return `${bytes.length} bytes are too few for a filter block`;
    const offsetsAt = bytes.readUInt32LE(bytes.length - TRAILER_BYTES);
    const base = bytes[bytes.length - 1]!;
    const room = bytes.length - TRAILER_BYTES - offsetsAt;
    if (room < 0 || room % 4 !== 0) return `the filters' offsets cannot begin at ${offsetsAt}`;
    if (base > 30) return `a filter for every 2^${base} bytes`;
    const block = new FilterBlock(bytes, offsetsAt, room / 4, base);
    for (let index = 0; index < block.#count; index++) {
      if (block.#start(index) > block.#start(index + 1)) return `filter ${index} ends before it begins`;
    }
    return block;
  }

  get bytes(): Buffer {
    return this.#bytes;
  }

  /** Which part of `bytes` is the filter of the data block that begins at `blockOffset`; more probes than a filter has deny nothing. */
  place(blockOffset: number): FilterPlace {
    if (blockOffset !== this.#blockOffset) this.#find(blockOffset);
    return { from: this.#from, bits: Math.max(this.#bits, 0), probes: Math.min(this.#probes, 255) };
  }

  /**
   * False when the filter says that the user key `key[0, end)` is not in the data block that begins at `blockOffset`.
   */
  mayContain(blockOffset: number, key: Buffer, end: number): boolean {
    if (blockOffset !== this.#blockOffset) this.#find(blockOffset);
    const bytes = this.#bytes;
    const start = this.#from;
    const bits = this.#bits;
    const probes = this.#probes;
    if (probes > MAX_PROBES) return true;
    if (bits <= 0) return false; // an empty filter has no key at all
    let hash = bloomHash(key, end);
    const delta = ((hash >>> 17) | (hash << 15)) >>> 0;
    for (let probe = 0; probe < probes; probe++) {
      // `hash % bits`, exact at this size. The operator itself takes many times as long on more than 31 bits.
      const bit = hash - Math.floor(hash / bits) * bits;
      if ((bytes[start + (bit >>> 3)]! & (1 << (bit & 7))) === 0) return false;
      hash = (hash + delta) >>> 0;
    }
    return true;
  }

  /** The filter of a block, kept for its next key. */
  #find(blockOffset: number): void {
    const index = Math.floor(blockOffset / 2 ** this.#base);
    this.#blockOffset = blockOffset;
    this.#from = this.#start(index);
    this.#bits = (this.#start(index + 1) - this.#from - 1) * 8;
    if (index >= this.#count) this.#probes = NO_FILTER;
    else this.#probes = this.#bits <= 0 ? 0 : this.#bytes[this.#from + this.#bits / 8]!;
  }

  /** Where a filter begins. The offsets follow the last filter. */
  #start(index: number): number {
    return index >= this.#count ? this.#offsetsAt : this.#bytes.readUInt32LE(this.#offsetsAt + 4 * index);
  }
}

const SEED = 0xbc9f1d34;
const MULTIPLIER = 0xc6a4a793;

/** Hash of `bytes[0, end)`, unsigned (LevelDB `util/hash.cc`). */
export function bloomHash(bytes: Buffer, end: number): number {
  let hash = SEED ^ Math.imul(end, MULTIPLIER);
  let at = 0;
  for (; at + 4 <= end; at += 4) {
    const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    hash = Math.imul(hash + word, MULTIPLIER);
    hash ^= hash >>> 16;
  }
  const rest = end - at;
  if (rest === 0) return hash >>> 0;
  if (rest === 3) hash += bytes[at + 2]! << 16;
  if (rest >= 2) hash += bytes[at + 1]! << 8;
  hash = Math.imul(hash + bytes[at]!, MULTIPLIER);
  return (hash ^ (hash >>> 24)) >>> 0;
}
