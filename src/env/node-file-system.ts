import { type BigIntStats, constants, type Dirent } from 'node:fs';
import { statfs } from 'node:fs/promises';
import fs from 'fs-extra';
import { ANCHOR_FLAGS, anchors } from './anchor.ts';
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

const CLONE = constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE;
/** Copying goes by name and follows links: the name of what is open already leads nowhere else. */
const pathOf = (fd: number, path: string): string =>
  process.platform === 'linux' ? `/proc/self/fd/${fd}` : path;

const READ_FOLDER = constants.O_RDONLY | (constants.O_DIRECTORY ?? 0) | SAFE;

const anchor = anchors((path) => fs.open(path, ANCHOR_FLAGS));

/** For the host's main thread: every call is asynchronous and the event loop stays free. */
export const nodeFileSystem: FileSystem = {
  open: (path, how) =>
    anchor.name(path, async (name) => asyncFile(await fs.open(name, FLAGS[how], FILE_MODE), path, true)),
  adopt: (fd, path) => asyncFile(fd, path, false),
  inspect: (path) =>
    absentAsUndefined(() =>
      anchor.name(path, async (name) => toFileStat(await fs.lstat(name, { bigint: true }))),
    ),
  list: (path) =>
    anchor.folder(path, async (name) => (await fs.readdir(name, { withFileTypes: true })).map(toFolderEntry)),
  makeFolder: (path) => anchor.name(path, (name) => fs.mkdir(name, { mode: FOLDER_MODE })),
  rename: (from, to) => anchor.name(from, (old) => anchor.name(to, (name) => fs.rename(old, name))),
  link: (existing, to) => anchor.name(existing, (old) => anchor.name(to, (name) => fs.link(old, name))),
  clone: (from, to) =>
    anchor.name(to, async (name) => {
      const source = await anchor.name(from, (old) => fs.open(old, FLAGS.read));
      try {
        await fs.copyFile(pathOf(source, from), name, CLONE);
      } finally {
        await fs.close(source);
      }
      const copy = await fs.open(name, FLAGS.read);
      try {
        await fs.fchmod(copy, FILE_MODE); // it came with the mode of the source
      } finally {
        await fs.close(copy);
      }
    }),
  removeFile: (path) => anchor.name(path, (name) => fs.unlink(name)),
  removeFolder: (path) => anchor.name(path, (name) => fs.rmdir(name)),
  async syncFolder(path) {
    if (process.platform === 'win32') return; // folders cannot be opened there
    const fd = await anchor.name(path, (name) => fs.open(name, READ_FOLDER));
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

const blockingAnchor = anchors((path) => fs.openSync(path, ANCHOR_FLAGS));

/**
 * For worker threads: the same interface over blocking calls. A worker that blocks harms nobody, whereas asynchronous
 * calls would share Node's four I/O threads with the host's own reads, writes and name look-ups.
 */
export const blockingFileSystem: FileSystem = {
  open: (path, how) =>
    blockingAnchor.name(path, (name) => blockingFile(fs.openSync(name, FLAGS[how], FILE_MODE), path, true)),
  adopt: (fd, path) => blockingFile(fd, path, false),
  inspect: (path) =>
    absentAsUndefined(() =>
      blockingAnchor.name(path, (name) => toFileStat(fs.lstatSync(name, { bigint: true }))),
    ),
  list: (path) =>
    blockingAnchor.folder(path, (name) => fs.readdirSync(name, { withFileTypes: true }).map(toFolderEntry)),
  makeFolder: (path) => blockingAnchor.name(path, (name) => fs.mkdirSync(name, { mode: FOLDER_MODE })),
  rename: (from, to) =>
    blockingAnchor.name(from, (old) => blockingAnchor.name(to, (name) => fs.renameSync(old, name))),
  link: (existing, to) =>
    blockingAnchor.name(existing, (old) => blockingAnchor.name(to, (name) => fs.linkSync(old, name))),
  clone: (from, to) =>
    blockingAnchor.name(to, async (name) => {
      const source = await blockingAnchor.name(from, (old) => fs.openSync(old, FLAGS.read));
      try {
        fs.copyFileSync(pathOf(source, from), name, CLONE);
      } finally {
        fs.closeSync(source);
      }
      const copy = fs.openSync(name, FLAGS.read);
      try {
        fs.fchmodSync(copy, FILE_MODE); // it came with the mode of the source
      } finally {
        fs.closeSync(copy);
      }
    }),
  removeFile: (path) => blockingAnchor.name(path, (name) => fs.unlinkSync(name)),
  removeFolder: (path) => blockingAnchor.name(path, (name) => fs.rmdirSync(name)),
  async syncFolder(path) {
    if (process.platform === 'win32') return; // folders cannot be opened there
    const fd = await blockingAnchor.name(path, (name) => fs.openSync(name, READ_FOLDER));
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
