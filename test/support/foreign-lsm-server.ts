import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeCheckpoint } from '../../src/format/lsm/checkpoint.ts';
import {
  encodeSectionHeader,
  encodeSegmentHeader,
  ringExtents,
  type SectionHeader,
  segmentHeaderOffset,
  type WalGeometry,
  walFileBytes,
} from '../../src/format/lsm/wal.ts';
import { encodeEntry } from '../../src/format/lsm/wal-entry.ts';

/** Small, so that a handful of entries crosses segments. */
export const geometry: WalGeometry = { segmentBytes: 256, segmentCount: 4 };

/** Somebody else's server, as far as its files go: every step as the format's document tells it. */
export class ForeignServer {
  readonly dir: string;
  #lsn = 1n;
  #start = 0;
  #end = 0;
  #tables = 0n;

  constructor(dir: string) {
    this.dir = dir;
  }

  static async create(dir: string): Promise<ForeignServer> {
    await mkdir(join(dir, 'sst'));
    const log = Buffer.alloc(walFileBytes(geometry));
    for (let i = 0; i < geometry.segmentCount; i++)
      encodeSegmentHeader(BigInt(i + 1), 0n).copy(log, segmentHeaderOffset(geometry, i));
    await writeFile(join(dir, 'lsm.wal'), log);
    return new ForeignServer(dir);
  }

  async put(key: string): Promise<void> {
    const op = { type: 'put' as const, key: Buffer.from(key), value: Buffer.from('value') };
    const entry = encodeEntry(++this.#lsn, [op], 'batch');
    let done = 0;
    for (const { offset, length } of ringExtents(geometry, this.#end, entry.byteLength)) {
      await this.#write(entry.subarray(done, done + length), offset);
      done += length;
    }
    const end = this.#end + entry.byteLength;
    await this.#writeHeader({ start: this.#start, end, full: false });
  }

  async writeTable(bytes = tableBytes()): Promise<string> {
    const path = `sst/${++this.#tables}.sst`;
    await writeFile(join(this.dir, path), bytes);
    return path;
  }

  /** A compaction that left nothing, and a restart: the next table is the first again. */
  async removeAllTables(): Promise<void> {
    for (; this.#tables > 0n; this.#tables--)
      await rm(join(this.dir, `sst/${this.#tables}.sst`), { force: true });
  }

  async saveCheckpoint(): Promise<void> {
    const bytes = encodeCheckpoint({ lsn: this.#lsn, createdAtMs: 7n });
    await writeFile(join(this.dir, 'checkpoint.tmp'), bytes);
    await rename(join(this.dir, 'checkpoint.tmp'), join(this.dir, 'checkpoint.meta'));
  }

  emptyLog(): Promise<void> {
    return this.#writeHeader({ start: 0, end: 0, full: false });
  }

  async checkpoint(): Promise<void> {
    await this.writeTable();
    await this.saveCheckpoint();
    await this.emptyLog();
  }

  async moveStart(by: number): Promise<void> {
    await this.#writeHeader({ start: this.#start + by, end: this.#end, full: false });
  }

  async #writeHeader(header: SectionHeader): Promise<void> {
    this.#start = header.start;
    this.#end = header.end;
    await this.#write(encodeSectionHeader(header), 0);
  }

  async #write(bytes: Uint8Array, offset: number): Promise<void> {
    const file = await open(join(this.dir, 'lsm.wal'), 'r+');
    await file.write(bytes, 0, bytes.byteLength, offset);
    await file.close();
  }
}

/** As far as a plan looks: a beginning, an end, and a size. */
export function tableBytes(): Buffer {
  const bytes = Buffer.alloc(120);
  bytes.write('ASST', 0);
  bytes.write('TSSA', 116);
  return bytes;
}
