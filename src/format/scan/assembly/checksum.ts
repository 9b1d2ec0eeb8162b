/**
 * AssemblyScript. The checksum that a stretch of blocks must have, from the checksums that are stored in it. If a native pass over the
 * stretch finds the same one, each block has the checksum that it stores; damage has a chance of 1 in 2^32 to go unseen, as
 * in one block.
 *
 * The algebra: `format/crc32.ts`.
 */
import { SHIFTS, SHIFTS_AT, SHIFTS_C_AT, TABLE_C_AT, TABLES_AT } from './memory';

const POLYNOMIAL: u32 = 0xedb88320;
const POLYNOMIAL_C: u32 = 0x82f63b78;
const ONE: u32 = 0x80000000;
const X: u32 = 0x40000000;
const MASK_DELTA: u32 = 0xa282ead8;
/** CRC-32 of any bytes that are followed by their own CRC-32. */
const CRC_OF_SEALED: u32 = 0x2144df1c;

/** `crc`, of what stands before, continued by a block of `bytes` that ends with its own CRC-32. */
export function crc32ThroughBlock(crc: u32, bytes: u32): u32 {
  return multiply(shift(bytes, SHIFTS_AT, POLYNOMIAL), crc, POLYNOMIAL) ^ CRC_OF_SEALED;
}

/** `crc`, of what stands before, continued by a block of `bytes` that ends with its own CRC-32C, which is stored as `masked`. */
export function crc32cThroughBlock(crc: u32, bytes: u32, masked: u32): u32 {
  const own = rotr(masked - MASK_DELTA, 17);
  let register = ~(multiply(shift(bytes - 4, SHIFTS_C_AT, POLYNOMIAL_C), crc, POLYNOMIAL_C) ^ own) ^ masked;
  for (let i = 0; i < 4; i++) register = load<u32>(TABLE_C_AT + ((register & 0xff) << 2)) ^ (register >> 8);
  return ~register;
}

/** Of CRC-32 (IEEE): what a byte makes of the register when `behind` bytes follow it. */
export function table(behind: u32, byte: u32): u32 {
  return load<u32>(TABLES_AT + (((behind << 8) | (byte & 0xff)) << 2));
}

export function makeTables(): void {
  if (table(0, 1) !== 0) return;
  for (let byte: u32 = 0; byte < 256; byte++) {
    let crc = byte;
    let crcC = byte;
    for (let bit = 0; bit < 8; bit++) {
      crc = crc & 1 ? POLYNOMIAL ^ (crc >> 1) : crc >> 1;
      crcC = crcC & 1 ? POLYNOMIAL_C ^ (crcC >> 1) : crcC >> 1;
    }
    store<u32>(TABLES_AT + (byte << 2), crc);
    store<u32>(TABLE_C_AT + (byte << 2), crcC);
  }
  for (let i: u32 = 256; i < 8 * 256; i++) {
    const before = load<u32>(TABLES_AT + ((i - 256) << 2));
    store<u32>(TABLES_AT + (i << 2), table(0, before) ^ (before >> 8));
  }
}

/** Of two polynomials over GF(2); bit 31 is x^0. Without branches, which would be unpredictable. */
function multiply(a: u32, b: u32, polynomial: u32): u32 {
  let product: u32 = 0;
  for (let i = 0; i < 32; i++) {
    product ^= b & <u32>(<i32>a >> 31);
    a <<= 1;
    b = (b >> 1) ^ (polynomial & (0 - (b & 1)));
  }
  return product;
}

/** x^(8 bytes). Blocks have few different lengths, and no power of x is 0. */
function shift(bytes: u32, knownAt: u32, polynomial: u32): u32 {
  if (bytes >= SHIFTS) return powerOfX(8 * <u64>bytes, polynomial);
  const known = knownAt + (bytes << 2);
  let power = load<u32>(known);
  if (power === 0) {
    power = powerOfX(8 * <u64>bytes, polynomial);
    store<u32>(known, power);
  }
  return power;
}

function powerOfX(exponent: u64, polynomial: u32): u32 {
  let power = ONE;
  let square = X;
  for (; exponent !== 0; exponent >>= 1) {
    if (exponent & 1) power = multiply(square, power, polynomial);
    square = multiply(square, square, polynomial);
  }
  return power;
}
