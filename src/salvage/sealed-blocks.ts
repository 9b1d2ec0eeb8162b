import { crc32cInScript, maskCrc, unmaskCrc } from '../format/crc32c.ts';
import { CRC_BYTES, TRAILER_BYTES } from '../format/leveldb/table.ts';

/** Compressions that a trailer may name. A CRC is compared only behind one of these bytes. */
const MOST_COMPRESSION = 4;
/** No block of the usual size is longer; a longer one holds one large entry. */
const LONGEST_BYTES = 64 * 1024 * 1024;
/** How far the next whole block is looked for, at first and at last. */
const WINDOWS_BYTES = [64 * 1024, 2 * 1024 * 1024];

export interface SealedBlock {
  readonly offset: number;
  /** With the trailer. */
  readonly length: number;
}

// What a byte makes of the register, from the checksums of single bytes.
const TABLE = Int32Array.from(
  { length: 256 },
  (_, byte) => ~crc32cInScript(Uint8Array.of(byte ^ 0xff)) ^ 0x00ff_ffff,
);

/**
 * The blocks of a table whose index is lost, in their order. Each is found by the place where its checksum is the one that is stored:
 * from the end of the block before on, and behind what is damaged, from any byte on. A place where that is so by chance comes once in
 * 2^32; `isBlock` judges those that stand behind no other block.
 */
export function* findSealedBlocks(
  bytes: Buffer,
  isBlock: (sealed: Buffer) => boolean,
): Generator<SealedBlock, void> {
  for (let from = 0; from < bytes.length; ) {
    const length = sealedLength(bytes, from);
    const found = length === undefined ? findNext(bytes, from, isBlock) : { offset: from, length };
    if (found === undefined) {
      from += WINDOWS_BYTES[1]! / 2;
      continue;
    }
    yield found;
    from = found.offset + found.length;
  }
}

function sealedLength(bytes: Buffer, from: number): number | undefined {
  const last = Math.min(bytes.length - CRC_BYTES, from + LONGEST_BYTES);
  let register = -1;
  for (let at = from; at < last; at++) {
    const byte = bytes[at]!;
    register = TABLE[(register ^ byte) & 0xff]! ^ (register >>> 8);
    if (byte > MOST_COMPRESSION || at - from < TRAILER_BYTES) continue;
    if (bytes.readUInt32LE(at + 1) === maskCrc(~register >>> 0)) return at + 1 + CRC_BYTES - from;
  }
  return undefined;
}

const findNext = (
  bytes: Buffer,
  from: number,
  isBlock: (sealed: Buffer) => boolean,
): SealedBlock | undefined => {
  for (const windowBytes of WINDOWS_BYTES) {
    const found = findIn(bytes, from, Math.min(bytes.length - CRC_BYTES, from + windowBytes), isBlock);
    if (found !== undefined) return found;
  }
  return undefined;
};

/**
 * The block that ends first of those that lie in [from, end), begin where they may.
 *
 * The checksum of [s, n) follows from the registers R(s) and R(n) of one pass that begins at `from` with 0: it is
 * R(n) + x^(8(n-s)) (R(s) + ~0). So where the stored one is `c`, x^(-8s) ~R(s) = x^(-8n) (R(n) + ~c): one number for each possible
 * begin, one for each possible end, and a pair of equals is a block. All pairs are found in one pass.
 */
function findIn(
  bytes: Buffer,
  from: number,
  end: number,
  isBlock: (sealed: Buffer) => boolean,
): SealedBlock | undefined {
  const begins = new Places(end - from);
  let register = 0;
  let power = ONE; // x^(-8 (at - from))
  for (let at = from; at < end; at++) {
    if (at > from && bytes[at - 1]! <= MOST_COMPRESSION) {
      const stored = unmaskCrc(bytes.readUInt32LE(at));
      for (const begin of begins.find(multiply(power, register ^ ~stored))) {
        const [offset, length] = [from + begin, at + CRC_BYTES - from - begin];
        if (length > TRAILER_BYTES && isBlock(bytes.subarray(offset, offset + length)))
          return { offset, length };
      }
    }
    begins.add(multiply(power, ~register), at - from);
    register = TABLE[(register ^ bytes[at]!) & 0xff]! ^ (register >>> 8);
    for (let bit = 0; bit < 8; bit++) power = power < 0 ? ((power ^ POLYNOMIAL) << 1) | 1 : power << 1;
  }
  return undefined;
}

// Polynomials over GF(2) modulo that of CRC-32C, the highest bit being the one of x^0.
const POLYNOMIAL = 0x82f6_3b78 | 0;
const ONE = 0x8000_0000 | 0;

function multiply(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let rest = a; rest !== 0; rest <<= 1) {
    if (rest < 0) product ^= shifted;
    shifted = (shifted & 1) === 0 ? shifted >>> 1 : (shifted >>> 1) ^ POLYNOMIAL;
  }
  return product | 0;
}

/** Places by a number of 32 bits, in a table of twice as many slots. */
class Places {
  readonly #keys: Int32Array;
  readonly #places: Int32Array;
  readonly #mask: number;

  constructor(count: number) {
    const slots = 2 ** Math.ceil(Math.log2(2 * count + 2));
    this.#keys = new Int32Array(slots);
    this.#places = new Int32Array(slots).fill(-1);
    this.#mask = slots - 1;
  }

  add(key: number, place: number): void {
    let slot = key & this.#mask;
    while (this.#places[slot] !== -1) slot = (slot + 1) & this.#mask;
    this.#keys[slot] = key;
    this.#places[slot] = place;
  }

  *find(key: number): Generator<number, void> {
    for (let slot = key & this.#mask; this.#places[slot] !== -1; slot = (slot + 1) & this.#mask)
      if (this.#keys[slot] === key) yield this.#places[slot]!;
  }
}
