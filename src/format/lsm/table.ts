/**
 * `sst/<id>.sst`: an immutable table of entries in the order of their keys.
 *
 * `header | data blocks, back to back | index | filter, if any | footer`. Integers are little-endian. This file has the frame:
 * header and footer; blocks are in `table-block.ts`, the index in `table-index.ts`, the filter in `bloom.ts`.
 */

/** Damage of a table and its place. It is a value and never an exception, so that a proof can collect all of it. */
export interface Damage {
  readonly code: TableDamageCode;
  readonly message: string;
  /** In the file. */
  readonly offset: number;
}

export type TableDamageCode =
  | 'TABLE_HEADER'
  | 'TABLE_FOOTER'
  | 'TABLE_LAYOUT'
  | 'TABLE_CHECKSUM'
  | 'TABLE_INDEX'
  | 'TABLE_BLOOM'
  | 'TABLE_BLOCK_CHECKSUM'
  | 'TABLE_BLOCK'
  | 'TABLE_ORDER'
  | 'TABLE_COUNTS';

export type Decoded<T> =
  | { readonly value: T; readonly damage?: undefined }
  | { readonly value?: undefined; readonly damage: Damage };

export const damaged = (code: TableDamageCode, offset: number, message: string): { damage: Damage } => ({
  damage: { code, offset, message },
});

export interface TableHeader {
  readonly hasBloom: boolean;
  /** Bits that have no meaning; 0 in every file that the engine wrote. */
  readonly unknownFlags: number;
  readonly compression: 'none' | 'lz4' | 'zstd';
  readonly blockCount: number;
  readonly entryCount: bigint;
  /** Bytes of the shortest and of the longest key; both 0 in an empty table. */
  readonly minKeyBytes: number;
  readonly maxKeyBytes: number;
  readonly reserved: number;
}

export const TABLE_HEADER_BYTES = 32;
const HEADER_MAGIC = 'ASST';
const VERSION = 1;
const MAGIC_AT = 0;
const VERSION_AT = 4;
const FLAGS_AT = 6;
const BLOCK_COUNT_AT = 8;
const ENTRY_COUNT_AT = 12;
const MIN_KEY_AT = 20;
const MAX_KEY_AT = 24;
const RESERVED_AT = 28;

const BLOOM_FLAG = 0b001;
const COMPRESSION_SHIFT = 1;
const COMPRESSION_MASK = 0b11;
const KNOWN_FLAGS = 0b111;
const COMPRESSIONS = ['none', 'lz4', 'zstd'] as const;

