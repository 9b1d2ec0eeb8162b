/**
 * AssemblyScript. Many blocks of a LevelDB table in one call: the index is walked as `format/leveldb/block.ts` does it, and the blocks
 * must lie as `engine/leveldb/table-layout.ts` wants them.
 */
import { crc32cThroughBlock, makeTables } from './checksum';
import { compareInternalKeys, keepLeveldbState, leveldbBlock, leveldbRollBack } from './leveldb-block';
import {
  copyKey,
  INDEX_KEY_ROOM,
  INDEX_KEYS_AT,
  KEY_ROOM,
  UNCOMPRESSED_AT,
  UNCOMPRESSED_ROOM,
} from './memory';
import { snappyBlock } from './snappy';
import { afterVarint, varint, varint64 } from './varint';
import { addBlock, beginWindow, DONE, LOOK_CLOSER, MORE, windowBytes, windowCrc } from './window';

const TAG_BYTES: u32 = 8;
const TRAILER_BYTES: u32 = 5;
const UNCOMPRESSED: u32 = 0;
const SNAPPY: u32 = 1;
const FILTER_TRAILER_BYTES: u32 = 5;
/** More probes than a filter can have: nothing is denied. */
const NO_FILTER: u32 = 255;

let indexAt: u32 = 0;
let entriesEnd: u32 = 0; // 0: the index is not for these functions
let restartsEnd: u32 = 0;
let next: u32 = 0;
let restart: u32 = 0;
let blocksEnd: u64 = 0;

let filterAt: u32 = 0;
let filterBytes: u32 = 0; // 0: no filter
let filterBase: u32 = 0;
let filterOffsets: u32 = 0;
let filterCount: u32 = 0;

/** The index key of the block before. */
let after: u32 = 0;
let afterBytes: u32 = 0;
// The entry that was read last.
let upTo: u32 = 0;
let upToBytes: u32 = 0;
let blockAt: u64 = 0;
let contentBytes: u64 = 0;

/**
 * The index of the table that begins; `leveldbBegin` goes before. Blocks end before `end` in the file. The filter, 0 bytes for none,
 * is one that `FilterBlock.decode` took.
 */
export function leveldbIndex(at: u32, bytes: u32, filter: u32, ofFilter: u32, end: f64): void {
  makeTables();
  indexAt = at;
  next = at;
  blocksEnd = <u64>end;
  afterBytes = 0;
  entriesEnd = 0;
  filterAt = filter;
  filterBytes = ofFilter;
  if (filterBytes !== 0) {
    filterOffsets = load<u32>(filter + ofFilter - FILTER_TRAILER_BYTES);
    filterBase = load<u8>(filter + ofFilter - 1);
    filterCount = (ofFilter - FILTER_TRAILER_BYTES - filterOffsets) / 4;
  }
  if (bytes < 8) return;
  restartsEnd = at + bytes - 4;
  const restarts = load<u32>(restartsEnd);
  if (restarts === 0 || restarts > (bytes - 4) / 4) return;
  entriesEnd = restartsEnd - 4 * restarts;
  restart = entriesEnd;
}

/** The blocks that lie wholly in [at, at + bytes), which stands at `offset` in the file: where the block before ended. */
export function leveldbWindow(at: u32, offset: f64, bytes: u32): i32 {
  beginWindow();
  keepLeveldbState();
  const result = entriesEnd === 0 ? LOOK_CLOSER : blocksIn(at, <u64>offset, bytes);
  if (result === LOOK_CLOSER) leveldbRollBack();
  return result;
}

function blocksIn(at: u32, offset: u64, bytes: u32): i32 {
  while (next < entriesEnd) {
    const entry = next;
    const restartBefore = restart;
    if (!readIndexEntry()) return LOOK_CLOSER;
    const position = offset + windowBytes;
    if (blockAt !== position || contentBytes > blocksEnd) return LOOK_CLOSER;
    if (position + contentBytes + TRAILER_BYTES > blocksEnd) return LOOK_CLOSER;
    if (contentBytes + TRAILER_BYTES > bytes - windowBytes) {
      next = entry;
      restart = restartBefore;
      return MORE;
    }
    const block = at + windowBytes;
    const count = checkBlock(block, block + <u32>contentBytes);
    if (count === LOOK_CLOSER) return LOOK_CLOSER;
    const sealed = <u32>contentBytes + TRAILER_BYTES;
    addBlock(sealed, count, crc32cThroughBlock(windowCrc, sealed, load<u32>(block + sealed - 4)));
    after = upTo;
    afterBytes = upToBytes;
  }
  return restart === restartsEnd ? DONE : LOOK_CLOSER;
}

/** The next key goes to where the one before the last one stood. */
function readIndexEntry(): bool {
  const offset = next - indexAt;
  const shared = varint(next, entriesEnd);
  const unshared = varint(afterVarint(), entriesEnd);
  const valueBytes = varint(afterVarint(), entriesEnd);
  const key = afterVarint();
  if (key === 0) return false;
  const room = entriesEnd - key;
  if (unshared > room || valueBytes > room - unshared || shared > afterBytes) return false;
  if (restart < restartsEnd && load<u32>(restart) <= offset) {
    if (load<u32>(restart) !== offset || shared !== 0) return false;
    restart += 4;
  } else if (offset === 0) return false;

  upToBytes = shared + unshared;
  if (upToBytes < TAG_BYTES || upToBytes > KEY_ROOM) return false;
  upTo = after === INDEX_KEYS_AT ? INDEX_KEYS_AT + INDEX_KEY_ROOM : INDEX_KEYS_AT;
  copyKey(upTo, after, shared);
  copyKey(upTo + shared, key, unshared);
  if (afterBytes !== 0 && compareInternalKeys(after, afterBytes, upTo, upToBytes) >= 0) return false;

  const value = key + unshared;
  next = value + valueBytes;
  blockAt = varint64(value, next);
  contentBytes = varint64(afterVarint(), next);
  return afterVarint() === next;
}

/** The number of entries of the block whose content is [at, end), before its trailer. */
function checkBlock(at: u32, end: u32): i32 {
  const compression: u32 = load<u8>(end);
  if (compression === SNAPPY) {
    const bytes = snappyBlock(at, end, UNCOMPRESSED_AT, UNCOMPRESSED_ROOM);
    if (bytes === LOOK_CLOSER) return LOOK_CLOSER;
    at = UNCOMPRESSED_AT;
    end = at + bytes;
  } else if (compression !== UNCOMPRESSED) return LOOK_CLOSER;
  let from: u32 = 0;
  let bits: u32 = 0;
  let probes = NO_FILTER;
  if (filterBytes !== 0) {
    const index = blockAt >> filterBase;
    if (index < filterCount) {
      from = filterStart(<u32>index);
      const to = filterStart(<u32>index + 1);
      bits = to > from ? 8 * (to - from - 1) : 0;
      probes = bits === 0 ? 0 : load<u8>(filterAt + from + bits / 8);
    }
  }
  return leveldbBlock(at, end, filterAt + from, bits, probes, after, afterBytes, upTo, upToBytes);
}

function filterStart(index: u32): u32 {
  return index >= filterCount ? filterOffsets : load<u32>(filterAt + filterOffsets + 4 * index);
}
