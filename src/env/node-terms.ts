import { type BigIntStats, constants, type Dirent, type Stats } from 'node:fs';
import { systemCode } from '../errors.ts';
import type { FileKind, FileStat, FolderEntry, OpenHow } from './file-system.ts';
import { DESCRIPTORS } from './kept-anchors.ts';
import { HAS_DESCRIPTOR_NAMES } from './openat-paths.ts';
import { DIRECT } from './past-cache.ts';

// Shared by both file systems over Node's calls: our terms in Node's and back.

/** The unit in which `stat` counts a file's blocks. */
export const SECTOR_BYTES = 512;

export const FILE_MODE = 0o600;
export const FOLDER_MODE = 0o700;

// O_NOFOLLOW: a link that replaces a file during a run must fail, and must not be followed out of the folder.
// O_NONBLOCK: opening a FIFO must not wait for a writer.
const SAFE = (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
export const FLAGS: Readonly<Record<OpenHow, number>> = {
  read: constants.O_RDONLY | SAFE,
  update: constants.O_RDWR | SAFE,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | SAFE,
  'open-or-create': constants.O_RDWR | constants.O_CREAT | SAFE,
};

/** Only through the name of an open descriptor: between two openings of a path it may become another file. */
export const HAS_DIRECT = HAS_DESCRIPTOR_NAMES && DIRECT !== 0;
export const DIRECT_FLAGS: Readonly<Record<OpenHow, number>> = {
  read: constants.O_RDONLY | DIRECT,
  update: constants.O_RDWR | DIRECT,
  create: constants.O_RDWR | DIRECT,
  'open-or-create': constants.O_RDWR | DIRECT,
};

/** Some file systems have no sync for folders. Git and SQLite go on there, too. */
export const isUnsyncable = (error: unknown): boolean =>
  ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP'].includes(systemCode(error) ?? '');

/** Whether the umask of the process took away the owner's own rights to the folder that was just made. */
export const isUnusableFolder = ({ mode }: { readonly mode: number }): boolean =>
  (mode & FOLDER_MODE) !== FOLDER_MODE;

/** A file that is opened, and whether it was made by that. */
export interface OpenedFile {
  readonly fd: number;
  readonly isNew: boolean;
}

export const mayCreate = (how: OpenHow): boolean => how === 'create' || how === 'open-or-create';

/** The same for a file; one that was there before counts only if nobody has any right to it. */
export const isUnusableFile = ({ mode }: { readonly mode: number }, isNew: boolean): boolean =>
  isNew ? (mode & FILE_MODE) !== FILE_MODE : (mode & 0o777) === 0;

export const CLONE = constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE;
/** Copying takes a name and follows links. The name of an open descriptor cannot be redirected. */
export const pathOf = (fd: number, path: string): string =>
  HAS_DESCRIPTOR_NAMES ? `${DESCRIPTORS}/${fd}` : path;

export const READ_FOLDER = constants.O_RDONLY | (constants.O_DIRECTORY ?? 0) | SAFE;

export async function absentAsUndefined(stat: () => Promise<FileStat>): Promise<FileStat | undefined> {
  try {
    return await stat();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export function toFileStat(stat: BigIntStats): FileStat {
  return {
    kind: kindOf(stat),
    sizeBytes: Number(stat.size),
    allocatedBytes: Number(stat.blocks) * SECTOR_BYTES,
    ino: stat.ino,
    dev: stat.dev,
    mtimeNs: stat.mtimeNs,
    links: Number(stat.nlink),
    mode: Number(stat.mode) & 0o7777,
  };
}

/** A hole of fewer bytes is read through the page cache in a few hundredths of a second. */
const LARGE_HOLE_BYTES = 64 * 1024 * 1024;
/** Of a file that is read past the cache at most this part is data: the cache may have it, and reads ahead. */
const DATA_PART = 1 / 8;

/** See `OpenFile.isMostlyHoles`. A wrong block count only costs time. */
export const isMostlyHoles = ({ size, blocks }: Pick<Stats, 'size' | 'blocks'>): boolean =>
  size - blocks * SECTOR_BYTES >= LARGE_HOLE_BYTES && blocks * SECTOR_BYTES <= size * DATA_PART;

export const toFolderEntry = (entry: Dirent): FolderEntry => ({ name: entry.name, kind: kindOf(entry) });

function kindOf(entry: Pick<Dirent, 'isFile' | 'isDirectory' | 'isSymbolicLink'>): FileKind {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  return entry.isSymbolicLink() ? 'link' : 'other';
}
