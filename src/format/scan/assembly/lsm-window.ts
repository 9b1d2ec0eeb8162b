/**
 * AssemblyScript. Many blocks of a table of engine `lsm` in one call: the index is walked, and what it says is checked as
 * `format/lsm/table-index.ts` does it.
 */
import { crc32ThroughBlock } from './checksum';
import { keepLsmState, lsmBlock, lsmRollBack } from './lsm-block';
import { compareBytes } from './memory';
import { addBlock, beginWindow, DONE, LOOK_CLOSER, MORE, windowBytes, windowCrc } from './window';

const COUNT_BYTES: u32 = 4;
const SIZE_AT: u32 = 8;
const FIRST_KEY_AT: u32 = 12;
const KEY_LENGTH_BYTES: u32 = 4;
const MIN_ENTRY_BYTES: u32 = FIRST_KEY_AT + 2 * KEY_LENGTH_BYTES;

let indexEnd: u32 = 0;
let next: u32 = 0;
let rest: u32 = 0; // blocks to come
let lastKey: u32 = 0; // of the block before, in the index; 0 for none
let lastKeyBytes: u32 = 0;
let blocksEnd: u64 = 0;

/** The index of the table that begins; `lsmBegin` goes before. Its blocks end at `end` in the file. */
export function lsmIndex(at: u32, bytes: u32, blockCount: u32, end: f64): void {
  indexEnd = at + bytes;
  next = at + COUNT_BYTES;
  rest = blockCount;
  lastKey = 0;
  lastKeyBytes = 0;
  blocksEnd = <u64>end;
  // No block has this place: the first window is looked at more closely.
  if (bytes < COUNT_BYTES || load<u32>(at) !== blockCount) blocksEnd = 0;
}

/** The blocks that lie wholly in [at, at + bytes), which stands at `offset` in the file: where the block before ended. */
export function lsmWindow(at: u32, offset: f64, bytes: u32): i32 {
  beginWindow();
  keepLsmState();
  const result = blocksIn(at, <u64>offset, bytes);
  if (result === LOOK_CLOSER) lsmRollBack();
  return result;
}

function blocksIn(at: u32, offset: u64, bytes: u32): i32 {
  while (rest !== 0) {
    if (indexEnd - next < MIN_ENTRY_BYTES) return LOOK_CLOSER;
    const size = load<u32>(next + SIZE_AT);
    const position = offset + windowBytes;
    if (load<u64>(next) !== position || position + size > blocksEnd) return LOOK_CLOSER;
    if (size > bytes - windowBytes) return MORE;

    const firstKeyBytes = load<u32>(next + FIRST_KEY_AT);
    const firstKey = next + FIRST_KEY_AT + KEY_LENGTH_BYTES;
    if (firstKeyBytes > indexEnd - firstKey || indexEnd - firstKey - firstKeyBytes < KEY_LENGTH_BYTES)
      return LOOK_CLOSER;
    const ownLastKeyBytes = load<u32>(firstKey + firstKeyBytes);
    const ownLastKey = firstKey + firstKeyBytes + KEY_LENGTH_BYTES;
    if (ownLastKeyBytes > indexEnd - ownLastKey) return LOOK_CLOSER;
    if (compareBytes(firstKey, firstKeyBytes, ownLastKey, ownLastKeyBytes) > 0) return LOOK_CLOSER;
    if (lastKey !== 0 && compareBytes(lastKey, lastKeyBytes, firstKey, firstKeyBytes) > 0) return LOOK_CLOSER;

    const block = at + windowBytes;
    const count = lsmBlock(block, block + size, firstKey, firstKeyBytes, ownLastKey, ownLastKeyBytes);
    if (count === LOOK_CLOSER) return LOOK_CLOSER;
    addBlock(size, count, crc32ThroughBlock(windowCrc, size));
    lastKey = ownLastKey;
    lastKeyBytes = ownLastKeyBytes;
    next = ownLastKey + ownLastKeyBytes;
    rest--;
  }
  return next === indexEnd && offset + windowBytes === blocksEnd ? DONE : LOOK_CLOSER;
}
