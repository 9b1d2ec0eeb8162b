import {
  decodeEntryLen,
  decodeEntryLsn,
  decodeEntryOps,
  ENTRY_HEADER_BYTES,
  entryProblem,
  MIN_ENTRY_LEN,
  type WalOp,
} from './wal-entry.ts';

export interface WalEntry {
  readonly lsn: bigint;
  /** Of its first byte in the logical ring. */
  readonly offset: number;
  /** Bytes in the log, header and CRC included. */
  readonly length: number;
  /** Decodes the operations. They are views into the pushed bytes, valid until the next `push`. */
  ops(): WalOp[];
}

/**
 * - `short`: fewer bytes are live than an entry's header has.
 * - `length`: the length is impossible, or more than the live range still holds.
 * - `crc`, `body`: the entry's checksum, or its inside.
 * - `order`: its LSN is not above that of the entry before.
 * - `missing`: fewer bytes were pushed than are live: the file ended.
 */
export type ReplayStopReason = 'short' | 'length' | 'crc' | 'body' | 'order' | 'missing';

export interface ReplayStop {
  readonly reason: ReplayStopReason;
  readonly message: string;
  /** Of the first byte that is not used, in the logical ring: where the log could be cut. */
  readonly offset: number;
  /** Live bytes from there to the end. */
  readonly droppedBytes: number;
}

export interface ReplayResult {
  readonly entries: number;
  readonly firstLsn: bigint | undefined;
  readonly lastLsn: bigint | undefined;
  /** Absent when the whole live range was replayed. */
  readonly stop?: ReplayStop;
}

export interface ReplayRange {
  /** Logical offset of the first live byte. */
  readonly start: number;
  readonly liveBytes: number;
  readonly ringBytes: number;
}

/**
 * Replays a log. It is fed with the logical bytes of the live range in order, in chunks of any size. It returns the entries and
 * remembers where and why it stopped. Entries before that point are good, as in the engine; bytes after it are ignored. Holds
 * at most one entry.
 */
export class WalReplay {
  readonly #range: ReplayRange;
  /** Live bytes before the entry that is being read. */
  #done = 0;
  #pushed = 0;
  #entries = 0;
  #firstLsn: bigint | undefined;
  #lastLsn: bigint | undefined;
  #stop: ReplayStop | undefined;
  /** The start of an entry that goes on in a later chunk; `#heldBytes` of it are filled. */
  #held = Buffer.alloc(0);
  #heldBytes = 0;

  constructor(range: ReplayRange) {
    this.#range = range;
  }

  /** Whether more bytes could change anything. */
  get hasStopped(): boolean {
    return this.#stop !== undefined || this.#done === this.#range.liveBytes;
  }

