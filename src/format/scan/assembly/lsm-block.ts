/**
 * AssemblyScript. The fast way over the entries of a table of engine `lsm`: it says that a block is good, or nothing. What is
 * wrong, and where, is found by `BlockScan`, which is also what this is tested against.
 *
 * Layouts: `format/lsm/table-block.ts`, `format/lsm/bloom.ts`.
 */
import { makeTables, table } from './checksum';
import { compareBytes, hasBit, KEY_AT, KEY_BEFORE_AT, KEY_ROOM } from './memory';
import { LOOK_CLOSER } from './window';

const ENTRY_HEADER_BYTES: u32 = 25;
const BLOCK_HEADER_BYTES: u32 = 8;
const CRC_BYTES: u32 = 4;
const SECOND_HASH_SUFFIX: u32 = 0xa5;

let filterAt: u32 = 0;
let filterBits: u32 = 0;
let hashCount: u32 = 0;

// The entry before, and what all of the table's add up to; changed by a good block only.
export let lsmHasEntries: bool = false;
export let lsmKeyLength: u32 = 0;
export let lsmTimestamp: u64 = 0;
export let lsmSequence: u64 = 0;
export let lsmMinTimestamp: u64 = 0;
export let lsmMaxTimestamp: u64 = 0;
export let lsmMinKeyBytes: u32 = 0;
export let lsmMaxKeyBytes: u32 = 0;

/** Begins a table; 0 bits stand for no filter. */
export function lsmBegin(at: u32, bits: u32, count: u32): void {
  makeTables();
  filterAt = at;
  filterBits = bits;
  hashCount = count;
  lsmHasEntries = false;
  lsmKeyLength = 0;
  lsmMinTimestamp = 0;
  lsmMaxTimestamp = 0;
  lsmMinKeyBytes = 0;
  lsmMaxKeyBytes = 0;
}

let hadEntries: bool = false;
let keyLengthBefore: u32 = 0;
let timestampBefore: u64 = 0;
let sequenceBefore: u64 = 0;
let minTimestampBefore: u64 = 0;
let maxTimestampBefore: u64 = 0;
let minKeyBytesBefore: u32 = 0;
let maxKeyBytesBefore: u32 = 0;

export function keepLsmState(): void {
  memory.copy(KEY_BEFORE_AT, KEY_AT, lsmKeyLength);
  hadEntries = lsmHasEntries;
  keyLengthBefore = lsmKeyLength;
  timestampBefore = lsmTimestamp;
  sequenceBefore = lsmSequence;
  minTimestampBefore = lsmMinTimestamp;
  maxTimestampBefore = lsmMaxTimestamp;
  minKeyBytesBefore = lsmMinKeyBytes;
  maxKeyBytesBefore = lsmMaxKeyBytes;
}

/** Everything is as it was when it was kept. */
export function lsmRollBack(): void {
  memory.copy(KEY_AT, KEY_BEFORE_AT, keyLengthBefore);
  lsmHasEntries = hadEntries;
  lsmKeyLength = keyLengthBefore;
  lsmTimestamp = timestampBefore;
  lsmSequence = sequenceBefore;
  lsmMinTimestamp = minTimestampBefore;
  lsmMaxTimestamp = maxTimestampBefore;
  lsmMinKeyBytes = minKeyBytesBefore;
  lsmMaxKeyBytes = maxKeyBytesBefore;
}

/**
 * The number of entries of the uncompressed block at [at, end) if they are as they should be; the checksum was compared
 * before. The keys are what the index says.
 */
