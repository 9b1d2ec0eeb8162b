/**
 * AssemblyScript. Where things stand in the memory that these functions share with their caller; `scanner.ts` lays out the
 * same. What the caller puts there begins behind it.
 */

const KIB: u32 = 1024;

/** Eight tables of a CRC-32, for as many bytes at a time. */
export const TABLES_AT: u32 = 0;
/** The present key, or the last one of the block before. */
export const KEY_AT: u32 = 8 * KIB;
export const KEY_ROOM: u32 = 64 * KIB;
/** `KEY_AT` as it was before the present window. */
export const KEY_BEFORE_AT: u32 = 80 * KIB;
/** The first key of a table of LevelDB. */
export const FIRST_KEY_AT: u32 = 152 * KIB;
/** One table of a CRC-32C. */
export const TABLE_C_AT: u32 = 224 * KIB;
/** What a CRC is multiplied by when so many bytes follow it: 64 Ki words for each of the two kinds. */
export const SHIFTS_AT: u32 = 256 * KIB;
export const SHIFTS_C_AT: u32 = 512 * KIB;
export const SHIFTS: u32 = 64 * KIB;
/** Two keys of LevelDB's index, one behind the other in turns. */
export const INDEX_KEYS_AT: u32 = 768 * KIB;
export const INDEX_KEY_ROOM: u32 = 256 * KIB;
/** One uncompressed block. */
export const UNCOMPRESSED_AT: u32 = 1280 * KIB;
export const UNCOMPRESSED_ROOM: u32 = 256 * KIB;

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

/** Short keys are copied eight bytes at a time; up to seven bytes behind them are read and written, too. */
export function copyKey(target: u32, source: u32, bytes: u32): void {
  if (bytes > 64) memory.copy(target, source, bytes);
  else for (let i: u32 = 0; i < bytes; i += 8) store<u64>(target + i, load<u64>(source + i));
}

/** Whether bit `hash mod bits` is set. */
export function hasBit(filterAt: u32, bits: u32, hash: u32): bool {
  const bit = hash % bits;
  return (load<u8>(filterAt + (bit >> 3)) & (1 << (bit & 7))) !== 0;
}
