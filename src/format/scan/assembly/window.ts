/** AssemblyScript. What a call for a window says of it, beside what it returns. */

/** The window has a block that is not good, or that is not for these functions: nothing has changed. */
export const LOOK_CLOSER: i32 = -1;
/** All blocks that lie wholly in the window are good, if `windowCrc` is the checksum of those `windowBytes`. */
export const MORE: i32 = 0;
/** So, and the index has no further block. */
export const DONE: i32 = 1;

export let windowBytes: u32 = 0;
export let windowBlocks: u32 = 0;
export let windowEntries: u32 = 0;
export let windowCrc: u32 = 0;

export function beginWindow(): void {
  windowBytes = 0;
  windowBlocks = 0;
  windowEntries = 0;
  windowCrc = 0;
}

export function addBlock(bytes: u32, entries: u32, crc: u32): void {
  windowBytes += bytes;
  windowBlocks++;
  windowEntries += entries;
  windowCrc = crc;
}
