import type { OpenFile } from '../../env/file-system.ts';
import { writeFully } from '../../env/io.ts';
import type { TaskRun } from '../../env/run-control.ts';
import { Sums } from '../../format/sums.ts';

/** Shorter runs of zeros are written: smaller holes would only scatter the file. */
const HOLE_BYTES = 64 * 1024;

/** Writes a file from chunks in rising order of offsets. Long runs of zeros become holes; the sums cover the whole file. */
export class ImageWriter {
  readonly #file: OpenFile;
  readonly #run: TaskRun;
  readonly #sums: Sums;
  #position: number;
  #writtenBytes = 0;

  constructor(file: OpenFile, from: number, withCrc32c: boolean, run: TaskRun) {
    this.#file = file;
    this.#position = from;
    this.#sums = new Sums(withCrc32c);
    this.#run = run;
  }

  /** What is no hole. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** @param isOfHoles Whether zeros were read at no cost: see `OpenFile.isMostlyHoles`. */
  async write(offset: number, bytes: Uint8Array, isOfHoles = false): Promise<void> {
    this.#run.checkCancelled();
    this.#skipTo(offset);
    for (let from = 0; from < bytes.byteLength; ) {
      const end = endOfRun(bytes, from);
      const part = bytes.subarray(from, end.at);
      if (end.zeros) this.#sums.addZeros(part.byteLength);
      else {
        await writeFully(this.#file, part, offset + from);
        this.#sums.add(part);
        this.#writtenBytes += part.byteLength;
      }
      if (end.zeros && isOfHoles) this.#run.skipBytes(part.byteLength);
      else this.#run.addBytes(part.byteLength);
      from = end.at;
    }
    this.#position = offset + bytes.byteLength;
  }

  finish(end: number): Sums {
    this.#skipTo(end);
    return this.#sums;
  }

  #skipTo(offset: number): void {
    if (offset > this.#position) this.#sums.addZeros(offset - this.#position);
    this.#position = offset;
  }
}

const ZEROS = Buffer.alloc(HOLE_BYTES);

/** Where the run of holes, or of data, that begins at `from` ends. */
function endOfRun(bytes: Uint8Array, from: number): { at: number; zeros: boolean } {
  const zeros = isHole(bytes, from);
  let at = from;
  while (at < bytes.byteLength && isHole(bytes, at) === zeros) at += HOLE_BYTES;
  return { at: Math.min(at, bytes.byteLength), zeros };
}

const isHole = (bytes: Uint8Array, at: number): boolean =>
  at + HOLE_BYTES <= bytes.byteLength && ZEROS.equals(bytes.subarray(at, at + HOLE_BYTES));
