import { type BigIntStats, constants, type Dirent } from 'node:fs';
import { statfs } from 'node:fs/promises';
import fs from 'fs-extra';
import type { FileKind, FileStat, FileSystem, FolderEntry, OpenFile, OpenHow } from './file-system.ts';

const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

// O_NOFOLLOW: a link put in the place of a file in mid-run must fail and not be followed out of the folder.
// O_NONBLOCK: opening a FIFO must not wait for a writer.
const SAFE = (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0);
const FLAGS: Readonly<Record<OpenHow, number>> = {
  read: constants.O_RDONLY | SAFE,
  update: constants.O_RDWR | SAFE,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | SAFE,
  'open-or-create': constants.O_RDWR | constants.O_CREAT | SAFE,
};

/** For the host's main thread: every call is asynchronous and the event loop stays free. */
export const nodeFileSystem: FileSystem = {
  async open(path, how) {
    return asyncFile(await fs.open(path, FLAGS[how], FILE_MODE), path, true);
  },
  adopt: (fd, path) => asyncFile(fd, path, false),
  inspect: (path) => absentAsUndefined(async () => toFileStat(await fs.lstat(path, { bigint: true }))),
  async list(path) {
    return (await fs.readdir(path, { withFileTypes: true })).map(toFolderEntry);
  },
  makeFolder: (path) => fs.mkdir(path, { mode: FOLDER_MODE }),
  rename: (from, to) => fs.rename(from, to),
  link: (existing, name) => fs.link(existing, name),
  clone: (from, to) => fs.copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE),
  removeFile: (path) => fs.unlink(path),
  removeFolder: (path) => fs.rmdir(path),
  async syncFolder(path) {
    if (process.platform === 'win32') return; // folders cannot be opened there
    const fd = await fs.open(path, constants.O_RDONLY);
    try {
      await fs.fsync(fd);
    } finally {
      await fs.close(fd);
    }
  },
  realPath: (path) => fs.realpath(path),
  async freeBytes(path) {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  },
};

/**
 * For worker threads: the same interface over blocking calls. A worker that blocks harms nobody, whereas asynchronous
 * calls would share Node's four I/O threads with the host's own reads, writes and name look-ups.
 */
export const blockingFileSystem: FileSystem = {
  async open(path, how) {
    return blockingFile(fs.openSync(path, FLAGS[how], FILE_MODE), path, true);
  },
  adopt: (fd, path) => blockingFile(fd, path, false),
  inspect: (path) => absentAsUndefined(async () => toFileStat(fs.lstatSync(path, { bigint: true }))),
  async list(path) {
    return fs.readdirSync(path, { withFileTypes: true }).map(toFolderEntry);
  },
  async makeFolder(path) {
    fs.mkdirSync(path, { mode: FOLDER_MODE });
  },
  async rename(from, to) {
    fs.renameSync(from, to);
  },
  async link(existing, name) {
    fs.linkSync(existing, name);
  },
  async clone(from, to) {
    fs.copyFileSync(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE);
  },
  async removeFile(path) {
    fs.unlinkSync(path);
  },
  async removeFolder(path) {
    fs.rmdirSync(path);
  },
  async syncFolder(path) {
    if (process.platform === 'win32') return; // folders cannot be opened there
    const fd = fs.openSync(path, constants.O_RDONLY);
    try {
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  },
  async realPath(path) {
    return fs.realpathSync(path);
  },
  async freeBytes(path) {
    const { bavail, bsize } = fs.statfsSync(path);
    return bavail * bsize;
  },
};

function asyncFile(fd: number, path: string, owned: boolean): OpenFile {
  return {
    fd,
    path,
    async read(target, position) {
      return (await fs.read(fd, target, 0, target.byteLength, position)).bytesRead;
    },
    async write(source, position) {
      return (await fs.write(fd, source, 0, source.byteLength, position)).bytesWritten;
    },
    truncate: (sizeBytes) => fs.ftruncate(fd, sizeBytes),
    sync: () => fs.fsync(fd),
    syncData: () => fs.fdatasync(fd),
    async stat() {
      return toFileStat(await fs.fstat(fd, { bigint: true }));
    },
    async close() {
      if (owned) await fs.close(fd);
    },
  };
}

function blockingFile(fd: number, path: string, owned: boolean): OpenFile {
  return {
    fd,
    path,
    async read(target, position) {
      return fs.readSync(fd, target, 0, target.byteLength, position);
    },
    async write(source, position) {
      return fs.writeSync(fd, source, 0, source.byteLength, position);
    },
    async truncate(sizeBytes) {
      fs.ftruncateSync(fd, sizeBytes);
    },
    async sync() {
      fs.fsyncSync(fd);
    },
    async syncData() {
      fs.fdatasyncSync(fd);
    },
    async stat() {
      return toFileStat(fs.fstatSync(fd, { bigint: true }));
    },
    async close() {
      if (owned) fs.closeSync(fd);
    },
  };
}

async function absentAsUndefined(stat: () => Promise<FileStat>): Promise<FileStat | undefined> {
  try {
    return await stat();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function toFileStat(stat: BigIntStats): FileStat {
  return {
    kind: kindOf(stat),
    sizeBytes: Number(stat.size),
    allocatedBytes: Number(stat.blocks) * 512,
    ino: stat.ino,
    dev: stat.dev,
    mtimeNs: stat.mtimeNs,
    links: Number(stat.nlink),
    mode: Number(stat.mode) & 0o7777,
  };
}

const toFolderEntry = (entry: Dirent): FolderEntry => ({ name: entry.name, kind: kindOf(entry) });

function kindOf(entry: Pick<Dirent, 'isFile' | 'isDirectory' | 'isSymbolicLink'>): FileKind {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  return entry.isSymbolicLink() ? 'link' : 'other';
}
