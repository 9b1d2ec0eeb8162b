/**
 * AssemblyScript. Where things stand in the memory that these functions share with their caller; `scanner.ts` lays out the
 * same. What the caller puts there begins behind it.
 */

/** Eight tables of a CRC-32, for as many bytes at a time. */
export const TABLES_AT: u32 = 0;
/** The present key, or the last one of the block before. */
export const KEY_AT: u32 = 8 * 256 * 4;
export const KEY_ROOM: u32 = 64 * 1024;

/** Order of two byte strings: negative, zero or positive. */
export function compareBytes(a: u32, lengthA: u32, b: u32, lengthB: u32): i32 {
  const common = min(lengthA, lengthB);
  let i: u32 = 0;
  for (; i + 8 <= common; i += 8) {
    const wordA = load<u64>(a + i);
    const wordB = load<u64>(b + i);
    if (wordA !== wordB) return bswap(wordA) < bswap(wordB) ? -1 : 1;
  }
  for (; i < common; i++) {
    const difference = <i32>load<u8>(a + i) - <i32>load<u8>(b + i);
    if (difference !== 0) return difference;
  }
  return lengthA < lengthB ? -1 : i32(lengthA > lengthB);
}

/** Whether bit `hash mod bits` is set. */
export function hasBit(filterAt: u32, bits: u32, hash: u32): bool {
  const bit = hash % bits;
  return (load<u8>(filterAt + (bit >> 3)) & (1 << (bit & 7))) !== 0;
}
