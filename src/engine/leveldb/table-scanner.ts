import type { FilterBlock, FilterPlace } from '../../format/leveldb/filter.ts';
import { SNAPPY, TRAILER_BYTES, UNCOMPRESSED } from '../../format/leveldb/table.ts';
import { LOOK_CLOSER, type Scanner } from '../../format/scan/scanner.ts';
import type { Region } from './table-layout.ts';

const NO_FILTER: FilterPlace = { from: 0, bits: 0, probes: 255 };

/** Checks the data blocks of one table in compiled code. A block with any damage is left to the JavaScript code, which names it. */
export class TableScanner {
  readonly #scanner: Scanner;
  readonly #filterAt: number;
  readonly #filter: FilterBlock | undefined;
  #hasKeys = false;
  /** The last index key that was placed, and where: it is the lower bound of the next block. */
  #placedKey: Buffer | undefined;
  #placedAt = 0;
  #spare: 1 | 2 = 1;

  /** @param filterAt Where the scanner keeps the filter's bytes. */
  constructor(scanner: Scanner, filterAt: number, filter: FilterBlock | undefined) {
    this.#scanner = scanner;
    this.#filterAt = filterAt;
    this.#filter = filter;
    scanner.scan.leveldbBegin();
  }

  /** The number of entries of a data block, given with its trailer, whose checksum holds. Undefined unless all of them are good. */
  entriesOf(sealed: Buffer, { offset, bounds }: Region): number | undefined {
    const { after, upTo } = bounds!;
    const scanner = this.#scanner;
    const at = scanner.place(sealed, 0);
    const afterAt = after === undefined ? 0 : this.#placeKey(after);
    const upToAt = this.#placeKey(upTo);
    if (at === undefined || afterAt === undefined || upToAt === undefined) return undefined;
    const content = contentIn(scanner, at, sealed);
    if (content === undefined) return undefined;
    const { from, bits, probes } = this.#filter?.place(offset) ?? NO_FILTER;
    const count = scanner.scan.leveldbBlock(
      content.at,
      content.end,
      this.#filterAt + from,
      bits,
      probes,
      afterAt,
      after?.byteLength ?? 0,
      upToAt,
      upTo.byteLength,
    );
    if (count === LOOK_CLOSER) return undefined;
    this.#hasKeys = true;
    return count;
  }

  #placeKey(key: Buffer): number | undefined {
    if (key === this.#placedKey) return this.#placedAt;
    this.#spare = this.#spare === 1 ? 2 : 1;
    const at = this.#scanner.place(key, this.#spare);
    this.#placedKey = at === undefined ? undefined : key;
    this.#placedAt = at ?? 0;
    return at;
  }

  /** The last key of the last good block; valid until that block's bytes are overwritten. */
  firstKey(): Buffer {
    const { leveldbFirstKeyAt: at, leveldbFirstKeyBytes: bytes } = this.#scanner.scan;
    return this.#scanner.copyOf(at.value, bytes.value);
  }

  /** Of the last good block; undefined before the first. */
  lastKey(): Buffer | undefined {
    return this.#hasKeys ? this.#scanner.lastKey(this.#scanner.scan.leveldbLastKeyBytes.value) : undefined;
  }

  /** Of all good blocks. */
  get maxSequence(): bigint {
    return BigInt.asUintN(64, this.#scanner.scan.leveldbMaxSequence.value);
  }
}

/** Where the uncompressed content of a block is; undefined for a compression that is not known here. */
function contentIn(scanner: Scanner, at: number, sealed: Buffer): { at: number; end: number } | undefined {
  const end = at + sealed.byteLength - TRAILER_BYTES;
  const compression = sealed[sealed.byteLength - TRAILER_BYTES];
  if (compression === UNCOMPRESSED) return { at, end };
  return compression === SNAPPY ? scanner.uncompress(at, end) : undefined;
}
