import type { IndexEntry } from '../../format/lsm/table-index.ts';
import { LOOK_CLOSER, type Scanner } from '../../format/scan/scanner.ts';
import type { Halves, Position } from './scan-position.ts';
import type { TableFrame } from './table-frame.ts';

/** Totals of the entries so far. */
export interface ScanState {
  readonly last: Position;
  readonly lowest: Halves;
  readonly highest: Halves;
  readonly minKeyBytes: number;
  readonly maxKeyBytes: number;
}

/** Checks the blocks of one table in compiled code, in file order. A block with any damage is left to the JavaScript code, which names it. */
export class TableScanner {
  readonly #scanner: Scanner;
  readonly #keyShift: number;

  /** @param kept Where the scanner keeps the frame's `indexBytes` and the bits of its filter. */
  constructor(
    scanner: Scanner,
    kept: { readonly indexAt: number; readonly filterAt: number },
    { indexBytes, filter }: TableFrame,
  ) {
    this.#scanner = scanner;
    this.#keyShift = kept.indexAt - indexBytes.byteOffset;
    scanner.scan.lsmBegin(kept.filterAt, 8 * (filter?.bits.byteLength ?? 0), filter?.hashCount ?? 0);
  }

  /** The number of entries of an uncompressed block whose checksum holds. Undefined unless all of them are good. */
  entriesOf(block: Buffer, { firstKey, lastKey }: IndexEntry): number | undefined {
    const at = this.#scanner.place(block, 0);
    if (at === undefined) return undefined;
    const count = this.#scanner.scan.lsmBlock(
      at,
      at + block.byteLength,
      firstKey.byteOffset + this.#keyShift,
      firstKey.byteLength,
      lastKey.byteOffset + this.#keyShift,
      lastKey.byteLength,
    );
    return count === LOOK_CLOSER ? undefined : count;
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
