/** Numbers at which decoders go wrong, as they stand in files. */
const NUMBERS = [
  0n,
  1n,
  2n,
  3n,
  4n,
  7n,
  8n,
  15n,
  16n,
  31n,
  32n,
  64n,
  100n,
  127n,
  128n,
  255n,
  256n,
  4095n,
  4096n,
  32767n,
  32768n,
  65535n,
  65536n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];

export type Below = (limit: number) => number;

export interface MutateOptions {
  readonly words: readonly Buffer[];
  /** Another input to take a piece of. */
  readonly other: Buffer;
  readonly maxBytes: number;
}

/** One to a few changes at places that chance finds. */
export function mutate(input: Buffer, below: Below, options: MutateOptions): Buffer {
  let bytes: Buffer = Buffer.from(input);
  const count = 1 + below(below(4) === 0 ? 8 : 2);
  for (let i = 0; i < count; i++) bytes = CHANGES[below(CHANGES.length)]!(bytes, below, options);
  return bytes.subarray(0, options.maxBytes);
}

type Change = (bytes: Buffer, below: Below, options: MutateOptions) => Buffer;

const CHANGES: readonly Change[] = [
  flipBit,
  flipBit,
  setByte,
  setByte,
  addToByte,
  setNumber,
  setNumber,
  setVarint,
  takeOut,
  repeat,
  cut,
  fill,
  putWord,
  (bytes, below, { other }) => {
    const at = below(bytes.byteLength + 1);
    const from = below(other.byteLength + 1);
    const piece = other.subarray(from, from + lengthBelow(below, other.byteLength));
    return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at + below(2) * piece.byteLength)]);
  },
];

function flipBit(bytes: Buffer, below: Below): Buffer {
  if (bytes.byteLength > 0) bytes[below(bytes.byteLength)]! ^= 1 << below(8);
  return bytes;
}

function setByte(bytes: Buffer, below: Below): Buffer {
  if (bytes.byteLength > 0) bytes[below(bytes.byteLength)] = below(256);
  return bytes;
}

function addToByte(bytes: Buffer, below: Below): Buffer {
  if (bytes.byteLength > 0) bytes[below(bytes.byteLength)]! += below(33) - 16;
  return bytes;
}

/** Over what stands there, low byte first as in all these formats, or high byte first. */
function setNumber(bytes: Buffer, below: Below): Buffer {
  const size = [1, 2, 4, 8][below(4)]!;
  if (bytes.byteLength < size) return bytes;
  const number = Buffer.alloc(8);
  const value = below(3) === 0 ? BigInt(below(bytes.byteLength + 2)) : NUMBERS[below(NUMBERS.length)]!;
  number.writeBigUInt64LE(value);
  const field = number.subarray(0, size);
  if (below(8) === 0) field.reverse();
  field.copy(bytes, below(bytes.byteLength - size + 1));
  return bytes;
}

function setVarint(bytes: Buffer, below: Below): Buffer {
  const varint: number[] = [];
  let rest = NUMBERS[below(NUMBERS.length)]!;
  for (; rest > 0x7fn; rest >>= 7n) varint.push(Number(rest & 0x7fn) | 0x80);
  varint.push(Number(rest));
  const at = below(bytes.byteLength + 1);
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(varint), bytes.subarray(at + below(3))]);
}

function takeOut(bytes: Buffer, below: Below): Buffer {
  const at = below(bytes.byteLength + 1);
  const length = lengthBelow(below, bytes.byteLength);
  return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
}

function repeat(bytes: Buffer, below: Below): Buffer {
  const at = below(bytes.byteLength + 1);
  const piece = bytes.subarray(at, at + lengthBelow(below, bytes.byteLength));
  return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
}

function cut(bytes: Buffer, below: Below): Buffer {
  return below(3) === 0 ? bytes.subarray(0, below(bytes.byteLength + 1)) : bytes;
}

function fill(bytes: Buffer, below: Below): Buffer {
  const at = below(bytes.byteLength + 1);
  return bytes.fill([0, 0xff, 0x80][below(3)]!, at, Math.min(bytes.byteLength, at + 1 + below(40)));
}

function putWord(bytes: Buffer, below: Below, { words }: MutateOptions): Buffer {
  if (words.length === 0) return bytes;
  const word = words[below(words.length)]!;
  const at = below(bytes.byteLength + 1);
  return Buffer.concat([bytes.subarray(0, at), word, bytes.subarray(at + below(2) * word.byteLength)]);
}

/** Mostly short. */
const lengthBelow = (below: Below, limit: number): number => 1 + below(below(4) === 0 ? limit + 1 : 16);
