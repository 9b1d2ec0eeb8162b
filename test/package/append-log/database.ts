import { type FileHandle, open, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { HEADER_BYTES } from './engine.js';

/** The database that writes what `engine.ts` reads. One instance for a folder. */

const SEGMENT_BYTES = 8 * 1024;

export class AppendLog {
  readonly #dir: string;
  #file: FileHandle | undefined;
  #sizeBytes = 0;
  #segment = 0;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Durable when it resolves. `number` counts from 1. */
  async append(number: number, content: Buffer): Promise<void> {
    if (this.#file === undefined || this.#sizeBytes > SEGMENT_BYTES) await this.#nextSegment();
    const record = Buffer.alloc(HEADER_BYTES + content.length);
    record.writeUInt32LE(content.length, 0);
    record.writeUInt32LE(number, 8);
    content.copy(record, HEADER_BYTES);
    record.writeUInt32LE(crc32(record.subarray(8)), 4);
    await this.#file!.write(record);
    await this.#file!.datasync();
    this.#sizeBytes += record.length;
  }

  async #nextSegment(): Promise<void> {
    await this.close();
    this.#file = await open(join(this.#dir, `${String(++this.#segment).padStart(6, '0')}.seg`), 'ax');
    this.#sizeBytes = 0;
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }
}

/** The numbers of all records in a folder; throws at a record that does not hold. */
export async function readNumbers(dir: string): Promise<number[]> {
  const numbers: number[] = [];
  for (const name of (await readdir(dir)).filter((file) => file.endsWith('.seg')).sort()) {
    const bytes = await readFile(join(dir, name));
    for (let at = 0; at < bytes.length; ) {
      const end = at + HEADER_BYTES + bytes.readUInt32LE(at);
      if (end > bytes.length || crc32(bytes.subarray(at + 8, end)) !== bytes.readUInt32LE(at + 4))
        throw new Error(`${name} is damaged at byte ${at}`);
      numbers.push(bytes.readUInt32LE(at + 8));
      at = end;
    }
  }
  return numbers;
}
