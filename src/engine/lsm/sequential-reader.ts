import type { OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import type { Summed, Sums } from '../../format/sums.ts';

/** Reads a file once from its start, in large reads. Hands out pieces of any size and sums them up. */
export class SequentialReader {
  readonly #file: OpenFile;
  readonly #run: TaskRun;
  readonly #sums: Sums;
  #buffer: Buffer;
  /** The part of the buffer that is read and not yet handed out. */
  #from = 0;
  #to = 0;
  #position = 0;
  #summedTo = 0; // in the buffer

  /** @param buffer Used until the last read. */
  constructor(file: OpenFile, run: TaskRun, buffer: Buffer, sums: Sums) {
    this.#file = file;
    this.#run = run;
    this.#buffer = buffer;
    this.#sums = sums;
  }

  /** Offset in the file of what comes next. */
  get position(): number {
    return this.#position;
  }

  /** Size and checksums of all bytes before `position`. */
  sums(): Summed {
    this.#sum();
    return this.#sums.result();
  }

  /** The next `length` bytes, fewer only at the end of the file. Valid until the next call. */
  async take(length: number): Promise<Buffer> {
    if (this.#to - this.#from < length) await this.#fill(length);
    return this.#take(Math.min(length, this.#to - this.#from));
  }

  /** The next `length` bytes if they are in memory; else undefined. */
  takeBuffered(length: number): Buffer | undefined {
    return this.#to - this.#from < length ? undefined : this.#take(length);
  }

  #take(length: number): Buffer {
    const piece = this.#buffer.subarray(this.#from, this.#from + length);
    this.#from += length;
    this.#position += length;
    return piece;
  }

  /** Goes on to `offset`, or to the end of the file. */
  async skipTo(offset: number): Promise<void> {
    while (this.#position < offset) {
      const piece = await this.take(Math.min(offset - this.#position, this.#buffer.byteLength));
      if (piece.byteLength === 0) return;
    }
  }

  async #fill(length: number): Promise<void> {
    this.#run.checkCancelled();
    this.#sum();
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
    this.#summedTo = 0;
    this.#to = rest.byteLength + count;
  }

  /** In few large pieces: each call has a fixed cost. */
  #sum(): void {
    if (this.#from > this.#summedTo) this.#sums.add(this.#buffer.subarray(this.#summedTo, this.#from));
    this.#summedTo = this.#from;
  }
}
