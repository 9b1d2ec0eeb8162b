/**
 * AssemblyScript. The fast way over the entries of a LevelDB table: it says that a block is good, or nothing. What is wrong,
 * and where, is found by `BlockCursor` and whoever uses it, which is also what this is tested against.
 *
 * Layouts: `format/leveldb/block.ts`, `format/leveldb/filter.ts`, `format/leveldb/internal-key.ts`.
 */
import { compareBytes, copyKey, FIRST_KEY_AT, hasBit, KEY_AT, KEY_BEFORE_AT, KEY_ROOM } from './memory';
import { afterVarint, varint } from './varint';
import { LOOK_CLOSER } from './window';

const TAG_BYTES: u32 = 8;
const MAX_TYPE: u64 = 1;
const MAX_PROBES: u32 = 30;
const REBUILT_AT_MOST_BYTES: u64 = 64 * 1024 * 1024;
const REBUILT_AT_MOST_TIMES: u64 = 256;
const SEED: u32 = 0xbc9f1d34;
const MULTIPLIER: u32 = 0xc6a4a793;

/** The first key of the first good block stands at `FIRST_KEY_AT`, the last one of the last good block at `KEY_AT`; 0: none yet. */
export let leveldbFirstKeyBytes: u32 = 0;
export let leveldbLastKeyBytes: u32 = 0;
/** Of all good blocks. */
export let leveldbMaxSequence: u64 = 0;

let firstKeyBytesBefore: u32 = 0;
let lastKeyBytesBefore: u32 = 0;
let maxSequenceBefore: u64 = 0;

/** Begins a table. */
export function leveldbBegin(): void {
  leveldbFirstKeyBytes = 0;
  leveldbLastKeyBytes = 0;
  leveldbMaxSequence = 0;
}

export function keepLeveldbState(): void {
  memory.copy(KEY_BEFORE_AT, KEY_AT, leveldbLastKeyBytes);
  firstKeyBytesBefore = leveldbFirstKeyBytes;
  lastKeyBytesBefore = leveldbLastKeyBytes;
  maxSequenceBefore = leveldbMaxSequence;
}

/** Everything is as it was when it was kept. */
export function leveldbRollBack(): void {
  memory.copy(KEY_AT, KEY_BEFORE_AT, lastKeyBytesBefore);
  leveldbFirstKeyBytes = firstKeyBytesBefore;
  leveldbLastKeyBytes = lastKeyBytesBefore;
  leveldbMaxSequence = maxSequenceBefore;
}

/**
 * The number of entries of the block whose content is [at, end) if they are as they should be. More probes than a filter can
 * have stand for none. `after`: the index key of the block before, no bytes for none; `upTo`: that of this block.
 */
