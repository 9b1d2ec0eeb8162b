import { createRequire } from 'node:module';
import { type Checksum, nativeCrc32 } from './native-crc32.ts';

const inScript = (createRequire(import.meta.url)('crc-32/crc32c') as { buf: Checksum }).buf;

/** The same in JavaScript: the reference of the tests, and the fallback without native code. */
export const crc32cInScript: Checksum = (bytes, seed = 0) => inScript(bytes, seed) >>> 0;

const ofLarge = nativeCrc32?.crc32c ?? crc32cInScript;

// For fewer bytes a call into native code takes longer than JavaScript.
const SMALL = 96;

/** CRC-32C (Castagnoli) of `bytes`, continuing from `seed`, the CRC of what stands before them. */
export const crc32c: Checksum = (bytes, seed = 0) =>
  bytes.byteLength < SMALL ? crc32cInScript(bytes, seed) : ofLarge(bytes, seed);

// LevelDB masks the CRCs that it stores: a CRC of bytes that contain their own CRC would be weak.
const MASK_DELTA = 0xa282ead8;

export const maskCrc = (crc: number): number => (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;

export function unmaskCrc(masked: number): number {
  const rotated = masked - MASK_DELTA;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}
