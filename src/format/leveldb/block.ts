import { decodeVarint } from '../varint.ts';

/**
 * The content of a table's block, uncompressed:
 *
 *     entries: varint shared | varint unshared | varint value length | key suffix | value
 *     u32 × n  offsets of the entries that share nothing with the one before (restarts)
 *     u32      n
 *
 * A block of four zero bytes, no entry and no restart, is an empty one: so the Java engine iq80 writes an empty metaindex.
 */

const EMPTY_BLOCK_BYTES = 4;

// In a crafted block a few bytes can expand to a long key many times, which would keep a reader busy for hours. No valid block
// expands to more than this.
const REBUILT_AT_MOST_BYTES = 64 * 1024 * 1024;
const REBUILT_AT_MOST_TIMES = 256;

const EMPTY = Buffer.alloc(0);

/**
 * Walks through a block's entries. Nothing is allocated for an entry: `key` and `previous` are buffers that are used
 * again, and only their first `keyLength` and `previousLength` bytes count.
 */
export class BlockCursor {
  bytes: Buffer = EMPTY;
  /** The damage at which the walk ended. */
  problem: string | undefined;
  /** Offset in the block of the present entry. */
  offset = 0;
  key: Buffer = Buffer.allocUnsafe(256);
  keyLength = 0;
  previous: Buffer = Buffer.allocUnsafe(256);
  previousLength = 0;
  valueStart = 0;
  valueEnd = 0;
  #entriesEnd = 0;
  #restarts = 0;
  #restart = 0;
  #at = 0;
  #rebuilt = 0; // bytes of keys so far

  constructor(content?: Buffer) {
    if (content !== undefined) this.begin(content);
  }

  /** Moves before the first entry of another block. */
  begin(content: Buffer): void {
    this.bytes = content;
    this.problem = undefined;
    this.offset = 0;
    this.keyLength = 0;
    this.previousLength = 0;
    this.#restart = 0;
    this.#at = 0;
    this.#rebuilt = 0;
    this.#restarts = content.length < 4 ? 0 : content.readUInt32LE(content.length - 4);
    this.#entriesEnd = content.length - 4 - 4 * this.#restarts;
    const isEmpty = this.#restarts === 0 && content.length === EMPTY_BLOCK_BYTES;
    if (!isEmpty && (this.#restarts === 0 || this.#entriesEnd < 0)) {
      this.problem = `${this.#restarts} restarts in ${content.length} bytes`;
    }
  }

  /** Steps to the next entry; false at the end, and when `problem` is set. */
  next(): boolean {
    if (this.problem !== undefined) return false;
    const { bytes } = this;
    const end = this.#entriesEnd;
    let at = this.#at;
    if (at >= end) return this.#finish();
    this.offset = at;

    let shared = bytes[at]!;
    let unshared = bytes[at + 1]!;
    let valueLength = bytes[at + 2]!;
    if ((shared | unshared | valueLength) < 0x80) {
      at += 3; // beyond `end` at worst by what the next check sees
    } else {
      const a = decodeVarint(bytes, at, end);
      const b = a && decodeVarint(bytes, a.next, end);
      const c = b && decodeVarint(bytes, b.next, end);
      if (a === undefined || b === undefined || c === undefined) return this.#fail('unreadable lengths');
      shared = a.value;
      unshared = b.value;
      valueLength = c.value;
      at = c.next;
    }
    if (unshared + valueLength > end - at) return this.#fail('an entry that goes beyond the block');
    if (shared > this.keyLength) return this.#fail('more shared bytes than the key before has');
    if (this.#restart < this.#restarts && this.#restartAt(this.#restart) <= this.offset) {
      if (this.#restartAt(this.#restart) !== this.offset) return this.#fail('a restart inside an entry');
      if (shared !== 0) return this.#fail('a restart at an entry that shares bytes');
      this.#restart++;
    } else if (this.offset === 0) {
      return this.#fail('no restart at the first entry');
    }

    const length = shared + unshared;
    this.#rebuilt += length;
    if (this.#rebuilt > REBUILT_AT_MOST_BYTES && this.#rebuilt > REBUILT_AT_MOST_TIMES * bytes.length) {
      return this.#fail('keys that are far too long for the block');
    }
    const target = this.previous.length < length ? Buffer.allocUnsafe(length * 2) : this.previous;
    this.previous = this.key;
    this.previousLength = this.keyLength;
    copy(this.previous, 0, shared, target, 0);
    copy(bytes, at, at + unshared, target, shared);
    this.key = target;
    this.keyLength = length;
    this.valueStart = at + unshared;
    this.valueEnd = this.valueStart + valueLength;
    this.#at = this.valueEnd;
    return true;
  }

  /** A copy of the present key. */
  copyKey(): Buffer {
    return Buffer.from(this.key.subarray(0, this.keyLength));
  }

  /** The present value; shares memory with the block. */
  value(): Buffer {
    return this.bytes.subarray(this.valueStart, this.valueEnd);
  }

  #finish(): false {
    const isEmpty = this.#entriesEnd === 0 && this.#restarts === 1 && this.#restartAt(0) === 0;
    if (this.#restart !== this.#restarts && !isEmpty) this.#fail('a restart behind the last entry');
    return false;
  }

  #restartAt(index: number): number {
    return this.bytes.readUInt32LE(this.#entriesEnd + 4 * index);
  }

  #fail(problem: string): false {
    this.problem = `${problem} at byte ${this.offset} of the block`;
    return false;
  }
}

// Most parts of keys are shorter than what a call into native code costs.
const SHORT = 48;

function copy(source: Buffer, from: number, to: number, target: Buffer, at: number): void {
  if (to - from > SHORT) source.copy(target, at, from, to);
  else for (let i = from, j = at; i < to; i++, j++) target[j] = source[i]!;
}
