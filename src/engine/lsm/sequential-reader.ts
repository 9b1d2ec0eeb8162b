import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/worker-pool.ts';
import { crc32 } from '../../format/crc32.ts';

const BUFFER_BYTES = 1024 * 1024;

/** Reads a file once from its beginning on, in pieces of any size out of large reads, and sums up what it hands out. */
export class SequentialReader {
  readonly #file: OpenFile;
  readonly #run: TaskRun;
  #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  /** The part of the buffer that is read and not yet handed out. */
  #from = 0;
  #to = 0;
  #position = 0;
  #crc = 0;

  constructor(file: OpenFile, run: TaskRun) {
    this.#file = file;
    this.#run = run;
  }

  /** Offset in the file of what comes next. */
  get position(): number {
    return this.#position;
  }

  /** CRC-32 of all before `position`. */
  get crc32(): number {
    return this.#crc;
  }

  /** The next `length` bytes, fewer only at the end of the file; good until the next call. */
  async take(length: number): Promise<Buffer> {
    if (this.#to - this.#from < length) await this.#fill(length);
    const piece = this.#buffer.subarray(this.#from, Math.min(this.#from + length, this.#to));
    this.#from += piece.byteLength;
    this.#position += piece.byteLength;
    this.#crc = crc32(piece, this.#crc);
    return piece;
  }

  /** Goes on to `offset`, or to the end of the file. */
  async skipTo(offset: number): Promise<void> {
    while (this.#position < offset) {
      const piece = await this.take(Math.min(offset - this.#position, BUFFER_BYTES));
      if (piece.byteLength === 0) return;
    }
  }

  async #fill(length: number): Promise<void> {
    this.#run.checkCancelled();
    const rest = this.#buffer.subarray(this.#from, this.#to);
    if (length > this.#buffer.byteLength) {
      const larger = Buffer.allocUnsafe(length);
      rest.copy(larger);
      this.#buffer = larger;
    } else {
      this.#buffer.copyWithin(0, this.#from, this.#to);
    }
    const count = await readFully(
      this.#file,
      this.#buffer.subarray(rest.byteLength),
      this.#position + rest.byteLength,
    );
    this.#run.addBytes(count);
    this.#from = 0;
    this.#to = rest.byteLength + count;
  }
}
