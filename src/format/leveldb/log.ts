import { crc32c, maskCrc } from '../crc32c.ts';

/**
 * The record format of write-ahead logs and MANIFESTs (LevelDB `doc/log_format.md`): blocks of 32 KiB, and in each
 *
 *     0  u32  masked CRC-32C over type and data
 *     4  u16  length of the data
 *     6  u8   type
 *     7       data
 *
 * A record that does not fit is split: FIRST, MIDDLE…, LAST. A rest of a block that is too short for a header is zero.
 */

export const BLOCK_BYTES = 32 * 1024;
export const HEADER_BYTES = 7;

const AT_CRC = 0;
const AT_LENGTH = 4;
const AT_TYPE = 6;

const ZERO = 0; // no record: space that was allocated and not written
const FULL = 1;
const FIRST = 2;
const MIDDLE = 3;
const LAST = 4;

/** Whether a fragment of this type begins a record. */
export const beginsRecord = (type: number): boolean => type === FULL || type === FIRST;

export interface LogRecord {
  readonly kind: 'record';
  /** Shares memory with the decoder: valid until the next item is asked for. */
  readonly payload: Buffer;
  /** Offset of the record's first header. */
  readonly offset: number;
  /** Offset behind its last byte. */
  readonly end: number;
}

export type LogDamageReason = 'checksum' | 'length' | 'type' | 'fragment' | 'padding' | 'zeros';

export interface LogDamage {
  readonly kind: 'damage';
  readonly reason: LogDamageReason;
  readonly offset: number;
  readonly message: string;
}

/** A record that was begun, and behind its whole fragments another one begins: its writer died in the middle of it. */
export interface LogUnfinished {
  readonly kind: 'unfinished';
  /** What was written of it. */
  readonly payload: Buffer;
  /** Offset of its first header. */
  readonly offset: number;
  readonly message: string;
}

export type LogItem = LogRecord | LogUnfinished | LogDamage;

export interface LogEnd {
  /** Offset behind the last complete record. */
  readonly end: number;
  /** Offset of an incomplete last record, as a crash during a write leaves it. */
  readonly tornAt: number | undefined;
  /** From this offset on all bytes are zero. */
  readonly zerosAt: number | undefined;
}

/**
 * Decodes a log that is fed in pieces of any size. Damage is an item and never an exception. After damage the rest of the block
 * is skipped, since its lengths cannot be trusted, and decoding goes on in the next block. Holds at most one block and one
 * record.
 */
export class LogDecoder {
  readonly #block = Buffer.allocUnsafe(BLOCK_BYTES);
  #held = 0; // bytes in #block
  #capacity: number; // bytes of the present block, counted from where decoding began in it
  #base: number; // file offset of the present block's first byte in hand
  #parts: Buffer[] | undefined; // fragments of the record being put together
  #partsAt = 0;
  #resyncing = false; // after damage: fragments are passed over until a record begins
  #zerosAt: number | undefined;
  #tornAt: number | undefined;
  #end: number;

  readonly #ignoresChecksums: boolean;

  /**
   * `offset`: the file offset of the first byte that will be fed; a record or a block must begin there. `ignoresChecksums`: also what may be
   * damaged is a record.
   */
  constructor(offset = 0, ignoresChecksums = false) {
    this.#ignoresChecksums = ignoresChecksums;
    this.#base = offset;
    this.#end = offset;
    this.#capacity = BLOCK_BYTES - (offset % BLOCK_BYTES);
  }

