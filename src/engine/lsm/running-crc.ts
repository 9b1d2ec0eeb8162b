import { crc32, crc32OfZerosAfter } from '../../format/crc32.ts';

const ZEROS = Buffer.alloc(1024 * 1024);

/** CRC-32 over chunks, quick where they are zeros: a log of this engine is almost all hole. */
export class RunningCrc {
  #crc = 0;
  /** Zeros that are not yet in the CRC. */
  #zeros = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get value(): number {
    if (this.#zeros > 0) {
      this.#crc = crc32OfZerosAfter(this.#crc, this.#zeros);
      this.#zeros = 0;
    }
    return this.#crc;
  }

  add(chunk: Buffer): void {
    this.#length += chunk.byteLength;
    const isHole = chunk.byteLength <= ZEROS.byteLength && chunk.equals(ZEROS.subarray(0, chunk.byteLength));
    if (isHole) this.#zeros += chunk.byteLength;
    else this.#crc = crc32(chunk, this.value);
  }
}
