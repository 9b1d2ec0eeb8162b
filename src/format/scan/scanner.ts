import { SCAN_WASM } from './wasm.ts';

/**
 * What `assembly/` exports. Addresses are offsets in the scanner's memory. A block is good, with so many entries, or -1: then
 * nothing has changed, and whoever wants to know what is wrong looks closer.
 */
interface Exports {
  lsmBegin(filterAt: number, filterBits: number, hashCount: number): void;
  lsmBlock(
    at: number,
    end: number,
    firstKeyAt: number,
    firstKeyBytes: number,
    lastKeyAt: number,
    lastKeyBytes: number,
  ): number;
  lsmIndex(at: number, bytes: number, blockCount: number, end: number): void;
  /** `MORE`, `DONE` or `LOOK_CLOSER`; the cells below say what was looked at. */
  lsmWindow(at: number, offset: number, bytes: number): number;
  /** Takes back what the last window changed. */
  lsmRollBack(): void;
  readonly lsmHasEntries: Cell<number>;
  readonly lsmKeyLength: Cell<number>;
  readonly lsmTimestamp: Cell<bigint>;
  readonly lsmSequence: Cell<bigint>;
  readonly lsmMinTimestamp: Cell<bigint>;
  readonly lsmMaxTimestamp: Cell<bigint>;
  readonly lsmMinKeyBytes: Cell<number>;
  readonly lsmMaxKeyBytes: Cell<number>;
  leveldbBegin(): void;
  leveldbBlock(
    at: number,
    end: number,
    filterAt: number,
    filterBits: number,
    probes: number,
    after: number,
    afterBytes: number,
    upTo: number,
    upToBytes: number,
  ): number;
  leveldbIndex(at: number, bytes: number, filterAt: number, filterBytes: number, end: number): void;
  leveldbWindow(at: number, offset: number, bytes: number): number;
  leveldbRollBack(): void;
  readonly leveldbFirstKeyBytes: Cell<number>;
  readonly leveldbLastKeyBytes: Cell<number>;
  readonly leveldbMaxSequence: Cell<bigint>;
  /** Uncompresses [at, end) to `target` and returns the length; -1 if it is more than `room`, or damaged. */
  snappyBlock(at: number, end: number, target: number, room: number): number;
  readonly windowBytes: Cell<number>;
  readonly windowBlocks: Cell<number>;
  readonly windowEntries: Cell<number>;
  readonly windowCrc: Cell<number>;
}

interface Cell<T> {
  readonly value: T;
}

export const LOOK_CLOSER = -1;
/** The index has no further block. */
export const DONE = 1;

// The part of the memory that `assembly/memory.ts` lays out, and behind it what is put there from here.
const KIB = 1024;
const KEY_AT = 8 * KIB;
const FIRST_KEY_AT = 152 * KIB;
/** Space for one thing each: two keys, an uncompressed block, a block that was read elsewhere. */
const SPARES_AT = [768 * KIB, 1024 * KIB, 1280 * KIB, 1536 * KIB] as const;
const SPARE_BYTES = 256 * KIB;
const UNCOMPRESSED_AT = SPARES_AT[2];
const CARRY_AT = SPARES_AT[3] + SPARE_BYTES;
const PAGE_BYTES = 64 * KIB;
/** Words are read eight bytes at a time, and so may go beyond the last one. */
const SLACK_BYTES = 8;
/** For index and filter of one table. If they are larger, JavaScript does all the work. */
const MAX_KEPT_BYTES = 64 * KIB * KIB;

let compiled: WebAssembly.Module | undefined;

/**
 * The compiled functions of `assembly/` and their memory, which holds the buffer that a file is read into: no byte is copied for
 * them. One user at a time.
 */
export class Scanner {
  readonly scan: Exports;
  readonly #memory: WebAssembly.Memory;
  readonly #bufferBytes: number;
  #memoryBuffer: ArrayBuffer;
  #bytes: Buffer;
  #buffer: Buffer;

  private constructor(bufferBytes: number) {
    compiled ??= new WebAssembly.Module(Buffer.from(SCAN_WASM, 'base64'));
    this.#bufferBytes = bufferBytes;
    const bytes = CARRY_AT + bufferBytes + SLACK_BYTES;
    this.#memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE_BYTES) });
    const instance = new WebAssembly.Instance(compiled, { env: { memory: this.#memory } });
    this.scan = instance.exports as unknown as Exports;
    this.#memoryBuffer = this.#memory.buffer;
    this.#bytes = Buffer.from(this.#memoryBuffer);
    this.#buffer = this.#bytes.subarray(CARRY_AT, CARRY_AT + bufferBytes);
  }

  /** Undefined without WebAssembly or without memory for it. JavaScript can do all the work. */
  static create(bufferBytes: number): Scanner | undefined {
    try {
      return new Scanner(bufferBytes);
    } catch {
      return undefined;
    }
  }

  /** The buffer to read into, its first part on a page's edge; a new one after each `keep`. */
  get buffer(): Buffer {
    return this.#buffer;
  }

  /** Memory beyond the buffer's. */
  get keptBytes(): number {
    return this.#bytes.byteLength - CARRY_AT - this.#bufferBytes;
  }

  /** Copies the parts that are needed for a whole file and drops the earlier ones. Returns their addresses, or undefined if they are too large. */
  keep(parts: readonly Uint8Array[]): number[] | undefined {
    const from = CARRY_AT + this.#bufferBytes;
    const total = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (total > MAX_KEPT_BYTES) return undefined;
    const missing = from + total + SLACK_BYTES - this.#bytes.byteLength;
    if (missing > 0) {
      try {
        this.#memory.grow(Math.ceil(missing / PAGE_BYTES));
      } catch {
        return undefined;
      }
      this.#memoryBuffer = this.#memory.buffer;
      this.#bytes = Buffer.from(this.#memoryBuffer);
      this.#buffer = this.#bytes.subarray(CARRY_AT, from);
    }
    let next = from;
    return parts.map((part) => {
      const at = next;
      this.#bytes.set(part, at);
      next += part.byteLength;
      return at;
    });
  }

  /** The address of `bytes`: in place, or copied to where there is space for one such thing. Undefined if they are too large for that. */
  place(bytes: Uint8Array, what: 'key' | 'other key' | 'block'): number | undefined {
    if (bytes.buffer === this.#memoryBuffer) return bytes.byteOffset;
    if (bytes.byteLength > SPARE_BYTES) return undefined;
    const at = SPARES_AT[what === 'key' ? 0 : what === 'other key' ? 1 : 3];
    this.#bytes.set(bytes, at);
    return at;
  }

  /** Uncompresses a block with Snappy. The result is valid until the next call. Undefined if it is damaged or too large. */
  uncompress(at: number, end: number): { readonly at: number; readonly end: number } | undefined {
    const length = this.scan.snappyBlock(at, end, UNCOMPRESSED_AT, SPARE_BYTES);
    return length === LOOK_CLOSER ? undefined : { at: UNCOMPRESSED_AT, end: UNCOMPRESSED_AT + length };
  }

  copyOf(at: number, byteLength: number): Buffer {
    return Buffer.from(this.#bytes.subarray(at, at + byteLength));
  }

  /** A copy of the first key of the first good block of a LevelDB table. */
  firstKey(byteLength: number): Buffer {
    return this.copyOf(FIRST_KEY_AT, byteLength);
  }

  /** A copy of the last key of the last good block. */
  lastKey(byteLength: number): Buffer {
    return this.copyOf(KEY_AT, byteLength);
  }
}
