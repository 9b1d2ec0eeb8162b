import { type BloomFilter, mayContain } from '../../format/lsm/bloom.ts';
import type { TableHeader } from '../../format/lsm/table.ts';
import { blockDamage, EntryCursor } from '../../format/lsm/table-block.ts';
import type { IndexEntry } from '../../format/lsm/table-index.ts';
import type { Findings } from '../findings.ts';
import { decompressBlock } from './block-payload.ts';
import type { Halves, Position } from './scan-position.ts';
import type { TableScanner } from './table-scanner.ts';

/** Totals of a table's entries. */
export interface Totals {
  readonly blocks: number;
  readonly entries: number;
  /** Whether every block could be read. Only then can the totals be compared with header and footer. */
  readonly isComplete: boolean;
  readonly minTimestamp: bigint;
  readonly maxTimestamp: bigint;
  readonly minKeyBytes: number;
  readonly maxKeyBytes: number;
}

/**
 * Looks at every entry of a table, block by block in the order of the file: checksums, order, the index's keys, and
 * whether the filter admits each key.
 */
export class BlockScan {
  readonly #findings: Findings;
  readonly #compression: TableHeader['compression'];
  readonly #filter: BloomFilter | undefined;
  readonly #cursor = new EntryCursor();
  /** The entry before: in the present block, or with a copy of its key from the one before it. */
  readonly #last: Position = {
    bytes: Buffer.alloc(256),
    keyAt: 0,
    valueAt: 0,
    timestampHigh: 0,
    timestampLow: 0,
    sequenceHigh: 0,
    sequenceLow: 0,
  };
  #lastKey = Buffer.alloc(256); // of the block before
  #blocks = 0;
  #entries = 0;
  #isFirst = true;
  #isComplete = true;
  // Timestamps as two halves: one bigint for each entry would take most of the time.
  readonly #lowest = { high: 0, low: 0 };
  readonly #highest = { high: 0, low: 0 };
  #minKeyBytes = 0;
  #maxKeyBytes = 0;
  #isUnknownReported = false;

  /** Checks blocks until one is not good. */
  #fast: TableScanner | undefined;

  constructor(
    findings: Findings,
    compression: TableHeader['compression'],
    filter: BloomFilter | undefined,
    fast?: TableScanner,
  ) {
    this.#findings = findings;
    this.#compression = compression;
    this.#filter = filter;
    this.#fast = fast;
  }

  get totals(): Totals {
    this.#lookCloser();
    return {
      blocks: this.#blocks,
      entries: this.#entries,
      isComplete: this.#isComplete,
      minTimestamp: bigOf(this.#lowest),
      maxTimestamp: bigOf(this.#highest),
      minKeyBytes: this.#minKeyBytes,
      maxKeyBytes: this.#maxKeyBytes,
    };
  }

  /** Blocks that are good. */
  pass(blocks: number, entries: number): void {
    this.#blocks += blocks;
    this.#entries += entries;
  }

  /** A block that cannot be read. The findings of the index say why. */
  skip(): void {
    this.#isComplete = false;
  }

  /** `bytes` are the whole block that `index` names. */
  add(bytes: Buffer, index: IndexEntry): void {
    this.#blocks++;
    const block = this.#uncompressed(bytes, index.offset);
    if (block === undefined) {
      this.#isComplete = false;
      return;
    }
    const good = this.#fast?.entriesOf(block, index);
    if (good !== undefined) {
      this.#entries += good;
      return;
    }
    this.#lookCloser();
    const cursor = this.#cursor.begin(block, index.offset);
    let count = 0;
    while (cursor.next()) {
      if (count++ === 0 && !isKey(cursor, index.firstKey)) {
        this.#report('TABLE_INDEX', index.offset, 'the index has another first key for this block');
      }
      this.#addEntry(cursor, this.#compression === 'none' ? index.offset + cursor.offset : index.offset);
    }
    if (cursor.damage !== undefined) {
      this.#report(cursor.damage.code, cursor.damage.offset, cursor.damage.message);
      this.#isComplete = false;
    } else if (count === 0) {
      this.#report('TABLE_BLOCK', index.offset, 'a block has no entries');
    } else {
      this.#entries += count;
      if (!isKey(this.#last, index.lastKey))
        this.#report('TABLE_INDEX', index.offset, 'the index has another last key for this block');
    }
    this.#keepLastKey();
  }

  /** Goes on in JavaScript from where the compiled scanner stopped. */
  #lookCloser(): void {
    const state = this.#fast?.state();
    this.#fast = undefined;
    if (state === undefined) return;
    Object.assign(this.#last, state.last);
    Object.assign(this.#lowest, state.lowest);
    Object.assign(this.#highest, state.highest);
    this.#minKeyBytes = state.minKeyBytes;
    this.#maxKeyBytes = state.maxKeyBytes;
    this.#isFirst = false;
  }

  /** Copies the key: the buffer of the block is used again. */
  #keepLastKey(): void {
    const { bytes, keyAt, valueAt } = this.#last;
    const length = valueAt - keyAt;
    if (this.#isFirst || bytes === this.#lastKey) return;
    if (length > this.#lastKey.byteLength) this.#lastKey = Buffer.alloc(2 * length);
    bytes.copy(this.#lastKey, 0, keyAt, valueAt);
    this.#last.bytes = this.#lastKey;
    this.#last.keyAt = 0;
    this.#last.valueAt = length;
  }

  #uncompressed(bytes: Buffer, offset: number): Buffer | undefined {
    if (this.#compression === 'none') {
      const damage = blockDamage(bytes, offset);
      if (damage !== undefined) this.#report(damage.code, damage.offset, damage.message);
      return damage === undefined ? bytes : undefined;
    }
    const { block, problem, isChecksum } = decompressBlock(bytes, this.#compression);
    if (problem !== undefined) {
      this.#report(isChecksum === true ? 'TABLE_BLOCK_CHECKSUM' : 'TABLE_BLOCK', offset, problem);
    } else if (block === undefined && !this.#isUnknownReported) {
      this.#isUnknownReported = true;
      const message = `this version of Node cannot read ${this.#compression}; only the checksums of blocks were read`;
      this.#findings.unread('LSM_TABLE_UNREAD', null, message);
    }
    return block;
  }

  #addEntry(entry: EntryCursor, offset: number): void {
    const last = this.#last;
    const keyBytes = entry.valueAt - entry.keyAt;
    let isNewKey = true;
    if (this.#isFirst) {
      this.#isFirst = false;
      copyTimestamp(this.#lowest, entry);
      copyTimestamp(this.#highest, entry);
      this.#minKeyBytes = keyBytes;
      this.#maxKeyBytes = keyBytes;
    } else {
      const byKey = compareKeys(last, entry);
      isNewKey = byKey !== 0;
      if (byKey > 0 || (byKey === 0 && !isOlder(last, entry)))
        this.#report('TABLE_ORDER', offset, 'an entry does not stand above the one before');
      const { timestampHigh: high, timestampLow: low } = entry;
      if (high < this.#lowest.high || (high === this.#lowest.high && low < this.#lowest.low))
        copyTimestamp(this.#lowest, entry);
      if (high > this.#highest.high || (high === this.#highest.high && low > this.#highest.low))
        copyTimestamp(this.#highest, entry);
      if (keyBytes < this.#minKeyBytes) this.#minKeyBytes = keyBytes;
      if (keyBytes > this.#maxKeyBytes) this.#maxKeyBytes = keyBytes;
    }
    if (
      isNewKey &&
      this.#filter !== undefined &&
      !mayContain(this.#filter, entry.bytes, entry.keyAt, entry.valueAt)
    ) {
      this.#report('TABLE_BLOOM', offset, 'the filter denies a key that is there');
    }
    last.bytes = entry.bytes;
    last.keyAt = entry.keyAt;
    last.valueAt = entry.valueAt;
    last.timestampHigh = entry.timestampHigh;
    last.timestampLow = entry.timestampLow;
    last.sequenceHigh = entry.sequenceHigh;
    last.sequenceLow = entry.sequenceLow;
  }

  #report(code: string, offset: number, message: string): void {
    this.#findings.error(`LSM_${code}`, offset, message);
  }
}

const bigOf = ({ high, low }: Halves): bigint => (BigInt(high) << 32n) | BigInt(low);

function copyTimestamp(target: Halves, { timestampHigh, timestampLow }: Position): void {
  target.high = timestampHigh;
  target.low = timestampLow;
}

const isKey = ({ bytes, keyAt, valueAt }: Position, key: Buffer): boolean =>
  valueAt - keyAt === key.byteLength && key.compare(bytes, keyAt, valueAt) === 0;

/** Neighbours differ after a few bytes: a loop here is faster than a call into native code. */
function compareKeys(a: Position, b: Position): number {
  const lengthA = a.valueAt - a.keyAt;
  const lengthB = b.valueAt - b.keyAt;
  const common = Math.min(lengthA, lengthB);
  for (let i = 0; i < common; i++) {
    const difference = a.bytes[a.keyAt + i]! - b.bytes[b.keyAt + i]!;
    if (difference !== 0) return difference;
  }
  return lengthA - lengthB;
}

/** Of two entries with the same key, the newer one comes first. */
function isOlder(before: Position, entry: Position): boolean {
  if (entry.timestampHigh !== before.timestampHigh) return entry.timestampHigh < before.timestampHigh;
  if (entry.timestampLow !== before.timestampLow) return entry.timestampLow < before.timestampLow;
  if (entry.sequenceHigh !== before.sequenceHigh) return entry.sequenceHigh < before.sequenceHigh;
  return entry.sequenceLow < before.sequenceLow;
}
