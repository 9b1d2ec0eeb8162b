import { createRequire } from 'node:module';
import { type Checksum, nativeCrc32 } from './native-crc32.ts';

const inScript = (createRequire(import.meta.url)('crc-32/crc32c') as { buf: Checksum }).buf;

/** The same by the module in script alone: the oracle of the tests, and what runs where there is no native build. */
export const crc32cInScript: Checksum = (bytes, seed = 0) => inScript(bytes, seed) >>> 0;

const ofLarge = nativeCrc32?.crc32c ?? crc32cInScript;

// Below this many bytes a call into the native module costs more than the table in script.
const SMALL = 96;

/** CRC-32C (Castagnoli) of `bytes`, continuing from `seed`, the CRC of what stands before them. */
export const crc32c: Checksum = (bytes, seed = 0) =>
  bytes.byteLength < SMALL ? crc32cInScript(bytes, seed) : ofLarge(bytes, seed);

// LevelDB stores no bare CRC: one taken over bytes that hold a CRC themselves would be weak.
const MASK_DELTA = 0xa282ead8;

export const maskCrc = (crc: number): number => (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;
