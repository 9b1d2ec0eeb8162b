import { combineCrc32, combineCrc32c, crc32, crc32cOfZerosAfter, crc32OfZerosAfter } from './crc32.ts';
import { crc32c } from './crc32c.ts';
import type { Checksum } from './native-crc32.ts';

/** Size and checksums of a file, as in a manifest. */
export interface Summed {
  readonly sizeBytes: number;
  readonly crc32: number;
  /** Absent unless it was asked for. */
  readonly crc32c?: number | undefined;
}

/** One running checksum. Zeros, and bytes with a known checksum, are added without reading them. */
class RunningCrc {
  readonly #checksum: Checksum;
  readonly #combine: typeof combineCrc32;
  readonly #zerosAfter: typeof crc32OfZerosAfter;
  #crc = 0;
  #zeros = 0; // at the end, not in the checksum yet

  constructor(checksum: Checksum, combine: typeof combineCrc32, zerosAfter: typeof crc32OfZerosAfter) {
    this.#checksum = checksum;
    this.#combine = combine;
    this.#zerosAfter = zerosAfter;
  }

  get value(): number {
    if (this.#zeros > 0) this.#crc = this.#zerosAfter(this.#crc, this.#zeros);
    this.#zeros = 0;
    return this.#crc;
  }

  add(bytes: Uint8Array): void {
    this.#crc = this.#checksum(bytes, this.value);
  }

  addZeros(count: number): void {
    this.#zeros += count;
  }

  /** `length` bytes whose checksum is known. */
  append(crc: number, length: number): void {
    this.#crc = this.#combine(this.value, crc, length);
  }
}

export const runningCrc32 = (): RunningCrc => new RunningCrc(crc32, combineCrc32, crc32OfZerosAfter);
export const runningCrc32c = (): RunningCrc => new RunningCrc(crc32c, combineCrc32c, crc32cOfZerosAfter);

const ZEROS = Buffer.alloc(1024 * 1024);

/** Running size and checksums, fast for zeros: a ring log is mostly hole. */
export class Sums implements Summed {
  sizeBytes = 0;
  readonly #crc32 = runningCrc32();
  readonly #crc32c: RunningCrc | undefined;

  /** @param withCrc32c Whether to compute CRC-32C too. */
  constructor(withCrc32c = true) {
    this.#crc32c = withCrc32c ? runningCrc32c() : undefined;
  }

  get crc32(): number {
    return this.#crc32.value;
  }

  get crc32c(): number | undefined {
    return this.#crc32c?.value;
  }

  /** Returns whether all of them are zeros. */
  add(bytes: Uint8Array): boolean {
    if (isZeros(bytes)) {
      this.addZeros(bytes.byteLength);
      return true;
    }
    this.sizeBytes += bytes.byteLength;
    this.#crc32.add(bytes);
    this.#crc32c?.add(bytes);
    return false;
  }

  /** Bytes whose CRC-32 is known. */
  addKnown(bytes: Uint8Array, crc32OfBytes: number): void {
    this.sizeBytes += bytes.byteLength;
    this.#crc32.append(crc32OfBytes, bytes.byteLength);
    this.#crc32c?.add(bytes);
  }

  addZeros(count: number): void {
    this.sizeBytes += count;
    this.#crc32.addZeros(count);
    this.#crc32c?.addZeros(count);
  }

  /** Adds the sums of the bytes that follow. */
  append(next: Summed): void {
    this.sizeBytes += next.sizeBytes;
    this.#crc32.append(next.crc32, next.sizeBytes);
    this.#crc32c?.append(next.crc32c!, next.sizeBytes);
  }

  /** The sums as plain data, which can cross a thread. */
  result(): Summed {
    return { sizeBytes: this.sizeBytes, crc32: this.crc32, crc32c: this.crc32c };
  }
}

/** Compares blocks: a call for each byte takes seconds for a log of half a GiB. */
export function isZeros(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.byteLength; at += ZEROS.byteLength) {
    const block = bytes.subarray(at, at + ZEROS.byteLength);
    if (block[0] !== 0 || !ZEROS.subarray(0, block.byteLength).equals(block)) return false;
  }
  return true;
}
