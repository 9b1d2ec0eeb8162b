import * as zlib from 'node:zlib';
import crcInScript from 'crc-32';

/** CRC-32 (IEEE, as in zlib) of `bytes`, continuing from `seed`, the CRC of what stands before them. */
export const crc32: (bytes: Uint8Array, seed?: number) => number =
  // Node has its own from 20.15; the import as a namespace keeps an older one, or another runtime, from failing to load.
  typeof zlib.crc32 === 'function'
    ? (bytes, seed = 0) => zlib.crc32(bytes, seed)
    : (bytes, seed = 0) => crcInScript.buf(bytes, seed) >>> 0;

/**
 * CRC-32 of A followed by B from their CRCs and the length of B alone.
 *
 * Appending n zero bytes to A multiplies its CRC, read as a polynomial over GF(2), by x^(8n); the rest is a sum.
 * Method: Mark Adler, zlib `crc32_combine`.
 */
export function combineCrc32(crcA: number, crcB: number, lengthB: number): number {
  return (multiply(powerOfX(lengthB * 8), crcA) ^ crcB) >>> 0;
}

/** CRC-32 of A followed by `length` zero bytes: what a hole adds. */
export function crc32OfZerosAfter(crcA: number, length: number): number {
  // The CRC is inverted at both ends, so the zeros are appended between the inversions.
  return (multiply(powerOfX(length * 8), ~crcA >>> 0) ^ 0xffffffff) >>> 0;
}

const POLYNOMIAL = 0xedb88320; // reflected: bit 31 is x^0
const ONE = 0x80000000;

function multiply(a: number, b: number): number {
  let product = 0;
  let factor = b;
  for (let bit = ONE; bit !== 0; bit >>>= 1) {
    if ((a & bit) !== 0) product ^= factor;
    factor = (factor & 1) === 0 ? factor >>> 1 : (factor >>> 1) ^ POLYNOMIAL;
  }
  return product >>> 0;
}

// SQUARES[i] = x^(2^i)
const SQUARES: number[] = [0x40000000];
for (let i = 1; i < 64; i++) SQUARES.push(multiply(SQUARES[i - 1]!, SQUARES[i - 1]!));

function powerOfX(exponent: number): number {
  let power = ONE;
  for (let i = 0, rest = exponent; rest > 0; i++, rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) power = multiply(SQUARES[i]!, power);
  }
  return power;
}
