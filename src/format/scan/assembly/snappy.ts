/**
 * AssemblyScript. Snappy (`format_description.txt` of google/snappy): the uncompressed length as a varint, then literals and
 * copies of what stands some bytes before.
 */
import { afterVarint, varint } from './varint';
import { LOOK_CLOSER } from './window';

/** What a copy of eight bytes at a time may write behind its end. */
const SLACK: u32 = 8;

/** Uncompresses [at, end) to `target`, where `room` bytes are free; the length there, or -1. */
export function snappyBlock(at: u32, end: u32, target: u32, room: u32): i32 {
  const length = varint(at, end);
  let next = afterVarint();
  if (next === 0 || room < SLACK || length > room - SLACK) return LOOK_CLOSER;
  const targetEnd = target + length;
  let out = target;
  while (next < end) {
    const tag: u32 = load<u8>(next++);
    const kind = tag & 3;
    if (kind === 0) {
      let count = (tag >> 2) + 1;
      if (count > 60) {
        const bytes = count - 60;
        if (end - next < bytes) return LOOK_CLOSER;
        count = 0;
        for (let i: u32 = 0; i < bytes; i++) count |= (<u32>load<u8>(next + i)) << (8 * i);
        count++;
        next += bytes;
      }
      if (count === 0 || count > end - next || count > targetEnd - out) return LOOK_CLOSER;
      if (count > 32 || end - next < count + SLACK) memory.copy(out, next, count);
      else copyWords(out, next, count);
      next += count;
      out += count;
      continue;
    }
    const bytes: u32 = kind === 3 ? 4 : kind;
    if (end - next < bytes) return LOOK_CLOSER;
    let count = (tag >> 2) + 1;
    let distance: u32;
    if (kind === 1) {
      count = 4 + ((tag >> 2) & 7);
      distance = ((tag >> 5) << 8) | load<u8>(next);
    } else distance = kind === 2 ? load<u16>(next) : load<u32>(next);
    next += bytes;
    if (distance === 0 || distance > out - target || count > targetEnd - out) return LOOK_CLOSER;
    if (distance >= 8) copyWords(out, out - distance, count);
    else for (let i: u32 = 0; i < count; i++) store<u8>(out + i, load<u8>(out + i - distance));
    out += count;
  }
  return out === targetEnd ? length : LOOK_CLOSER;
}

/** Eight bytes at a time, up to seven more than `count`. */
function copyWords(target: u32, source: u32, count: u32): void {
  for (let i: u32 = 0; i < count; i += 8) store<u64>(target + i, load<u64>(source + i));
}