/** The first 32 bytes of the file. */
export function decodeTableHeader(bytes: Uint8Array): Decoded<TableHeader> {
  if (bytes.byteLength < TABLE_HEADER_BYTES) return damaged('TABLE_HEADER', 0, 'the file ends in its header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, TABLE_HEADER_BYTES);
  if (!hasMagic(bytes, MAGIC_AT, HEADER_MAGIC)) {
    return damaged('TABLE_HEADER', MAGIC_AT, `the file does not begin with ${HEADER_MAGIC}`);
  }
  const version = view.getUint16(VERSION_AT, true);
  if (version !== VERSION) {
    return damaged('TABLE_HEADER', VERSION_AT, `the version is ${version} and not ${VERSION}`);
  }
  const flags = view.getUint16(FLAGS_AT, true);
  const compression = COMPRESSIONS[(flags >> COMPRESSION_SHIFT) & COMPRESSION_MASK];
  if (compression === undefined) return damaged('TABLE_HEADER', FLAGS_AT, 'the compression is unknown');
  return {
    value: {
      hasBloom: (flags & BLOOM_FLAG) !== 0,
      unknownFlags: flags & ~KNOWN_FLAGS,
      compression,
      blockCount: view.getUint32(BLOCK_COUNT_AT, true),
      entryCount: view.getBigUint64(ENTRY_COUNT_AT, true),
      minKeyBytes: view.getUint32(MIN_KEY_AT, true),
      maxKeyBytes: view.getUint32(MAX_KEY_AT, true),
      reserved: view.getUint32(RESERVED_AT, true),
    },
  };
}

export function encodeTableHeader(
  header: Pick<TableHeader, 'hasBloom' | 'blockCount' | 'entryCount' | 'minKeyBytes' | 'maxKeyBytes'>,
): Buffer {
  const bytes = Buffer.alloc(TABLE_HEADER_BYTES);
  bytes.write(HEADER_MAGIC, MAGIC_AT, 'latin1');
  bytes.writeUInt16LE(VERSION, VERSION_AT);
  bytes.writeUInt16LE(header.hasBloom ? BLOOM_FLAG : 0, FLAGS_AT);
  bytes.writeUInt32LE(header.blockCount, BLOCK_COUNT_AT);
  bytes.writeBigUInt64LE(header.entryCount, ENTRY_COUNT_AT);
  bytes.writeUInt32LE(header.minKeyBytes, MIN_KEY_AT);
  bytes.writeUInt32LE(header.maxKeyBytes, MAX_KEY_AT);
  return bytes;
}

export interface TableFooter {
  /** Where the index begins, which is where the blocks end. */
  readonly indexOffset: number;
  readonly indexBytes: number;
  /** Both 0 without a filter. */
  readonly bloomOffset: number;
  readonly bloomBytes: number;
  /** Of all entries; both 0 in an empty table. Under no checksum. */
  readonly minTimestamp: bigint;
  readonly maxTimestamp: bigint;
  /** CRC-32 of all of the file before the footer. */
  readonly crc32: number;
}

export const TABLE_FOOTER_BYTES = 48;
const FOOTER_MAGIC = 'TSSA';
const INDEX_OFFSET_AT = 0;
const INDEX_BYTES_AT = 8;
const BLOOM_OFFSET_AT = 12;
const BLOOM_BYTES_AT = 20;
const MIN_TIMESTAMP_AT = 24;
const MAX_TIMESTAMP_AT = 32;
const FILE_CRC_AT = 40;
const FOOTER_MAGIC_AT = 44;

export const MIN_TABLE_BYTES = TABLE_HEADER_BYTES + TABLE_FOOTER_BYTES;

/** @param at Where the 48 bytes stand in the file. Offsets in it are checked by `layoutDamage`. */
export function decodeTableFooter(bytes: Uint8Array, at: number): Decoded<TableFooter> {
  if (bytes.byteLength < TABLE_FOOTER_BYTES)
    return damaged('TABLE_FOOTER', at, 'the file has no room for a footer');
  const view = new DataView(bytes.buffer, bytes.byteOffset, TABLE_FOOTER_BYTES);
  if (!hasMagic(bytes, FOOTER_MAGIC_AT, FOOTER_MAGIC)) {
    return damaged('TABLE_FOOTER', at + FOOTER_MAGIC_AT, `the file does not end with ${FOOTER_MAGIC}`);
  }
  return {
    value: {
      // Beyond 2^53 these are rounded, and still outside of any file.
      indexOffset: Number(view.getBigUint64(INDEX_OFFSET_AT, true)),
      indexBytes: view.getUint32(INDEX_BYTES_AT, true),
      bloomOffset: Number(view.getBigUint64(BLOOM_OFFSET_AT, true)),
      bloomBytes: view.getUint32(BLOOM_BYTES_AT, true),
      minTimestamp: view.getBigUint64(MIN_TIMESTAMP_AT, true),
      maxTimestamp: view.getBigUint64(MAX_TIMESTAMP_AT, true),
      crc32: view.getUint32(FILE_CRC_AT, true),
    },
  };
}

export function encodeTableFooter(footer: TableFooter): Buffer {
  const bytes = Buffer.alloc(TABLE_FOOTER_BYTES);
  bytes.writeBigUInt64LE(BigInt(footer.indexOffset), INDEX_OFFSET_AT);
  bytes.writeUInt32LE(footer.indexBytes, INDEX_BYTES_AT);
  bytes.writeBigUInt64LE(BigInt(footer.bloomOffset), BLOOM_OFFSET_AT);
  bytes.writeUInt32LE(footer.bloomBytes, BLOOM_BYTES_AT);
  bytes.writeBigUInt64LE(footer.minTimestamp, MIN_TIMESTAMP_AT);
  bytes.writeBigUInt64LE(footer.maxTimestamp, MAX_TIMESTAMP_AT);
  bytes.writeUInt32LE(footer.crc32, FILE_CRC_AT);
  bytes.write(FOOTER_MAGIC, FOOTER_MAGIC_AT, 'latin1');
  return bytes;
}

/** Damage unless index and filter lie inside the file and do not overlap. Check it before reading either. */
export function layoutDamage(
  header: TableHeader,
  footer: TableFooter,
  fileBytes: number,
): Damage | undefined {
  const footerAt = fileBytes - TABLE_FOOTER_BYTES;
  const indexEnd = footer.indexOffset + footer.indexBytes;
  if (footer.indexOffset < TABLE_HEADER_BYTES || indexEnd > footerAt) {
    return damaged('TABLE_LAYOUT', footerAt + INDEX_OFFSET_AT, 'the index lies outside the file').damage;
  }
  if (header.hasBloom) {
    if (footer.bloomOffset < indexEnd || footer.bloomOffset + footer.bloomBytes > footerAt) {
      return damaged('TABLE_LAYOUT', footerAt + BLOOM_OFFSET_AT, 'the filter lies outside its place').damage;
    }
  } else if (footer.bloomBytes !== 0) {
    return damaged('TABLE_LAYOUT', footerAt + BLOOM_BYTES_AT, 'there is a filter, and the header denies it')
      .damage;
  }
  return undefined;
}

/**
 * Bytes that belong to no section: sections follow each other without a gap. The engine itself does not check this. The layout
 * must have no `layoutDamage`.
 */
export function gapDamage(header: TableHeader, footer: TableFooter, fileBytes: number): Damage[] {
  const footerAt = fileBytes - TABLE_FOOTER_BYTES;
  const found: Damage[] = [];
  const expect = (from: number, to: number): void => {
    if (to > from) {
      found.push(damaged('TABLE_LAYOUT', from, `${to - from} bytes here belong to no section`).damage);
    }
  };
  const indexEnd = footer.indexOffset + footer.indexBytes;
  if (header.hasBloom) {
    expect(indexEnd, footer.bloomOffset);
    expect(footer.bloomOffset + footer.bloomBytes, footerAt);
  } else {
    expect(indexEnd, footerAt);
  }
  return found;
}

function hasMagic(bytes: Uint8Array, at: number, magic: string): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, magic.length).toString('latin1') === magic;
}
