import type { BloomFilter } from '../../format/lsm/bloom.ts';
import { mayContain } from '../../format/lsm/bloom.ts';
import type { TableHeader } from '../../format/lsm/table.ts';
import {
  BLOCK_HEADER_BYTES,
  blockDamage,
  compareEntries,
  decodeBlock,
  type TableEntry,
  tableEntryBytes,
} from '../../format/lsm/table-block.ts';
import type { IndexEntry } from '../../format/lsm/table-index.ts';
import { decompressBlock } from './block-payload.ts';
import type { FindingList } from './findings.ts';

/** What the entries of a table add up to. */
export interface Totals {
  readonly blocks: number;
  readonly entries: number;
  /** Whether each block could be read: only then do the totals say anything against header and footer. */
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
  readonly #findings: FindingList;
  readonly #compression: TableHeader['compression'];
  readonly #filter: BloomFilter | undefined;
  #blocks = 0;
  #entries = 0;
  #isComplete = true;
  #minTimestamp = 0n;
  #maxTimestamp = 0n;
  #minKeyBytes = 0;
  #maxKeyBytes = 0;
  /** The entry before, its key copied: the block's bytes are a buffer that is filled again. */
  #last: TableEntry | undefined;
  #isUnknownReported = false;

  constructor(
    findings: FindingList,
    compression: TableHeader['compression'],
    filter: BloomFilter | undefined,
  ) {
    this.#findings = findings;
    this.#compression = compression;
    this.#filter = filter;
  }

  get totals(): Totals {
    return {
      blocks: this.#blocks,
      entries: this.#entries,
      isComplete: this.#isComplete,
      minTimestamp: this.#minTimestamp,
      maxTimestamp: this.#maxTimestamp,
      minKeyBytes: this.#minKeyBytes,
      maxKeyBytes: this.#maxKeyBytes,
    };
  }

  /** A block that cannot be read at all; why is said by the index's own findings. */
  skip(): void {
    this.#isComplete = false;
  }

  /** `bytes` are the whole block that `index` names. */
  add(bytes: Buffer, index: IndexEntry): void {
    this.#blocks++;
    const block = this.#uncompressed(bytes, index.offset);
    const decoded = block && decodeBlock(block, index.offset);
    if (decoded?.value === undefined) {
      if (decoded !== undefined)
        this.#report(decoded.damage.code, decoded.damage.offset, decoded.damage.message);
      this.#isComplete = false;
      return;
    }
    const entries = decoded.value;
    this.#compareIndex(entries, index);
    let at = index.offset + BLOCK_HEADER_BYTES;
    for (const entry of entries) {
      this.#addEntry(entry, this.#compression === 'none' ? at : index.offset);
      at += tableEntryBytes(entry);
    }
    if (this.#last !== undefined) this.#last = { ...this.#last, key: Buffer.from(this.#last.key) };
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
      this.#findings.warn('LSM_TABLE_UNREAD', null, message);
    }
    return block;
  }

  #compareIndex(entries: readonly TableEntry[], { offset, firstKey, lastKey }: IndexEntry): void {
    const [first, last] = [entries[0], entries.at(-1)];
    if (first === undefined || last === undefined) {
      this.#report('TABLE_BLOCK', offset, 'a block has no entries');
      return;
    }
    if (!first.key.equals(firstKey))
      this.#report('TABLE_INDEX', offset, 'the index has another first key for this block');
    if (!last.key.equals(lastKey))
      this.#report('TABLE_INDEX', offset, 'the index has another last key for this block');
  }

  #addEntry(entry: TableEntry, offset: number): void {
    const last = this.#last;
    const { timestamp, key } = entry;
    if (last === undefined) {
      this.#minTimestamp = timestamp;
      this.#maxTimestamp = timestamp;
      this.#minKeyBytes = key.byteLength;
      this.#maxKeyBytes = key.byteLength;
    } else {
      if (compareEntries(last, entry) >= 0)
        this.#report('TABLE_ORDER', offset, 'an entry does not stand above the one before');
      if (timestamp < this.#minTimestamp) this.#minTimestamp = timestamp;
      if (timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp;
      this.#minKeyBytes = Math.min(this.#minKeyBytes, key.byteLength);
      this.#maxKeyBytes = Math.max(this.#maxKeyBytes, key.byteLength);
    }
    const isSameKey = last?.key.equals(key) ?? false;
    if (!isSameKey && this.#filter !== undefined && !mayContain(this.#filter, key)) {
      this.#report('TABLE_BLOOM', offset, 'the filter denies a key that is there');
    }
    this.#entries++;
    this.#last = entry;
  }

  #report(code: string, offset: number, message: string): void {
    this.#findings.error(`LSM_${code}`, offset, message);
  }
}
