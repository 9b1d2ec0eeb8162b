import type { OpenFile } from '../env/file-system.ts';
import { readFully } from '../env/io.ts';
import type { TaskRun } from '../env/run-control.ts';
import type { Sums } from '../format/sums.ts';

/**
 * Reads a file once from its start, in large reads, and hands it out in pieces of any size, or in windows: all that is read and
 * not yet handed out. What a window leaves over stands in front of what is read next, and what is read begins on a page's edge.
 */
export class SequentialReader {
  readonly #file: OpenFile;
  readonly #run: TaskRun;
  readonly #sums: Sums | undefined;
  readonly #room: Buffer;
  readonly #readAt: number; // in `#room`; before it stands what was left over
  /** The part of `#room` that is read and not yet handed out. */
  #from: number;
  #to: number;
  #position = 0;
  #summedTo: number; // in `#room`

  /**
   * @param room Used until the last read. Half of it is for what is left over.
   * @param sums Gets all bytes that were handed out.
   */
  constructor(file: OpenFile, run: TaskRun, room: Buffer, sums?: Sums) {
    this.#file = file;
    this.#run = run;
    this.#room = room;
    this.#sums = sums;
    this.#readAt = room.byteLength / 2;
    this.#from = this.#readAt;
    this.#to = this.#readAt;
    this.#summedTo = this.#readAt;
  }

  /** Offset in the file of what comes next. */
  get position(): number {
    return this.#position;
  }

  /** What is read and not yet handed out. Valid until the next `more` or `take`. */
  get window(): Buffer {
    return this.#room.subarray(this.#from, this.#to);
  }

  /** Reads on behind the window. False at the end of the file, and where the window is too long to be carried over. */
  async more(): Promise<boolean> {
    if (this.#to - this.#from > this.#readAt) return false;
    return (await this.#fill()) > 0;
  }

  /** Hands out the next bytes of the window, whose CRC-32 may be known. */
  advance(length: number, crc32?: number): void {
    if (crc32 !== undefined && this.#sums !== undefined) {
      this.flush();
      this.#sums.addKnown(this.#room.subarray(this.#from, this.#from + length), crc32);
      this.#summedTo += length;
    }
    this.#from += length;
    this.#position += length;
  }

  /** The next `length` bytes, fewer only at the end of the file. Valid until the next call. */
  async take(length: number): Promise<Buffer> {
    while (this.#to - this.#from < length && (await this.more()));
    const known = Math.min(length, this.#to - this.#from);
    if (known === length || this.#to - this.#from <= this.#readAt) return this.#take(known);
    return this.#assemble(length);
  }

  /** The next `length` bytes if they are in memory; else undefined. */
  takeBuffered(length: number): Buffer | undefined {
    return this.#to - this.#from < length ? undefined : this.#take(length);
  }

  /** Goes on to `offset`, or to the end of the file. Each piece that is passed goes to `pass`. */
  async skipTo(offset: number, pass: (piece: Buffer) => void = () => {}): Promise<void> {
    while (this.#position < offset) {
      if (this.#to === this.#from && !(await this.more())) return;
      pass(this.#take(Math.min(offset - this.#position, this.#to - this.#from)));
    }
  }

  /** Sums up what was handed out so far, in few large pieces: each call has a fixed cost. */
  flush(): void {
    if (this.#from > this.#summedTo) this.#sums?.add(this.#room.subarray(this.#summedTo, this.#from));
    this.#summedTo = this.#from;
  }

  #take(length: number): Buffer {
    const piece = this.#room.subarray(this.#from, this.#from + length);
    this.#from += length;
    this.#position += length;
    return piece;
  }

  /** A piece that is larger than what can be carried over. */
  async #assemble(length: number): Promise<Buffer> {
    const whole = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length && (this.#to > this.#from || (await this.more()))) {
      const piece = this.#take(Math.min(length - done, this.#to - this.#from));
      piece.copy(whole, done);
      done += piece.byteLength;
    }
    return whole.subarray(0, done);
  }

  async #fill(): Promise<number> {
    this.#run.checkCancelled();
    this.flush();
    const rest = this.#to - this.#from;
    this.#room.copyWithin(this.#readAt - rest, this.#from, this.#to);
    this.#from = this.#readAt - rest;
    this.#summedTo = this.#from;
    this.#to = this.#readAt;
    const count = await readFully(this.#file, this.#room.subarray(this.#readAt), this.#position + rest);
    this.#to += count;
    this.#run.addBytes(count);
    return count;
  }
}
