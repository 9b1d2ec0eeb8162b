import { crc32c } from '../../format/crc32c.ts';
import type { FilterBlock, FilterPlace } from '../../format/leveldb/filter.ts';
import { SNAPPY, TRAILER_BYTES, UNCOMPRESSED } from '../../format/leveldb/table.ts';
import { DONE, LOOK_CLOSER, type Scanner } from '../../format/scan/scanner.ts';
import type { SequentialReader } from '../sequential-reader.ts';
import type { TableFrame } from './table-frame.ts';
import type { LaidOut, Region } from './table-layout.ts';

const NO_FILTER: FilterPlace = { from: 0, bits: 0, probes: 255 };

/** What was found good in windows. */
export interface Passed extends LaidOut {
  readonly blocks: number;
  readonly entries: number;
}

/** Checks the data blocks of one table in compiled code. What is not good is left to the JavaScript code, which names it. */
export class TableScanner {
  readonly #scanner: Scanner;
  readonly #filterAt: number;
  readonly #filter: FilterBlock | undefined;
  /** The last index key that was placed, and where: it is the lower bound of the next block. */
  #placedKey: Buffer | undefined;
  #placedAt = 0;
  #spare: 'key' | 'other key' = 'key';

  /**
   * @param kept Where the scanner keeps the bytes of index and filter.
   * @param blocksEnd Where in the file the blocks end at the latest.
   */
  constructor(
    scanner: Scanner,
    kept: { readonly indexAt: number; readonly filterAt: number },
    { index, filter }: TableFrame,
    blocksEnd: number,
  ) {
    this.#scanner = scanner;
    this.#filterAt = kept.filterAt;
    this.#filter = filter;
    const { scan } = scanner;
    scan.leveldbBegin();
    const filterBytes = filter?.bytes.byteLength ?? 0;
    scan.leveldbIndex(kept.indexAt, index?.byteLength ?? 0, kept.filterAt, filterBytes, blocksEnd);
  }

  /**
   * Goes from the first block on through whole windows, as long as all is good in them: the index, the entries, and the checksums
   * of all blocks, which one native pass over the window proves. `sum` gets the CRC-32C of each window.
   */
  async pass(reader: SequentialReader, sum: (crc32c: number, bytes: number) => void): Promise<Passed> {
    const { scan } = this.#scanner;
    const passed = { bytes: 0, blocks: 0, entries: 0 };
    for (;;) {
      const { window } = reader;
      const result = scan.leveldbWindow(window.byteOffset, reader.position, window.byteLength);
      if (result === LOOK_CLOSER) break;
      const used = scan.windowBytes.value;
      const crc = crc32c(window.subarray(0, used));
      if (crc !== scan.windowCrc.value >>> 0) {
        scan.leveldbRollBack();
        break;
      }
      sum(crc, used);
      reader.advance(used);
      passed.bytes += used;
      passed.blocks += scan.windowBlocks.value;
      passed.entries += scan.windowEntries.value;
      if (result === DONE) return { ...passed, isEnd: true };
      if (!(await reader.more())) break;
    }
    return { ...passed, isEnd: false };
  }

  /** The number of entries of a data block, given with its trailer, whose checksum holds. Undefined unless all of them are good. */
  entriesOf(sealed: Buffer, { offset, bounds }: Region): number | undefined {
    const { after, upTo } = bounds!;
    const scanner = this.#scanner;
    const at = scanner.place(sealed, 'block');
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
    return count === LOOK_CLOSER ? undefined : count;
  }

  #placeKey(key: Buffer): number | undefined {
    if (key === this.#placedKey) return this.#placedAt;
    this.#spare = this.#spare === 'key' ? 'other key' : 'key';
    const at = this.#scanner.place(key, this.#spare);
    this.#placedKey = at === undefined ? undefined : key;
    this.#placedAt = at ?? 0;
    return at;
  }

  /** Of the first good block; undefined before it. */
  firstKey(): Buffer | undefined {
    const bytes = this.#scanner.scan.leveldbFirstKeyBytes.value;
    return bytes === 0 ? undefined : this.#scanner.firstKey(bytes);
  }

  /** Of the last good block; undefined before the first. */
  lastKey(): Buffer | undefined {
    const bytes = this.#scanner.scan.leveldbLastKeyBytes.value;
    return bytes === 0 ? undefined : this.#scanner.lastKey(bytes);
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
