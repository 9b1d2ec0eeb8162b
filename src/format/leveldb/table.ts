import { createRequire } from 'node:module';
import * as zlib from 'node:zlib';
import { StillpointError } from '../../errors.ts';
import { crc32c, maskCrc } from '../crc32c.ts';
import { decodeVarint, writeVarint } from '../varint.ts';

/**
 * The frame of a sorted table (LevelDB `doc/table_format.md`):
 *
 *     data blocks | meta blocks | metaindex block | index block | footer
 *
 * Each block is followed by a trailer: u8 compression | u32 masked CRC-32C over content and compression byte.
 */

export const FOOTER_BYTES = 48;
export const TRAILER_BYTES = 5;
/** The last bytes of the trailer. */
export const CRC_BYTES = 4;

const AT_MAGIC = 40;
const MAGIC = 0xdb4775248b80fb57n;
const MAX_HANDLE_BYTES = 20;

/** Values of the trailer's first byte. */
export const UNCOMPRESSED = 0;
export const SNAPPY = 1;
/** With a zlib header, as Mojang writes it; Google's LevelDB gives the same number to zstd. The magic number tells them apart. */
const ZLIB_OR_ZSTD = 2;
/** Without a header: Mojang. */
const RAW_DEFLATE = 4;

const ZSTD_MAGIC = 0xfd2fb528;
/** One byte of deflate becomes at most this many. */
const DEFLATE_MAX_RATIO = 1032;
/** More is not decompressed here, whatever it claims to be. A block is larger than 4 KiB only where one entry is. */
const INFLATED_MAX_BYTES = 256 * 1024 * 1024;

