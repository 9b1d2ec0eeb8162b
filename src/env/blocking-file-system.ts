import fs from 'node:fs';
import { blockUse } from './block-use.ts';
import { guardEngineLocks } from './engine-locks.ts';
import type { FileSystem, OpenFile, OpenHow } from './file-system.ts';
import {
  absentAsUndefined,
  CLONE,
  DIRECT_FLAGS,
  FILE_MODE,
  FLAGS,
  FOLDER_MODE,
  HAS_DIRECT,
  isMostlyHoles,
  isUnsyncable,
  isUnusableFile,
  isUnusableFolder,
  mayCreate,
  type OpenedFile,
  pathOf,
  READ_FOLDER,
  SECTOR_BYTES,
  toFileStat,
  toFolderEntry,
} from './node-terms.ts';
import { ANCHOR_FLAGS, anchors } from './openat-paths.ts';
import { ignoreOwnerRefused, ownerFor, ownerOfNew } from './ownership.ts';
import { filePastCache } from './past-cache.ts';

function openOrMake(name: string, how: OpenHow): OpenedFile {
  if (how === 'open-or-create') {
    try {
      return { fd: fs.openSync(name, FLAGS.create, FILE_MODE), isNew: true };
    } catch {
      // It is there, or the next call tells what is wrong.
    }
  }
  return { fd: fs.openSync(name, FLAGS[how], FILE_MODE), isNew: how === 'create' };
}

const anchor = anchors((path) => fs.openSync(path, ANCHOR_FLAGS));

/**
 * For worker threads: the same interface over blocking calls. A blocked worker disturbs nobody. Asynchronous calls would share
 * Node's four I/O threads with the host's own reads, writes and name look-ups.
 */
export const blockingFileSystem: FileSystem = guardEngineLocks({
  open: (path, how, pastCache) =>
    anchor.name(path, (name) => {
      const owner = ownerOfNew(name, how);
      const { fd, isNew } = openOrMake(name, how);
      if (owner !== undefined) changeOwner(() => fs.fchownSync(fd, owner.uid, owner.gid));
      if (mayCreate(how) && isUnusableFile(fs.fstatSync(fd), isNew)) fs.fchmodSync(fd, FILE_MODE);
      const file = blockingFile(fd, path, true);
      if (pastCache === true) return openPastCache(file, how);
      return how === 'read' && isMostlyHoles(fs.fstatSync(fd)) ? openSparse(file) : file;
    }),
  adopt: (fd, path) => blockingFile(fd, path, false),
  inspect: (path) =>
    absentAsUndefined(() => anchor.name(path, (name) => toFileStat(fs.lstatSync(name, { bigint: true })))),
  list: (path) =>
    anchor.folder(path, (name) => fs.readdirSync(name, { withFileTypes: true }).map(toFolderEntry)),
  makeFolder: (path) =>
    anchor.name(path, (name) => {
      fs.mkdirSync(name, { mode: FOLDER_MODE });
      const made = fs.lstatSync(name);
      if (made.isDirectory() && isUnusableFolder(made)) fs.chmodSync(name, FOLDER_MODE);
      const owner = ownerFor(name);
      if (owner !== undefined) changeOwner(() => fs.lchownSync(name, owner.uid, owner.gid));
    }),
  rename: (from, to) => anchor.name(from, (old) => anchor.name(to, (name) => fs.renameSync(old, name))),
  link: (existing, to) => anchor.name(existing, (old) => anchor.name(to, (name) => fs.linkSync(old, name))),
  clone: (from, to) =>
    anchor.name(to, async (name) => {
      const source = await anchor.name(from, (old) => fs.openSync(old, FLAGS.read));
      try {
        fs.copyFileSync(pathOf(source, from), name, CLONE);
      } finally {
        fs.closeSync(source);
      }
      const copy = fs.openSync(name, FLAGS.read);
      try {
        fs.fchmodSync(copy, FILE_MODE); // the copy has the mode of the source
        const owner = ownerFor(name);
        if (owner !== undefined) changeOwner(() => fs.fchownSync(copy, owner.uid, owner.gid));
      } finally {
        fs.closeSync(copy);
      }
    }),
  removeFile: (path) => anchor.name(path, (name) => fs.unlinkSync(name)),
  removeFolder: (path) => anchor.name(path, (name) => fs.rmdirSync(name)),
  async syncFolder(path) {
    if (process.platform === 'win32') return; // folders cannot be opened there
    const fd = await anchor.name(path, (name) => fs.openSync(name, READ_FOLDER));
    try {
      fs.fsyncSync(fd);
    } catch (error) {
      if (!isUnsyncable(error)) throw error; // the main thread warns of it
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
});

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
    async blockUse() {
      if (process.platform !== 'linux') return undefined;
      return blockUse(fs.statfsSync(pathOf(fd, path)), Number(fs.fstatSync(fd).blocks) * SECTOR_BYTES);
    },
    async close() {
      if (owned) fs.closeSync(fd);
    },
  };
}

/** With a second descriptor of an open file, where the file system admits it. Opening a new file so could leave one behind. */
function openPastCache(file: OpenFile, how: OpenHow): OpenFile {
  if (!HAS_DIRECT) return file;
  try {
    const name = pathOf(file.fd, file.path);
    const { type } = fs.statfsSync(name);
    const direct = fs.openSync(name, DIRECT_FLAGS[how]);
    return filePastCache(file, blockingFile(direct, file.path, true), type);
  } catch {
    return file;
  }
}

/** Through the page cache a hole is read twenty times slower, and takes memory for each of its pages. */
function openSparse(file: OpenFile): OpenFile {
  if (!HAS_DIRECT) return file;
  try {
    const direct = fs.openSync(pathOf(file.fd, file.path), DIRECT_FLAGS.read);
    return { ...filePastCache(file, blockingFile(direct, file.path, true)), isMostlyHoles: true };
  } catch {
    return file;
  }
}

function changeOwner(change: () => void): void {
  try {
    change();
  } catch (error) {
    ignoreOwnerRefused(error);
  }
}
