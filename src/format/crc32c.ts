import { createRequire } from 'node:module';

type Checksum = (bytes: Uint8Array, seed?: number) => number;

const require = createRequire(import.meta.url);

const inScript = (require('crc-32/crc32c') as { buf: Checksum }).buf;
const inHardware = loadHardware();

// Below this many bytes a call into the native module costs more than the table in script.
const SMALL = 96;

/** CRC-32C (Castagnoli) of `bytes`, continuing from `seed`, the CRC of what stands before them. */
export const crc32c: Checksum =
  inHardware === undefined
    ? (bytes, seed = 0) => inScript(bytes, seed) >>> 0
    : (bytes, seed = 0) => (bytes.byteLength < SMALL ? inScript(bytes, seed) >>> 0 : inHardware(bytes, seed));

/** The same by the module in script alone: the oracle of the tests, and what runs where there is no native build. */
export const crc32cInScript: Checksum = (bytes, seed = 0) => inScript(bytes, seed) >>> 0;

// LevelDB stores no bare CRC: one taken over bytes that hold a CRC themselves would be weak.
const MASK_DELTA = 0xa282ead8;

export const maskCrc = (crc: number): number => (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;

export function unmaskCrc(masked: number): number {
  const rotated = (masked - MASK_DELTA) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
}

function loadHardware(): Checksum | undefined {
  try {
    return (require('@node-rs/crc32') as { crc32c: Checksum }).crc32c;
  } catch {
    return undefined; // no prebuilt binary for this platform
  }
}