  /** Bytes past the live range are ignored, so are all after a stop. */
  push(chunk: Uint8Array): WalEntry[] {
    const entries: WalEntry[] = [];
    const usable = Math.min(chunk.byteLength, this.#range.liveBytes - this.#pushed);
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, usable);
    this.#pushed += usable;
    let at = 0;
    if (this.#heldBytes > 0) {
      at = this.#fillHeld(bytes, entries);
    }
    while (at < usable && this.#stop === undefined) {
      const total = this.#totalBytes(bytes, at, usable);
      if (total === undefined || total > usable - at) {
        if (this.#stop === undefined) this.#hold(bytes.subarray(at), total ?? ENTRY_HEADER_BYTES);
        break;
      }
      this.#take(bytes.subarray(at, at + total), entries);
      at += total;
    }
    return entries;
  }

  /** How the replay ended. Call it after the last chunk. */
  finish(): ReplayResult {
    if (!this.hasStopped) {
      this.#stopAt(
        'missing',
        `the file ends ${this.#range.liveBytes - this.#pushed} bytes before the log does`,
      );
    }
    return {
      entries: this.#entries,
      firstLsn: this.#firstLsn,
      lastLsn: this.#lastLsn,
      ...(this.#stop === undefined ? {} : { stop: this.#stop }),
    };
  }

  /** Goes on with the held entry; returns how much of the chunk it took. */
  #fillHeld(chunk: Buffer, entries: WalEntry[]): number {
    let at = 0;
    // First the header, which tells the size, then the rest.
    for (;;) {
      const known = this.#heldBytes >= ENTRY_HEADER_BYTES;
      const wanted = known ? this.#totalBytes(this.#held, 0, this.#heldBytes) : ENTRY_HEADER_BYTES;
      if (wanted === undefined) return at;
      if (known && this.#heldBytes === wanted) {
        this.#take(this.#held.subarray(0, wanted), entries);
        // The returned entry is a view into this buffer, so the next entry gets a new one.
        this.#held = Buffer.alloc(0);
        this.#heldBytes = 0;
        return at;
      }
      const count = Math.min(wanted - this.#heldBytes, chunk.byteLength - at);
      if (count === 0) return at;
      this.#hold(chunk.subarray(at, at + count), wanted);
      at += count;
    }
  }

  /** Appends to the held bytes. The buffer grows with the bytes that arrive, not with the length that the header claims. */
  #hold(bytes: Uint8Array, wanted: number): void {
    const needed = this.#heldBytes + bytes.byteLength;
    if (needed > this.#held.byteLength) {
      const larger = Buffer.allocUnsafe(
        Math.max(needed, Math.min(wanted, 2 * this.#held.byteLength, 2 * needed)),
      );
      this.#held.copy(larger, 0, 0, this.#heldBytes);
      this.#held = larger;
    }
    this.#held.set(bytes, this.#heldBytes);
    this.#heldBytes = needed;
  }

  /**
   * The size of the entry that begins at `from`; undefined when its header is not complete before `to`, or when the replay
   * stops at it.
   */
  #totalBytes(bytes: Buffer, from: number, to: number): number | undefined {
    const left = this.#range.liveBytes - this.#done;
    if (left < ENTRY_HEADER_BYTES) {
      this.#stopAt('short', `the last ${left} bytes are fewer than an entry's header has`);
      return undefined;
    }
    if (to - from < ENTRY_HEADER_BYTES) return undefined;
    const len = decodeEntryLen(bytes, from);
    const total = ENTRY_HEADER_BYTES + len;
    if (len < MIN_ENTRY_LEN) this.#stopAt('length', `an entry's length of ${len} is too small`);
    else if (total > this.#range.ringBytes)
      this.#stopAt('length', `an entry of ${total} bytes is larger than the ring`);
    else if (total > left) this.#stopAt('length', `an entry of ${total} bytes goes past the end of the log`);
    else return total;
    return undefined;
  }

  #take(entry: Buffer, entries: WalEntry[]): void {
    const problem = entryProblem(entry);
    if (problem !== undefined) {
      this.#stopAt(problem.kind, `an entry does not hold: ${problem.message}`);
      return;
    }
    const lsn = decodeEntryLsn(entry, 0);
    if (this.#lastLsn !== undefined && lsn <= this.#lastLsn) {
      this.#stopAt('order', `the LSN ${lsn} follows ${this.#lastLsn}`);
      return;
    }
    entries.push({
      lsn,
      offset: this.#logical(),
      length: entry.byteLength,
      ops: () => decodeEntryOps(entry),
    });
    this.#entries++;
    this.#firstLsn ??= lsn;
    this.#lastLsn = lsn;
    this.#done += entry.byteLength;
  }

  #stopAt(reason: ReplayStopReason, message: string): void {
    this.#heldBytes = 0;
    this.#stop = {
      reason,
      message,
      offset: this.#logical(),
      droppedBytes: this.#range.liveBytes - this.#done,
    };
  }

  #logical(): number {
    return (this.#range.start + this.#done) % this.#range.ringBytes;
  }
}
