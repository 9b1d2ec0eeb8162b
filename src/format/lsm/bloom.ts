import { crc32, crc32AndByte, crc32OfPart } from '../crc32.ts';

/**
 * The filter of a table: a Bloom filter for one false alarm in a hundred, over the distinct keys. Its size follows the
 * number of *entries*, older versions included, as in the engine.
 *
 * `u32 hash count | u32 bytes | bits`. Bit i of a key stands at `((h1 + i * h2) mod 2^32) mod (8 * bytes)`, lowest bit of a
 * byte first, with h1 = CRC-32 of the key and h2 = CRC-32 of the key and a byte 0xA5, at least 1.
 */
export interface BloomFilter {
  readonly hashCount: number;
  readonly bits: Uint8Array;
}

export interface BloomShape {
  readonly hashCount: number;
  /** Of the bits alone. */
  readonly bytes: number;
}

export const BLOOM_HEADER_BYTES = 8;
const HASH_COUNT_AT = 0;
const BYTES_AT = 4;

/** `bloomShape` gives no more. Limited, since the count in a file decides how long a look-up takes. */
export const MAX_HASH_COUNT = 64;

const FALSE_ALARMS = 0.01;
const SECOND_HASH_SUFFIX = 0xa5;

export function bloomShape(entryCount: number): BloomShape {
  const n = Math.max(entryCount, 1);
  const bitCount = Math.max(Math.ceil((-n * Math.log(FALSE_ALARMS)) / Math.LN2 ** 2), 8);
  return {
    hashCount: Math.max(Math.round((bitCount / n) * Math.LN2), 1),
    bytes: Math.ceil(bitCount / 8),
  };
}

/** Collects the keys of a table, eight bytes each, until their number is known and the filter can be sized. */
export class BloomBuilder {
  /** h1 and h2 of each key in turn. */
  #hashes = new Uint32Array(256);
  #used = 0;

  /** Each distinct key once. */
  add(key: Uint8Array): void {
    if (this.#used === this.#hashes.length) {
      const larger = new Uint32Array(2 * this.#hashes.length);
      larger.set(this.#hashes);
      this.#hashes = larger;
    }
    const first = crc32(key);
    this.#hashes[this.#used++] = first;
    this.#hashes[this.#used++] = secondHash(first);
  }

  /** @param entryCount All entries of the table, at least as many as keys were added. */
  build(entryCount: number): BloomFilter {
    const shape = bloomShape(entryCount);
    const bits = new Uint8Array(shape.bytes);
    for (let at = 0; at < this.#used; at += 2) {
      const step = this.#hashes[at + 1]!;
      let hash = this.#hashes[at]!;
      for (let i = 0; i < shape.hashCount; i++) {
        const bit = hash % (shape.bytes * 8);
        bits[Math.floor(bit / 8)]! |= 1 << (bit & 7);
        hash = (hash + step) >>> 0;
      }
    }
    return { hashCount: shape.hashCount, bits };
  }
}

/** False only if the key `bytes[from, to)` was certainly not added. */
export function mayContain(
  { bits, hashCount }: BloomFilter,
  bytes: Uint8Array,
  from = 0,
  to = bytes.byteLength,
): boolean {
  const bitCount = bits.byteLength * 8;
  let hash = crc32OfPart(bytes, from, to);
  const step = secondHash(hash);
  for (let i = 0; i < hashCount; i++) {
    // The remainder, exact at this size. The operator `%` takes many times as long on more than 31 bits.
    const bit = hash - Math.floor(hash / bitCount) * bitCount;
    if ((bits[Math.floor(bit / 8)]! & (1 << (bit & 7))) === 0) return false;
    hash = (hash + step) >>> 0;
  }
  return true;
}

const secondHash = (first: number): number => Math.max(crc32AndByte(first, SECOND_HASH_SUFFIX), 1);

export function encodeBloom(filter: BloomFilter): Buffer {
  const bytes = Buffer.allocUnsafe(BLOOM_HEADER_BYTES + filter.bits.byteLength);
  bytes.writeUInt32LE(filter.hashCount, HASH_COUNT_AT);
  bytes.writeUInt32LE(filter.bits.byteLength, BYTES_AT);
  bytes.set(filter.bits, BLOOM_HEADER_BYTES);
  return bytes;
}

export type DecodedBloom =
  | { readonly filter: BloomFilter; readonly problem?: undefined }
  | { readonly filter?: undefined; readonly problem: string };

/** Decodes exactly the bytes of the filter; the bits are a view into them. */
export function decodeBloom(bytes: Uint8Array): DecodedBloom {
  if (bytes.byteLength < BLOOM_HEADER_BYTES) return { problem: `it has only ${bytes.byteLength} bytes` };
  const view = new DataView(bytes.buffer, bytes.byteOffset, BLOOM_HEADER_BYTES);
  const hashCount = view.getUint32(HASH_COUNT_AT, true);
  const declared = view.getUint32(BYTES_AT, true);
  const present = bytes.byteLength - BLOOM_HEADER_BYTES;
  if (hashCount < 1 || hashCount > MAX_HASH_COUNT) return { problem: `its hash count is ${hashCount}` };
  if (declared !== present) return { problem: `it declares ${declared} bytes of bits and has ${present}` };
  if (declared === 0) return { problem: 'it has no bits' };
  return { filter: { hashCount, bits: bytes.subarray(BLOOM_HEADER_BYTES) } };
}