export function lsmBlock(
  at: u32,
  end: u32,
  firstKeyAt: u32,
  firstKeyBytes: u32,
  lastKeyAt: u32,
  lastKeyBytes: u32,
): i32 {
  if (end - at < BLOCK_HEADER_BYTES + CRC_BYTES) return LOOK_CLOSER;
  const entriesEnd = end - CRC_BYTES;
  const declared = load<u32>(at);
  let next = at + BLOCK_HEADER_BYTES;
  if (load<u32>(at + 4) !== entriesEnd - next) return LOOK_CLOSER;

  let isFirst = !lsmHasEntries;
  let keyAt = KEY_AT;
  let keyBytes = lsmKeyLength;
  let timestamp = lsmTimestamp;
  let sequence = lsmSequence;
  let minTimestamp = lsmMinTimestamp;
  let maxTimestamp = lsmMaxTimestamp;
  let minKeyBytes = lsmMinKeyBytes;
  let maxKeyBytes = lsmMaxKeyBytes;

  let count: u32 = 0;
  while (next < entriesEnd) {
    if (entriesEnd - next < ENTRY_HEADER_BYTES) return LOOK_CLOSER;
    const type = load<u8>(next);
    const entryTimestamp = load<u64>(next + 1);
    const entrySequence = load<u64>(next + 9);
    const length = load<u32>(next + 17);
    const valueBytes = load<u32>(next + 21);
    const entryKeyAt = next + ENTRY_HEADER_BYTES;
    const room = entriesEnd - entryKeyAt;
    if (length > room || valueBytes > room - length) return LOOK_CLOSER;
    if (type > 1 || (type === 1 && valueBytes !== 0)) return LOOK_CLOSER;

    let isNewKey = true;
    if (isFirst) {
      isFirst = false;
      minTimestamp = entryTimestamp;
      maxTimestamp = entryTimestamp;
      minKeyBytes = length;
      maxKeyBytes = length;
    } else {
      const order = compareBytes(keyAt, keyBytes, entryKeyAt, length);
      if (order > 0) return LOOK_CLOSER;
      if (order === 0) {
        isNewKey = false;
        const isOlder = entryTimestamp === timestamp ? entrySequence < sequence : entryTimestamp < timestamp;
        if (!isOlder) return LOOK_CLOSER;
      }
      minTimestamp = min(minTimestamp, entryTimestamp);
      maxTimestamp = max(maxTimestamp, entryTimestamp);
      minKeyBytes = min(minKeyBytes, length);
      maxKeyBytes = max(maxKeyBytes, length);
    }
    if (count === 0 && compareBytes(entryKeyAt, length, firstKeyAt, firstKeyBytes) !== 0) return LOOK_CLOSER;
    if (isNewKey && filterBits !== 0 && !mayContain(entryKeyAt, length)) return LOOK_CLOSER;

    keyAt = entryKeyAt;
    keyBytes = length;
    timestamp = entryTimestamp;
    sequence = entrySequence;
    count++;
    next = entryKeyAt + length + valueBytes;
  }
  if (count === 0 || count !== declared || keyBytes > KEY_ROOM) return LOOK_CLOSER;
  if (compareBytes(keyAt, keyBytes, lastKeyAt, lastKeyBytes) !== 0) return LOOK_CLOSER;

  memory.copy(KEY_AT, keyAt, keyBytes);
  lsmHasEntries = true;
  lsmKeyLength = keyBytes;
  lsmTimestamp = timestamp;
  lsmSequence = sequence;
  lsmMinTimestamp = minTimestamp;
  lsmMaxTimestamp = maxTimestamp;
  lsmMinKeyBytes = minKeyBytes;
  lsmMaxKeyBytes = maxKeyBytes;
  return count;
}

function mayContain(key: u32, length: u32): bool {
  let hash = crc32(key, length);
  const register = ~hash;
  const second = ~(table(0, register ^ SECOND_HASH_SUFFIX) ^ (register >> 8));
  const step = max<u32>(second, 1);
  for (let i: u32 = 0; i < hashCount; i++) {
    if (!hasBit(filterAt, filterBits, hash)) return false;
    hash += step;
  }
  return true;
}

function crc32(from: u32, length: u32): u32 {
  let crc: u32 = 0xffffffff;
  let at = from;
  const end = from + length;
  for (; at + 8 <= end; at += 8) {
    const low = load<u32>(at) ^ crc;
    const high = load<u32>(at + 4);
    crc =
      table(7, low) ^
      table(6, low >> 8) ^
      table(5, low >> 16) ^
      table(4, low >> 24) ^
      table(3, high) ^
      table(2, high >> 8) ^
      table(1, high >> 16) ^
      table(0, high >> 24);
  }
  for (; at < end; at++) crc = table(0, crc ^ load<u8>(at)) ^ (crc >> 8);
  return ~crc;
}
