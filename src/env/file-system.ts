import type { BlockUse } from './block-use.ts';

/**
 * The only access to the disk. Everything durable goes through this interface, copying included, so that a test can replace it by
 * a file system that fails or forgets.
 *
 * All methods reject with Node's system errors (`code`, `path`), untranslated; `toStillpointError` translates where an
 * error leaves the library.
 *
 * Paths are real. Only `realPath` and `freeBytes` follow symbolic links. All other methods refuse one, in the last component and before
 * it, also when it appears during the call (`openat-paths.ts`). A path from a user goes through `realPath` first, or through
 * `realPlace` of `io.ts` when it need not exist.
 */
export interface FileSystem {
  /**
   * - `read`: an existing file, for reading.
   * - `update`: an existing file, for reading and writing.
   * - `create`: a new file, for reading and writing; `EEXIST` if anything has that name.
   * - `open-or-create`: for reading and writing, created empty if absent.
   *
   * A new file has mode 0o600.
   *
   * @param pastCache Past the page cache where the file system admits it; `isPastCache` of the file says whether it does.
   */
  open(path: string, how: OpenHow, pastCache?: boolean): Promise<OpenFile>;
  /** Wraps an open descriptor of this process that its opener will close; `close` does nothing. */
  adopt(fd: number, path: string): OpenFile;
  /** What is at `path`, without following a link; undefined when nothing is there. */
  inspect(path: string): Promise<FileStat | undefined>;
  /** The names in a folder with their kinds, in no particular order. */
  list(path: string): Promise<FolderEntry[]>;
  /** Mode 0o700. */
  makeFolder(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** A hard link: another name for the same file. */
  link(existing: string, name: string): Promise<void>;
  /** A copy-on-write clone: a new file, mode 0o600, that shares its blocks with `from` until either is written to. Rejects where cloning is impossible. */
  clone(from: string, to: string): Promise<void>;
  removeFile(path: string): Promise<void>;
  /** Only if empty. */
  removeFolder(path: string): Promise<void>;
  /** Brings the entries of a folder to disk. */
  syncFolder(path: string): Promise<void>;
  realPath(path: string): Promise<string>;
  /**
   * The folder that a path leads to at this very moment, links followed; undefined when there is none. Synchronous: for constructors, which
   * must know it before their caller goes on. Absent where that is impossible: then the first use decides.
   */
  folderNow?(path: string): FolderIdentity | undefined;
  freeBytes(path: string): Promise<number>;
}

export type OpenHow = 'read' | 'update' | 'create' | 'open-or-create';

export interface OpenFile {
  readonly fd: number;
  readonly path: string;
  /** Whether all that was read so far came from the device, and not from memory. */
  readonly isPastCache?: boolean;
  /** Whether it is large and nearly all of it is holes, which are read at no cost: zeros of it need not wait for a rate limit. */
  readonly isMostlyHoles?: boolean;
  /** Reads into `target` from `position`; resolves to the bytes read, which may be fewer than asked. Use `readFully` of `io.ts`. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Resolves to the bytes written, which may be fewer than given. Use `writeFully` of `io.ts`. */
  write(source: Uint8Array, position: number): Promise<number>;
  truncate(sizeBytes: number): Promise<void>;
  /** fsync: content and attributes. */
  sync(): Promise<void>;
  /** fdatasync: content, and of the attributes only what reading needs. */
  syncData(): Promise<void>;
  stat(): Promise<FileStat>;
  /** Absent or undefined where the block count of the file system proves nothing. */
  blockUse?(): Promise<BlockUse | undefined>;
  close(): Promise<void>;
}

export type FileKind = 'file' | 'folder' | 'link' | 'other';

export interface FolderEntry {
  readonly name: string;
  readonly kind: FileKind;
}

/** Which file it is: another inode is another file, another time means that it was written to. */
export type FileIdentity = Pick<FileStat, 'ino' | 'mtimeNs'>;

export const isSameIdentity = (a: FileIdentity, b: FileIdentity): boolean =>
  a.ino === b.ino && a.mtimeNs === b.mtimeNs;

/** Which folder it is, whatever its path. */
export type FolderIdentity = Pick<FileStat, 'ino' | 'dev'>;

export interface FileStat {
  readonly kind: FileKind;
  readonly sizeBytes: number;
  /** What the file occupies on disk: less than its size when it has holes. */
  readonly allocatedBytes: number;
  readonly ino: bigint;
  readonly dev: bigint;
  readonly mtimeNs: bigint;
  readonly links: number;
  readonly mode: number;
}