/** Where a block stands; `sizeBytes` counts its content without the trailer. */
export interface BlockHandle {
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface Footer {
  readonly metaindex: BlockHandle;
  readonly index: BlockHandle;
}

/** The handle at `offset`, and the offset after it. Undefined when it is cut short or no position in a file. */
export function decodeHandle(bytes: Uint8Array, offset = 0): (BlockHandle & { next: number }) | undefined {
  const position = decodeVarint(bytes, offset);
  const size = position && decodeVarint(bytes, position.next);
  return size && { offset: position.value, sizeBytes: size.value, next: size.next };
}

export function encodeHandle({ offset, sizeBytes }: BlockHandle): Buffer {
  const bytes = Buffer.alloc(MAX_HANDLE_BYTES);
  return bytes.subarray(0, writeVarint(bytes, writeVarint(bytes, 0, offset), sizeBytes));
}

/** The footer in these `FOOTER_BYTES` bytes, or why they are not a footer. */
export function decodeFooter(bytes: Buffer): Footer | string {
  if (bytes.readBigUInt64LE(AT_MAGIC) !== MAGIC) return 'the magic number is another one';
  const metaindex = decodeHandle(bytes.subarray(0, AT_MAGIC));
  const index = metaindex && decodeHandle(bytes.subarray(0, AT_MAGIC), metaindex.next);
  if (metaindex === undefined || index === undefined) return 'the handles are unreadable';
  for (let at = index.next; at < AT_MAGIC; at++) {
    if (bytes[at] !== 0) return `the padding is not zero at byte ${at} of the footer`;
  }
  // No checksum covers the footer. A flipped bit can join a varint's last byte and the padding to another varint of the same value.
  if (!encodeFooter({ metaindex, index }).equals(bytes))
    return 'the handles are not written as they should be';
  return { metaindex, index };
}

export function encodeFooter({ metaindex, index }: Footer): Buffer {
  const bytes = Buffer.alloc(FOOTER_BYTES);
  const handles = Buffer.concat([encodeHandle(metaindex), encodeHandle(index)]);
  handles.copy(bytes);
  bytes.writeBigUInt64LE(MAGIC, AT_MAGIC);
  return bytes;
}

/** The CRC-32C of a block up to the CRC in its trailer. `broken`: how the stored CRC differs, if it does. */
export function checkSeal(sealed: Buffer): { readonly crc: number; readonly broken: string | undefined } {
  const crcAt = sealed.length - CRC_BYTES;
  const crc = crc32c(sealed.subarray(0, crcAt));
  const stored = sealed.readUInt32LE(crcAt);
  const actual = maskCrc(crc);
  const broken = stored === actual ? undefined : `checksum ${hex(actual)}, stored ${hex(stored)}`;
  return { crc, broken };
}

export type Unpacked =
  | { readonly content: Buffer }
  | { readonly problem: string }
  /** Why the content cannot be read here, which says nothing about it. */
  | { readonly unread: string };

/** The content of a block with its trailer. Look at `checkSeal` first; the content may share memory with `sealed`. */
export function unpackBlock(sealed: Buffer): Unpacked {
  const packed = sealed.subarray(0, sealed.length - TRAILER_BYTES);
  const compression = sealed[packed.length]!;
  if (compression === UNCOMPRESSED) return { content: packed };
  if (compression === ZLIB_OR_ZSTD)
    return isZstd(packed) ? unpackZstd(packed) : inflate(packed, zlib.inflateSync);
  if (compression === RAW_DEFLATE) return inflate(packed, zlib.inflateRawSync);
  if (compression !== SNAPPY) return { unread: `compression ${compression} is not known here` };
  // Snappy encodes a copy of 64 bytes in three bytes: no valid block grows by more. The claim decides how much is allocated.
  const claim = decodeVarint(packed, 0);
  if (claim === undefined || claim.value > packed.length * 22) {
    return { problem: 'the compressed content claims an impossible length' };
  }
  try {
    // Allocating memory for each small block takes three times as long as copying it.
    return { content: snappy().uncompressSync(packed, { copyOutputData: true }) as Buffer };
  } catch (error) {
    if (error instanceof StillpointError) throw error;
    return { problem: 'the compressed content does not decompress' };
  }
}

const isZstd = (packed: Buffer): boolean => packed.length >= 4 && packed.readUInt32LE(0) === ZSTD_MAGIC;

function inflate(packed: Buffer, decompress: typeof zlib.inflateSync): Unpacked {
  const maxOutputLength = Math.min(INFLATED_MAX_BYTES, DEFLATE_MAX_RATIO * (packed.length + 1));
  return decompressed(() => decompress(packed, { maxOutputLength }), maxOutputLength === INFLATED_MAX_BYTES);
}

/** Node has it from 22.15 on. */
const { zstdDecompressSync } = zlib as {
  zstdDecompressSync?: (bytes: Uint8Array, options: object) => Buffer;
};

function unpackZstd(packed: Buffer): Unpacked {
  if (zstdDecompressSync === undefined) return { unread: 'this version of Node cannot read zstd' };
  return decompressed(() => zstdDecompressSync(packed, { maxOutputLength: INFLATED_MAX_BYTES }), true);
}

function decompressed(decompress: () => Buffer, isOurLimit: boolean): Unpacked {
  try {
    return { content: decompress() };
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    const isTooLarge = code === 'ERR_BUFFER_TOO_LARGE' && isOurLimit;
    if (isTooLarge || /MEM/i.test(code))
      return { unread: 'the content is too large to be decompressed here' };
    return { problem: 'the compressed content does not decompress' };
  }
}

type Snappy = Pick<typeof import('snappy'), 'uncompressSync'>;

let loaded: Snappy | undefined;

// Loaded at first use: on a platform without a build, all but compressed blocks still works.
function snappy(): Snappy {
  try {
    loaded ??= createRequire(import.meta.url)('snappy') as Snappy;
    return loaded;
  } catch (cause) {
    throw new StillpointError('ENGINE_MISSING', 'the package `snappy` cannot be loaded on this platform', {
      cause,
    });
  }
}

const hex = (crc: number): string => `0x${crc.toString(16).padStart(8, '0')}`;
