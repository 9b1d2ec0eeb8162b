import type { BlockUse } from './block-use.ts';

/**
 * The one door to the disk. Everything durable goes through this interface, copying included, so that a test can put
 * a failing or forgetful file system in its place.
 *
 * All methods reject with Node's system errors (`code`, `path`), untranslated; `toStillpointError` translates where an
 * error leaves the library.
 *
 * Paths are real: no method but `realPath` and `freeBytes` follows a symbolic link, neither in the last component nor before
 * it, also when one is put there in the middle of the call (`anchor.ts`). What comes from a user goes through `realPath` first, or
 * through `realPlace` of `io.ts` when it need not exist.
 */
export interface FileSystem {
  /**
   * - `read`: an existing file, for reading.
   * - `update`: an existing file, for reading and writing.
   * - `create`: a new file, for reading and writing; `EEXIST` if anything has that name.
   * - `open-or-create`: for reading and writing, created empty if absent.
   *
   * What comes into being has the mode 0o600.
   */
  open(path: string, how: OpenHow): Promise<OpenFile>;
  /** Wraps a descriptor of this process that somebody else opened and will close; `close` does nothing. */
  adopt(fd: number, path: string): OpenFile;
  /** What is at `path`, without following a link; undefined when nothing is there. */
  inspect(path: string): Promise<FileStat | undefined>;
  /** The names in a folder with their kinds, in no order. */
  list(path: string): Promise<FolderEntry[]>;
  /** Mode 0o700. */
  makeFolder(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** A further name for the same file. */
  link(existing: string, name: string): Promise<void>;
  /** A new file, mode 0o600, that shares its blocks with `from` until either is written to; rejects where there are none. */
  clone(from: string, to: string): Promise<void>;
  removeFile(path: string): Promise<void>;
  /** Only if empty. */
  removeFolder(path: string): Promise<void>;
  /** Brings the entries of a folder to disk. */
  syncFolder(path: string): Promise<void>;
  realPath(path: string): Promise<string>;
  freeBytes(path: string): Promise<number>;
}

export type OpenHow = 'read' | 'update' | 'create' | 'open-or-create';

export interface OpenFile {
  readonly fd: number;
  readonly path: string;
  /** Reads into all of `target` at `position`; resolves to the bytes read, fewer only at the end of the file or by chance. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Resolves to the bytes written, which may be fewer than given. Use `writeFully` of `io.ts`. */
  write(source: Uint8Array, position: number): Promise<number>;
  truncate(sizeBytes: number): Promise<void>;
  /** fsync: content and attributes. */
  sync(): Promise<void>;
  /** fdatasync: content, and of the attributes only what reading needs. */
  syncData(): Promise<void>;
  stat(): Promise<FileStat>;
  /** Absent, or undefined, where the file system's count of blocks proves nothing. */
  blockUse?(): Promise<BlockUse | undefined>;
  close(): Promise<void>;
}

export type FileKind = 'file' | 'folder' | 'link' | 'other';

export interface FolderEntry {
  readonly name: string;
  readonly kind: FileKind;
}

/** Which file it is: another inode is another file, and another time says that somebody wrote into it. */
export type FileIdentity = Pick<FileStat, 'ino' | 'mtimeNs'>;

export const isSameIdentity = (a: FileIdentity, b: FileIdentity): boolean =>
  a.ino === b.ino && a.mtimeNs === b.mtimeNs;

export interface FileStat {
  readonly kind: FileKind;
  readonly sizeBytes: number;
  /** What the file occupies on disk: less than its size where it has holes. */
  readonly allocatedBytes: number;
  readonly ino: bigint;
  readonly dev: bigint;
  readonly mtimeNs: bigint;
  readonly links: number;
  readonly mode: number;
}