export function leveldbBlock(
  at: u32,
  end: u32,
  filterAt: u32,
  filterBits: u32,
  probes: u32,
  after: u32,
  afterBytes: u32,
  upTo: u32,
  upToBytes: u32,
): i32 {
  if (end - at < 8) return LOOK_CLOSER;
  const restartsEnd = end - 4;
  const restarts = load<u32>(restartsEnd);
  if (restarts === 0 || restarts > (restartsEnd - at) / 4) return LOOK_CLOSER;
  const entriesEnd = restartsEnd - 4 * restarts;
  const withFilter = probes <= MAX_PROBES;
  if (withFilter && filterBits === 0) return LOOK_CLOSER;

  let restart = entriesEnd;
  let keyBytes: u32 = 0;
  let firstKeyAt: u32 = 0;
  let firstKeyBytes: u32 = 0;
  let maxSequence = leveldbMaxSequence;
  let rebuilt: u64 = 0;
  let count: u32 = 0;
  let next = at;
  while (next < entriesEnd) {
    const offset = next - at;
    // Three bytes are there: the restarts and their number follow.
    let shared: u32 = load<u8>(next);
    let unshared: u32 = load<u8>(next + 1);
    let valueBytes: u32 = load<u8>(next + 2);
    if ((shared | unshared | valueBytes) < 0x80) next += 3;
    else {
      shared = varint(next, entriesEnd);
      unshared = varint(afterVarint(), entriesEnd);
      valueBytes = varint(afterVarint(), entriesEnd);
      next = afterVarint();
      if (next === 0) return LOOK_CLOSER;
    }
    if (next > entriesEnd) return LOOK_CLOSER;
    const room = entriesEnd - next;
    if (unshared > room || valueBytes > room - unshared || shared > keyBytes) return LOOK_CLOSER;
    if (restart < restartsEnd && load<u32>(restart) <= offset) {
      if (load<u32>(restart) !== offset || shared !== 0) return LOOK_CLOSER;
      restart += 4;
    } else if (count === 0) return LOOK_CLOSER;

    const length = shared + unshared;
    if (length < TAG_BYTES || length > KEY_ROOM) return LOOK_CLOSER;
    rebuilt += length;
    if (rebuilt > REBUILT_AT_MOST_BYTES && rebuilt > REBUILT_AT_MOST_TIMES * <u64>(end - at))
      return LOOK_CLOSER;

    const userBytes = length - TAG_BYTES;
    if (count === 0) {
      copyKey(KEY_AT, next, unshared);
      firstKeyAt = next;
      firstKeyBytes = length;
      if (afterBytes !== 0 && compareInternalKeys(after, afterBytes, KEY_AT, length) >= 0) return LOOK_CLOSER;
    } else {
      const userBytesBefore = keyBytes - TAG_BYTES;
      const tagBefore = load<u64>(KEY_AT + userBytesBefore);
      // The shared bytes are the same; behind them the two keys are compared before the new one is written over the old.
      const same = min(shared, min(userBytes, userBytesBefore));
      const order = compareBytes(
        KEY_AT + same,
        userBytesBefore - same,
        next + same - shared,
        userBytes - same,
      );
      copyKey(KEY_AT + shared, next, unshared);
      if (order > 0 || (order === 0 && load<u64>(KEY_AT + userBytes) >= tagBefore)) return LOOK_CLOSER;
    }
    keyBytes = length;
    const tag = load<u64>(KEY_AT + userBytes);
    if ((tag & 0xff) > MAX_TYPE) return LOOK_CLOSER;
    maxSequence = max(maxSequence, tag >> 8);
    if (withFilter && !mayContain(filterAt, filterBits, probes, userBytes)) return LOOK_CLOSER;
    count++;
    next += unshared + valueBytes;
  }
  if (count === 0 || restart !== restartsEnd) return LOOK_CLOSER;
  if (compareInternalKeys(KEY_AT, keyBytes, upTo, upToBytes) > 0) return LOOK_CLOSER;

  if (leveldbFirstKeyBytes === 0) {
    memory.copy(FIRST_KEY_AT, firstKeyAt, firstKeyBytes);
    leveldbFirstKeyBytes = firstKeyBytes;
  }
  leveldbLastKeyBytes = keyBytes;
  leveldbMaxSequence = maxSequence;
  return count;
}

/** The newest version of a user key first. */
export function compareInternalKeys(a: u32, lengthA: u32, b: u32, lengthB: u32): i32 {
  const userA = lengthA - TAG_BYTES;
  const userB = lengthB - TAG_BYTES;
  const order = compareBytes(a, userA, b, userB);
  if (order !== 0) return order;
  const tagA = load<u64>(a + userA);
  const tagB = load<u64>(b + userB);
  return tagA > tagB ? -1 : i32(tagA < tagB);
}

function mayContain(filterAt: u32, bits: u32, probes: u32, keyBytes: u32): bool {
  let hash = bloomHash(keyBytes);
  const delta = rotr(hash, 17);
  for (let probe: u32 = 0; probe < probes; probe++) {
    if (!hasBit(filterAt, bits, hash)) return false;
    hash += delta;
  }
  return true;
}

/** Of the user key at `KEY_AT` (LevelDB `util/hash.cc`). */
function bloomHash(length: u32): u32 {
  let hash = SEED ^ (length * MULTIPLIER);
  let at = KEY_AT;
  const end = KEY_AT + length;
  for (; at + 4 <= end; at += 4) {
    hash = (hash + load<u32>(at)) * MULTIPLIER;
    hash ^= hash >> 16;
  }
  const rest = end - at;
  if (rest === 0) return hash;
  if (rest === 3) hash += (<u32>load<u8>(at + 2)) << 16;
  if (rest >= 2) hash += (<u32>load<u8>(at + 1)) << 8;
  hash = (hash + load<u8>(at)) * MULTIPLIER;
  return hash ^ (hash >> 24);
}
