import { join } from 'node:path';
import type { ImmutableItem } from '../../engine/engine.ts';
import type { Finding } from '../../engine/report.ts';
import { type FileStat, type FileSystem, isSameIdentity, type OpenFile } from '../../env/file-system.ts';
import { isTimeWitness } from '../../env/file-times.ts';
import { removeTree } from '../../env/io.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import type { ProvenFile } from '../ledger/proven-files.ts';
import { placeOf } from '../store/layout.ts';
import type { ManifestEntry } from '../store/manifest.ts';
import type { CopyJob } from '../tasks/copy-files.ts';

/** An immutable file that stays readable even when the engine deletes it. */
export interface Pin {
  /** Our own hard link to it; undefined where links are impossible. */
  readonly link?: string;
  /** The descriptor that keeps it, where there is no link. */
  readonly file?: OpenFile;
  readonly stat: FileStat;
  /**
   * How the manifest identifies the source file, so that the next snapshot recognizes it. Undefined where another file may have the
   * same inode and time (invariant 16): then the next snapshot compares the bytes.
   */
  readonly source: ManifestEntry['source'];
}

/** Errors that mean that links are impossible here, and not that the file is gone. */
const NO_LINKS = new Set(['EXDEV', 'EPERM', 'EACCES', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/**
 * Keeps the immutable files of one capture from vanishing before they are copied. A pin is a hard link in a folder of ours, next to
 * the copy. Where the file system refuses links, it is an open descriptor.
 */
export class Pins {
  readonly #fs: FileSystem;
  readonly #dir: string;
  readonly #folder: string;
  readonly #pins = new Map<string, Pin>();
  #count = 0;
  #beganNs: Promise<bigint> | undefined;

  /** `folder` must exist and be empty; `drop` removes it. */
  constructor(fs: FileSystem, dir: string, folder: string) {
    this.#fs = fs;
    this.#dir = dir;
    this.#folder = folder;
  }

  /** False when the file is gone. Pinning twice is free. */
  async pin(path: string): Promise<boolean> {
    if (this.#pins.has(path)) return true;
    const beganNs = await this.#began();
    const source = placeOf(this.#dir, path);
    const link = join(this.#folder, String(this.#count++));
    try {
      await this.#fs.link(source, link);
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return false;
      if (NO_LINKS.has(systemCode(error) ?? '')) return this.#pinOpen(path, source, beganNs);
      throw error;
    }
    const stat = await this.#fs.inspect(link);
    if (stat?.kind !== 'file') throw notRegular(source);
    this.#pins.set(path, { link, stat, source: sourceOf(stat, beganNs) });
    return true;
  }

  /** The time of our own new folder: the file system's clock, which need not be that of this machine. */
  #began(): Promise<bigint> {
    this.#beganNs ??= this.#fs.inspect(this.#folder).then((stat) => stat?.mtimeNs ?? 0n);
    return this.#beganNs;
  }

  async #pinOpen(path: string, source: string, beganNs: bigint): Promise<boolean> {
    let file: OpenFile;
    try {
      file = await this.#fs.open(source, 'read');
    } catch (error) {
      if (systemCode(error) === 'ENOENT') return false;
      if (systemCode(error) === 'ELOOP') throw notRegular(source);
      throw error;
    }
    const stat = await file.stat();
    if (stat.kind !== 'file') {
      await file.close();
      throw notRegular(source);
    }
    this.#pins.set(path, { file, stat, source: sourceOf(stat, beganNs) });
    return true;
  }

  /** See `PlanContext.confirmPin`. */
  async confirm(path: string): Promise<boolean> {
    const { stat, file } = this.of(path);
    const now = await this.#fs.inspect(placeOf(this.#dir, path));
    // File system clocks are coarse: a file that is being written may grow without a new time.
    if (now && isSameIdentity(now, stat) && now.sizeBytes === stat.sizeBytes) return true;
    this.#pins.delete(path);
    await file?.close();
    return false;
  }

  of(path: string): Pin {
    const pin = this.#pins.get(path);
    if (pin === undefined) throw new StillpointError('INTERNAL', `${path} was not pinned`);
    return pin;
  }

  async drop(): Promise<void> {
    for (const { file } of this.#pins.values()) await file?.close();
    this.#pins.clear();
    await removeTree(this.#fs, this.#folder);
  }
}

const notRegular = (path: string) =>
  new StillpointError('UNSUPPORTED_FILE', `${path} is not a regular file; it cannot be captured`, { path });

/** An immutable file changed its size during the copy: nobody knows which state the copy has. */
export function resized(dir: string, path: string): StillpointError {
  const place = placeOf(dir, path);
  return new StillpointError('SOURCE_CHANGING', `${place} changed its size while it was copied`, {
    path: place,
  });
}

/** The engine's own record against each file: another size on disk is damage of the source. */
export function sizeFindings(items: readonly ImmutableItem[], pins: Pins): Finding[] {
  return items.flatMap(({ path, sizeBytes = pins.of(path).stat.sizeBytes }): Finding | [] => {
    const { stat } = pins.of(path);
    if (sizeBytes === stat.sizeBytes) return [];
    const message = `has ${stat.sizeBytes} bytes; the engine has ${sizeBytes} on record`;
    const offset = Math.min(sizeBytes, stat.sizeBytes);
    return { path, offset, code: 'SOURCE_SIZE', severity: 'error', message, verdict: 'source-damaged' };
  });
}

const sourceOf = ({ ino, mtimeNs }: FileStat, beganNs: bigint): ManifestEntry['source'] =>
  isTimeWitness(mtimeNs, beganNs) ? { ino: ino.toString(), mtime_ns: mtimeNs.toString() } : undefined;

/** Whether inode, size and a time that proves something say that the earlier snapshot was made of this very file. */
export const isSameSource = ({ stat, source }: Pin, proven: ProvenFile): boolean =>
  source !== undefined &&
  proven.size === stat.sizeBytes &&
  proven.source?.ino === source.ino &&
  proven.source.mtime_ns === source.mtime_ns;

/** Where to read a pinned file; `path` is for messages. */
export const sourcePlaceOf = (path: string, { link, file }: Pin): CopyJob['source'] =>
  link === undefined ? { path, fd: file!.fd } : { path: link };
