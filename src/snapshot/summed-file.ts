import type { FileStat, OpenFile } from '../env/file-system.ts';
import { readFully } from '../env/io.ts';
import type { TaskRun } from '../env/worker-pool.ts';
import { combineCrc32c } from '../format/crc32.ts';
import { crc32c } from '../format/crc32c.ts';

const BUFFER_BYTES = 1024 * 1024;

interface Stretch {
  readonly from: number;
  to: number;
  crc: number;
}

/**
 * A file that is being read by somebody else, in whatever order, and sums up what went by: so that the copy's second
 * checksum needs no second read, and no engine has to know of it.
 */
export class SummedFile implements OpenFile {
  readonly #file: OpenFile;
  readonly #stretches: Stretch[] = [];

  constructor(file: OpenFile) {
    this.#file = file;
  }

  get fd(): number {
    return this.#file.fd;
  }

  get path(): string {
    return this.#file.path;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    const count = await this.#file.read(target, position);
    this.#add(target.subarray(0, count), position);
    return count;
  }

  /** CRC-32C of the first `sizeBytes`. Reads only what nobody has read yet. */
  async sum(sizeBytes: number, run: TaskRun): Promise<number> {
    const stretches = this.#stretches.sort((a, b) => a.from - b.from || b.to - a.to);
    let position = 0;
    let sum = 0;
    for (const { from, to, crc } of stretches) {
      if (from < position || to > sizeBytes) continue;
      if (from > position) sum = await this.#readOn(sum, position, from, run);
      sum = combineCrc32c(sum, crc, to - from);
      position = to;
    }
    return this.#readOn(sum, position, sizeBytes, run);
  }

  async #readOn(sum: number, from: number, to: number, run: TaskRun): Promise<number> {
    const buffer = Buffer.allocUnsafe(Math.min(BUFFER_BYTES, to - from));
    let crc = sum;
    for (let at = from; at < to; ) {
      run.checkCancelled();
      const count = await readFully(this.#file, buffer.subarray(0, Math.min(buffer.byteLength, to - at)), at);
      if (count === 0) break;
      crc = crc32c(buffer.subarray(0, count), crc);
      at += count;
    }
    return crc;
  }

  /** What continues a stretch, or overlaps its end, is added to it; what lies within one is known. */
  #add(bytes: Uint8Array, position: number): void {
    const end = position + bytes.byteLength;
    const stretch = this.#stretches.find(({ from, to }) => from <= position && position <= to);
    if (stretch === undefined) this.#stretches.push({ from: position, to: end, crc: crc32c(bytes) });
    else if (end > stretch.to) {
      stretch.crc = crc32c(bytes.subarray(stretch.to - position), stretch.crc);
      stretch.to = end;
    }
  }

  write(source: Uint8Array, position: number): Promise<number> {
    return this.#file.write(source, position);
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#file.truncate(sizeBytes);
  }

  sync(): Promise<void> {
    return this.#file.sync();
  }

  syncData(): Promise<void> {
    return this.#file.syncData();
  }

  stat(): Promise<FileStat> {
    return this.#file.stat();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}