  *push(chunk: Uint8Array): Generator<LogItem, void> {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let at = 0;
    while (at < bytes.length) {
      const missing = this.#capacity - this.#held;
      if (bytes.length - at < missing) {
        this.#held += bytes.copy(this.#block, this.#held, at);
        return;
      }
      let block: Buffer;
      if (this.#held === 0) {
        block = bytes.subarray(at, at + missing);
      } else {
        bytes.copy(this.#block, this.#held, at, at + missing);
        block = this.#block.subarray(0, this.#capacity);
      }
      at += missing;
      yield* this.#decodeBlock(block);
      this.#base += this.#capacity;
      this.#capacity = BLOCK_BYTES;
      this.#held = 0;
    }
  }

  /** Decodes the rest after the last byte has been fed. The generator returns how the log ends. */
  *finish(): Generator<LogItem, LogEnd> {
    if (this.#held > 0) yield* this.#decodeBlock(this.#block.subarray(0, this.#held));
    return {
      end: this.#end,
      tornAt: this.#parts === undefined ? this.#tornAt : this.#partsAt,
      zerosAt: this.#zerosAt,
    };
  }

  *#decodeBlock(block: Buffer): Generator<LogItem, void> {
    let at = 0;
    while (at < block.length) {
      const offset = this.#base + at;
      if (this.#capacity - at < HEADER_BYTES) {
        if (!isZero(block, at)) yield this.#damage('padding', offset, 'the end of a block is not zero');
        return;
      }
      if (block.length - at < HEADER_BYTES) {
        if (isZero(block, at)) this.#zerosAt ??= offset;
        else this.#tornAt = offset;
        return;
      }
      const length = block.readUInt16LE(at + AT_LENGTH);
      const type = block[at + AT_TYPE]!;
      if (type === ZERO && length === 0) {
        if (isZero(block, at)) this.#zerosAt ??= offset;
        else yield this.#damage('zeros', offset, 'an empty record with data behind it');
        return;
      }
      if (this.#zerosAt !== undefined) {
        yield this.#damage('zeros', this.#zerosAt, `zeros up to offset ${offset}, and a record behind them`);
        this.#zerosAt = undefined;
      }
      const end = at + HEADER_BYTES + length;
      if (end > this.#capacity) {
        yield this.#damage('length', offset, `a length of ${length} bytes goes beyond the block`);
        return;
      }
      if (end > block.length) {
        this.#tornAt = offset;
        return;
      }
      const stored = block.readUInt32LE(at + AT_CRC);
      const actual = maskCrc(crc32c(block.subarray(at + AT_TYPE, end)));
      if (stored !== actual && !this.#ignoresChecksums) {
        yield this.#damage('checksum', offset, `checksum ${hex(actual)}, stored ${hex(stored)}`);
        return;
      }
      yield* this.#takeFragment(type, block.subarray(at + HEADER_BYTES, end), offset, this.#base + end);
      at = end;
    }
  }

  *#takeFragment(type: number, data: Buffer, offset: number, end: number): Generator<LogItem, void> {
    if (beginsRecord(type)) {
      // Old writers left an empty FIRST at the end of a block and began again in the next one.
      if (this.#parts?.some((part) => part.length > 0)) {
        const payload = Buffer.concat(this.#parts);
        yield { kind: 'unfinished', payload, offset: this.#partsAt, message: 'a record without an end' };
      }
      this.#parts = undefined;
      this.#resyncing = false;
    }
    if (type === FULL) {
      this.#end = end;
      yield { kind: 'record', payload: data, offset, end };
    } else if (type === FIRST) {
      this.#parts = [Buffer.from(data)];
      this.#partsAt = offset;
    } else if (type === MIDDLE || type === LAST) {
      if (this.#parts === undefined) {
        if (!this.#resyncing) yield this.#damage('fragment', offset, 'a record without a beginning');
        return;
      }
      this.#parts.push(Buffer.from(data));
      if (type === MIDDLE) return;
      const payload = Buffer.concat(this.#parts);
      this.#parts = undefined;
      this.#end = end;
      yield { kind: 'record', payload, offset: this.#partsAt, end };
    } else {
      yield this.#damage('type', offset, `no record has type ${type}`);
    }
  }

  #damage(reason: LogDamageReason, offset: number, message: string): LogDamage {
    this.#parts = undefined;
    this.#resyncing = true;
    return { kind: 'damage', reason, offset, message };
  }
}

/** A log of these records, from its first byte on. */
export function encodeLog(payloads: Iterable<Uint8Array>): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  const put = (bytes: Buffer): void => {
    parts.push(bytes);
    at += bytes.length;
  };
  for (const payload of payloads) {
    for (let from = 0, isDone = false; !isDone; ) {
      const room = BLOCK_BYTES - (at % BLOCK_BYTES);
      if (room < HEADER_BYTES) {
        put(Buffer.alloc(room));
        continue;
      }
      const to = Math.min(payload.length, from + room - HEADER_BYTES);
      isDone = to === payload.length;
      const type = isDone ? LAST : MIDDLE;
      // An empty FIRST at the end of a block is what LevelDB writes, too.
      put(encodeFragment(from > 0 ? type : isDone ? FULL : FIRST, payload.subarray(from, to)));
      from = to;
    }
  }
  return Buffer.concat(parts);
}

function encodeFragment(type: number, data: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + data.length);
  bytes.writeUInt16LE(data.length, AT_LENGTH);
  bytes[AT_TYPE] = type;
  bytes.set(data, HEADER_BYTES);
  bytes.writeUInt32LE(maskCrc(crc32c(bytes.subarray(AT_TYPE))), AT_CRC);
  return bytes;
}

/** The type of the fragment whose header stands at the begin of `header`. */
export const fragmentType = (header: Uint8Array): number => header[AT_TYPE] ?? ZERO;

function isZero(bytes: Buffer, from: number): boolean {
  for (let at = from; at < bytes.length; at++) if (bytes[at] !== 0) return false;
  return true;
}

const hex = (crc: number): string => `0x${crc.toString(16).padStart(8, '0')}`;
