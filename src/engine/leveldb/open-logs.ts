import { join } from 'node:path';
import type { FileSystem, OpenFile } from '../../env/file-system.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import { logName } from '../../format/leveldb/file-name.ts';
import type { Version } from '../../format/leveldb/version.ts';
import { listLogs } from './directory.ts';

export interface OpenLog {
  readonly number: number;
  readonly file: OpenFile;
  readonly sizeBytes: number;
}

const LOOKS = 3;

/** The write-ahead logs of one attempt: opened, with the sizes that they had at one moment. */
export class OpenLogs {
  readonly #fs: FileSystem;
  readonly #dir: string;
  #files = new Map<number, OpenFile>();
  #taken: OpenLog[] | undefined;

  constructor(fs: FileSystem, dir: string) {
    this.#fs = fs;
    this.#dir = dir;
  }

  get areTaken(): boolean {
    return this.#taken !== undefined;
  }

  /** The highest number among the logs taken, 0 if there are none. */
  get newest(): number {
    return Math.max(0, ...(this.#taken ?? []).map(({ number }) => number));
  }

  /**
   * Opens every log that `version` needs and takes their sizes, from the newest to the oldest: a log is final once a newer
   * one has a record, so the sizes mark a prefix of what was written. Returns why that failed, if it did.
   */
  async open(version: Version): Promise<string | undefined> {
    await this.close();
    for (let look = 1; ; look++) {
      const gone = await this.#openAll(await this.#listNeeded(version));
      if (gone !== undefined) return `${logName(gone)} is gone`;
      const taken: OpenLog[] = [];
      for (const [number, file] of [...this.#files].sort(([a], [b]) => b - a)) {
        const stat = await file.stat();
        if (stat.kind !== 'file') throw notRegular(file.path);
        taken.unshift({ number, file, sizeBytes: stat.sizeBytes });
      }
      // One look at a folder can miss files that exist all the while; a hole among the logs would lose writes.
      const unseen = (await this.#listNeeded(version)).filter((number) => !this.#files.has(number));
      if (unseen.length > 0 && look < LOOKS) continue;
      const newest = taken.at(-1)?.number ?? 0;
      const overlooked = unseen.find((number) => number < newest);
      if (overlooked !== undefined) return `${logName(overlooked)} was overlooked`;
      this.#taken = taken;
      return undefined;
    }
  }

  /** Those of the logs taken that `version`, which may be a later one, still needs; the others are closed. */
  async keepNeeded(version: Version): Promise<readonly OpenLog[]> {
    const taken = this.#taken ?? [];
    for (const { number, file } of taken) {
      if (version.needsLog(number)) continue;
      await file.close();
      this.#files.delete(number);
    }
    return taken.filter(({ number }) => version.needsLog(number));
  }

  async close(): Promise<void> {
    const files = this.#files;
    this.#files = new Map();
    this.#taken = undefined;
    for (const file of files.values()) await file.close();
  }

  async #listNeeded(version: Version): Promise<number[]> {
    const numbers = new Set(
      (await listLogs(this.#fs, this.#dir)).filter((number) => version.needsLog(number)),
    );
    // Looking for one name misses nothing, and this is the log that must exist.
    const first = version.logNumber ?? 0;
    if (!numbers.has(first) && (await this.#fs.inspect(join(this.#dir, logName(first)))) !== undefined) {
      numbers.add(first);
    }
    return [...numbers];
  }

  /** Opens what is not open yet; returns the number of a log that is gone. */
  async #openAll(numbers: readonly number[]): Promise<number | undefined> {
    for (const number of numbers) {
      if (this.#files.has(number)) continue;
      const path = join(this.#dir, logName(number));
      try {
        this.#files.set(number, await this.#fs.open(path, 'read'));
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return number;
        if (systemCode(error) === 'ELOOP') throw notRegular(path);
        throw error;
      }
    }
    return undefined;
  }
}

const notRegular = (path: string): StillpointError =>
  new StillpointError('UNSUPPORTED_FILE', `${path} is not a regular file`, { path });
