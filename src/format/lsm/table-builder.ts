import { combineCrc32, crc32 } from '../crc32.ts';
import { BloomBuilder, encodeBloom } from './bloom.ts';
import { encodeTableFooter, encodeTableHeader, TABLE_HEADER_BYTES } from './table.ts';
import {
  BLOCK_OVERHEAD_BYTES,
  BLOCK_TARGET_BYTES,
  encodeBlock,
  type TableEntry,
  tableEntryBytes,
} from './table-block.ts';
import { encodeIndex, type IndexEntry } from './table-index.ts';

export interface FinishedTable {
  /** To be written after everything that `add` returned. */
  readonly tail: Buffer;
  /** To be written at offset 0: its counts are known only at the end. */
  readonly header: Buffer;
  readonly sizeBytes: number;
  readonly entryCount: number;
  readonly minTimestamp: bigint;
  readonly maxTimestamp: bigint;
}

/**
 * Builds a table block by block from sorted entries. In memory are one block, the index and eight bytes for each key.
 *
 * What `add` returns follows each other in the file from `TABLE_HEADER_BYTES` on. The footer's checksum begins with the header,
 * so the blocks' checksum is kept from there and the header's is put in front of it at the end.
 */
export class TableBuilder {
  readonly #bloom: BloomBuilder | undefined;
  readonly #index: IndexEntry[] = [];
  #block: TableEntry[] = [];
  #payloadBytes = 0;
  #offset = TABLE_HEADER_BYTES;
  #crc = 0;
  #entryCount = 0;
  #minKeyBytes = 0;
  #maxKeyBytes = 0;
  #minTimestamp = 0n;
  #maxTimestamp = 0n;
  #lastKey: Buffer | undefined;

  constructor(options: { readonly bloom?: boolean } = {}) {
    this.#bloom = options.bloom === false ? undefined : new BloomBuilder();
  }

  /** Bytes of the file so far, without index, filter and footer. */
  get sizeBytes(): number {
    return this.#offset + this.#payloadBytes;
  }

  /**
   * Adds the next entry; the caller sorts them by `compareEntries`. Key and value must not change until their block was
   * returned. Returns the previous block, if this entry closes it.
   */
  add(entry: TableEntry): Buffer | undefined {
    const size = tableEntryBytes(entry);
    const isFull = this.#payloadBytes + size + BLOCK_OVERHEAD_BYTES > BLOCK_TARGET_BYTES;
    const closed = this.#block.length > 0 && isFull ? this.#closeBlock() : undefined;
    this.#block.push(entry);
    this.#payloadBytes += size;
    this.#count(entry);
    return closed;
  }

  finish(): FinishedTable {
    const pieces: Buffer[] = [];
    if (this.#block.length > 0) pieces.push(this.#closeBlock());
    const index = this.#append(encodeIndex(this.#index), pieces);
    const bloom = this.#bloom && this.#append(encodeBloom(this.#bloom.build(this.#entryCount)), pieces);
    const header = encodeTableHeader({
      hasBloom: bloom !== undefined,
      blockCount: this.#index.length,
      entryCount: BigInt(this.#entryCount),
      minKeyBytes: this.#minKeyBytes,
      maxKeyBytes: this.#maxKeyBytes,
    });
    pieces.push(
      encodeTableFooter({
        indexOffset: index.offset,
        indexBytes: index.bytes,
        bloomOffset: bloom?.offset ?? 0,
        bloomBytes: bloom?.bytes ?? 0,
        minTimestamp: this.#minTimestamp,
        maxTimestamp: this.#maxTimestamp,
        crc32: combineCrc32(crc32(header), this.#crc, this.#offset - TABLE_HEADER_BYTES),
      }),
    );
    const tail = Buffer.concat(pieces);
    return {
      tail,
      header,
      sizeBytes: this.#offset + pieces.at(-1)!.byteLength,
      entryCount: this.#entryCount,
      minTimestamp: this.#minTimestamp,
      maxTimestamp: this.#maxTimestamp,
    };
  }

  #count(entry: TableEntry): void {
    const keyBytes = entry.key.byteLength;
    if (this.#entryCount === 0) {
      this.#minKeyBytes = keyBytes;
      this.#minTimestamp = entry.timestamp;
    }
    if (keyBytes < this.#minKeyBytes) this.#minKeyBytes = keyBytes;
    if (keyBytes > this.#maxKeyBytes) this.#maxKeyBytes = keyBytes;
    if (entry.timestamp < this.#minTimestamp) this.#minTimestamp = entry.timestamp;
    if (entry.timestamp > this.#maxTimestamp) this.#maxTimestamp = entry.timestamp;
    if (this.#lastKey === undefined || !this.#lastKey.equals(entry.key)) this.#bloom?.add(entry.key);
    this.#lastKey = entry.key;
    this.#entryCount++;
  }

  #closeBlock(): Buffer {
    const bytes = encodeBlock(this.#block, this.#payloadBytes);
    this.#index.push({
      offset: this.#offset,
      sizeBytes: bytes.byteLength,
      // Copies: the index must not keep alive the blocks, or logs, that the keys are views into.
      firstKey: Buffer.from(this.#block[0]!.key),
      lastKey: Buffer.from(this.#block.at(-1)!.key),
    });
    this.#block = [];
    this.#payloadBytes = 0;
    this.#advance(bytes);
    return bytes;
  }

  #append(bytes: Buffer, pieces: Buffer[]): { offset: number; bytes: number } {
    const offset = this.#offset;
    pieces.push(bytes);
    this.#advance(bytes);
    return { offset, bytes: bytes.byteLength };
  }

  #advance(bytes: Buffer): void {
    this.#crc = crc32(bytes, this.#crc);
    this.#offset += bytes.byteLength;
  }
}
