import { join } from 'node:path';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { readFully } from '../../env/io.ts';
import { systemCode } from '../../errors.ts';
import { LogDecoder, type LogItem } from '../../format/leveldb/log.ts';
import { Version } from '../../format/leveldb/version.ts';
import { decodeVersionEdit } from '../../format/leveldb/version-edit.ts';

// Small: this runs in the host's main thread, and decoding one piece blocks it.
const PIECE_BYTES = 128 * 1024;

/** Reads a MANIFEST that is being appended to, from where it stopped the last time. */
export class ManifestFollower {
  readonly name: string;
  readonly file: OpenFile;
  readonly version = new Version();
  /** Offset after the last record that was applied to `version`. */
  end = 0;

  private constructor(name: string, file: OpenFile) {
    this.name = name;
    this.file = file;
  }

  /** Undefined when there is no such file. */
  static async open(fs: FileSystem, dir: string, name: string): Promise<ManifestFollower | undefined> {
    try {
      return new ManifestFollower(name, await fs.open(join(dir, name), 'read'));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Applies every record that is complete now. Returns the damage, if there is any. */
  async readOn(): Promise<string | undefined> {
    for await (const item of this.#newItems()) {
      if (item.kind !== 'record') return `${this.name} is damaged at offset ${item.offset}: ${item.message}`;
      const edit = decodeVersionEdit(item.payload);
      if (typeof edit === 'string')
        return `${this.name} has a damaged edit at offset ${item.offset}: ${edit}`;
      this.version.apply(edit);
      this.end = item.end;
    }
    return undefined;
  }

  /** Whether a further record is complete by now. */
  async hasMore(): Promise<boolean> {
    for await (const _ of this.#newItems()) return true;
    return false;
  }

  async *#newItems(): AsyncGenerator<LogItem, void> {
    const piece = Buffer.allocUnsafe(PIECE_BYTES);
    const decoder = new LogDecoder(this.end);
    for (let at = this.end; ; ) {
      const count = await readFully(this.file, piece, at);
      yield* decoder.push(piece.subarray(0, count));
      at += count;
      if (count < piece.length) break;
    }
    yield* decoder.finish();
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
