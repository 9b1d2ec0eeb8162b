import { crc32 } from '../../format/crc32.ts';
import type { IndexEntry } from '../../format/lsm/table-index.ts';
import { DONE, LOOK_CLOSER, type Scanner } from '../../format/scan/scanner.ts';
import type { SequentialReader } from '../sequential-reader.ts';
import type { Halves, Position } from './scan-position.ts';
import type { TableFrame } from './table-frame.ts';

/** What was found good in windows. */
export interface Passed {
  readonly blocks: number;
  readonly entries: number;
  /** Whether these were all blocks. */
  readonly isEnd: boolean;
}

/** Totals of the entries so far. */
export interface ScanState {
  readonly last: Position;
  readonly lowest: Halves;
  readonly highest: Halves;
  readonly minKeyBytes: number;
  readonly maxKeyBytes: number;
}

/** Checks the blocks of one table in compiled code, in file order. What is not good is left to the JavaScript code, which names it. */
export class TableScanner {
  readonly #scanner: Scanner;
  readonly #indexAt: number;
  readonly #indexBytes: Buffer;

  /** @param kept Where the scanner keeps the frame's `indexBytes` and the bits of its filter. */
  constructor(
    scanner: Scanner,
    kept: { readonly indexAt: number; readonly filterAt: number },
    { header, footer, filter }: TableFrame,
    indexBytes: Buffer,
  ) {
    this.#scanner = scanner;
    this.#indexAt = kept.indexAt;
    this.#indexBytes = indexBytes;
    const { scan } = scanner;
    scan.lsmBegin(kept.filterAt, 8 * (filter?.bits.byteLength ?? 0), filter?.hashCount ?? 0);
    scan.lsmIndex(kept.indexAt, indexBytes.byteLength, header.blockCount, footer.indexOffset);
  }

  /**
   * Goes from the first block on through whole windows of uncompressed blocks, as long as all is good in them: the index, the
   * entries, and the checksums of all blocks, which one native pass over the window proves.
   */
  async pass(reader: SequentialReader): Promise<Passed> {
    const { scan } = this.#scanner;
    let blocks = 0;
    let entries = 0;
    for (;;) {
      const { window } = reader;
      const result = scan.lsmWindow(window.byteOffset, reader.position, window.byteLength);
      if (result === LOOK_CLOSER) break;
      const used = scan.windowBytes.value;
      const crc = crc32(window.subarray(0, used));
      if (crc !== scan.windowCrc.value >>> 0) {
        scan.lsmRollBack();
        break;
      }
      reader.advance(used, crc);
      blocks += scan.windowBlocks.value;
      entries += scan.windowEntries.value;
      if (result === DONE) return { blocks, entries, isEnd: true };
      if (!(await reader.more())) break;
    }
    return { blocks, entries, isEnd: false };
  }

  /** The number of entries of an uncompressed block whose checksum holds. Undefined unless all of them are good. */
  entriesOf(block: Buffer, { firstKey, lastKey }: IndexEntry): number | undefined {
    const at = this.#scanner.place(block, 'block');
    if (at === undefined) return undefined;
    const count = this.#scanner.scan.lsmBlock(
      at,
      at + block.byteLength,
      this.#addressOf(firstKey),
      firstKey.byteLength,
      this.#addressOf(lastKey),
      lastKey.byteLength,
    );
    return count === LOOK_CLOSER ? undefined : count;
  }

  /** Of a key of the index. */
  #addressOf(key: Buffer): number {
    return this.#indexAt + key.byteOffset - this.#indexBytes.byteOffset;
  }

  /** Undefined before the first entry. */
  state(): ScanState | undefined {
    const { scan } = this.#scanner;
    if (scan.lsmHasEntries.value === 0) return undefined;
    const keyBytes = scan.lsmKeyLength.value;
    const timestamp = halves(scan.lsmTimestamp.value);
    const sequence = halves(scan.lsmSequence.value);
    return {
      last: {
        bytes: this.#scanner.lastKey(keyBytes),
        keyAt: 0,
        valueAt: keyBytes,
        timestampHigh: timestamp.high,
        timestampLow: timestamp.low,
        sequenceHigh: sequence.high,
        sequenceLow: sequence.low,
      },
      lowest: halves(scan.lsmMinTimestamp.value),
      highest: halves(scan.lsmMaxTimestamp.value),
      minKeyBytes: scan.lsmMinKeyBytes.value >>> 0,
      maxKeyBytes: scan.lsmMaxKeyBytes.value >>> 0,
    };
  }
}

const halves = (value: bigint): Halves => ({
  high: Number((value >> 32n) & 0xffff_ffffn),
  low: Number(value & 0xffff_ffffn),
});
