import * as zlib from 'node:zlib';
import crcInScript from 'crc-32';
import { type Checksum, nativeCrc32 } from './native-crc32.ts';

/** The same in JavaScript: the reference of the tests, and the fallback without native code. */
export const crc32InScript: Checksum = (bytes, seed = 0) => crcInScript.buf(bytes, seed) >>> 0;

// Node has its own from 20.15, at a fifth of the native module's speed on large pieces. Imported as a namespace, so that
// an older one, or another runtime, does not fail to load.
const ofLarge: Checksum = nativeCrc32?.crc32 ?? zlib.crc32 ?? crc32InScript;

// For fewer bytes a call into native code takes longer than JavaScript.
const SMALL = 64;

/** CRC-32 (IEEE, as in zlib) of `bytes`, continuing from `seed`, the CRC of what stands before them. */
export const crc32: Checksum = (bytes, seed = 0) =>
  bytes.byteLength < SMALL ? crc32InScript(bytes, seed) : ofLarge(bytes, seed);

/** The table of CRC-32, derived from the checksums of single bytes. */
const TABLE = Int32Array.from(
  { length: 256 },
  (_, byte) => ~crc32InScript(Uint8Array.of(byte ^ 0xff)) ^ 0x00ff_ffff,
);

/** CRC-32 of `bytes[from, to)`. Allocates no view: most calls are for short keys. */
export function crc32OfPart(bytes: Uint8Array, from: number, to: number): number {
  if (to - from >= SMALL) return ofLarge(bytes.subarray(from, to));
  let crc = -1;
  for (let at = from; at < to; at++) crc = TABLE[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** `crc` continued by one byte. */
export function crc32AndByte(crc: number, byte: number): number {
  const before = ~crc;
  return ~(TABLE[(before ^ byte) & 0xff]! ^ (before >>> 8)) >>> 0;
}

/**
 * What can be computed from 32-bit CRCs without the bytes.
 *
 * Appending n zero bytes to A multiplies its CRC, read as a polynomial over GF(2), by x^(8n); the rest is a sum.
 * Method: Mark Adler, zlib `crc32_combine`.
 */
interface CrcAlgebra {
  /** The CRC of A followed by B from their CRCs and the length of B alone. */
  combine(crcA: number, crcB: number, lengthB: number): number;
  /** The CRC of A followed by `length` zero bytes: what a hole adds. */
  zerosAfter(crcA: number, length: number): number;
}

const ONE = 0x80000000;

/** The polynomial is reflected: bit 31 is x^0. */
function algebraOf(polynomial: number): CrcAlgebra {
  // Without branches, which would be unpredictable: it runs once for each block of a table.
  const multiply = (a: number, b: number): number => {
    let product = 0;
    let bits = a;
    let factor = b;
    for (let i = 0; i < 32; i++) {
      product ^= factor & (bits >> 31);
      bits <<= 1;
      factor = (factor >>> 1) ^ (polynomial & -(factor & 1));
    }
    return product >>> 0;
  };
  // squares[i] = x^(2^i)
  const squares: number[] = [0x40000000];
  for (let i = 1; i < 64; i++) squares.push(multiply(squares[i - 1]!, squares[i - 1]!));
  const powerOfX = (exponent: number): number => {
    let power = ONE;
    for (let i = 0, rest = exponent; rest > 0; i++, rest = Math.floor(rest / 2)) {
      if (rest % 2 === 1) power = multiply(squares[i]!, power);
    }
    return power;
  };
  // Blocks have few different lengths. No power of x is 0.
  const known = new Uint32Array(64 * 1024);
  const shiftOf = (bytes: number): number => {
    if (bytes >= known.length) return powerOfX(bytes * 8);
    if (known[bytes] === 0) known[bytes] = powerOfX(bytes * 8);
    return known[bytes]!;
  };
  return {
    combine: (crcA, crcB, lengthB) => (multiply(shiftOf(lengthB), crcA) ^ crcB) >>> 0,
    // The CRC is inverted at both ends, so the zeros are appended between the inversions.
    zerosAfter: (crcA, length) => (multiply(shiftOf(length), ~crcA >>> 0) ^ 0xffffffff) >>> 0,
  };
}

export const { combine: combineCrc32, zerosAfter: crc32OfZerosAfter } = algebraOf(0xedb88320);
export const { combine: combineCrc32c, zerosAfter: crc32cOfZerosAfter } = algebraOf(0x82f63b78);
