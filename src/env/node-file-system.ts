import { statfs } from 'node:fs/promises';
import fs from 'fs-extra';
import { blockUse } from './block-use.ts';
import { guardEngineLocks } from './engine-locks.ts';
import type { FileSystem, OpenFile, OpenHow } from './file-system.ts';
import { TurnAnchors } from './kept-anchors.ts';
import {
  absentAsUndefined,
  CLONE,
  DIRECT_FLAGS,
  FILE_MODE,
  FLAGS,
  FOLDER_MODE,
  HAS_DIRECT,
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
import { warn } from './safe-calls.ts';

async function openOrMake(name: string, how: OpenHow): Promise<OpenedFile> {
  // It is there, or the next call tells what is wrong.
  const made =
    how === 'open-or-create' && (await fs.open(name, FLAGS.create, FILE_MODE).catch(() => undefined));
  if (made) return { fd: made, isNew: true };
  return { fd: await fs.open(name, FLAGS[how], FILE_MODE), isNew: how === 'create' };
}

const anchor = anchors((path) => fs.open(path, ANCHOR_FLAGS), new TurnAnchors());

/** For the host's main thread: every call is asynchronous and the event loop stays free. */
export const nodeFileSystem: FileSystem = guardEngineLocks({
  open: (path, how, pastCache) =>
    anchor.name(path, async (name) => {
      const owner = ownerOfNew(name, how);
      const { fd, isNew } = await openOrMake(name, how);
      if (owner !== undefined) await fs.fchown(fd, owner.uid, owner.gid).catch(ignoreOwnerRefused);
      if (mayCreate(how) && isUnusableFile(await fs.fstat(fd), isNew)) await fs.fchmod(fd, FILE_MODE);
      const file = asyncFile(fd, path, true);
      return pastCache === true ? openPastCache(file, how) : file;
    }),
  adopt: (fd, path) => asyncFile(fd, path, false),
  inspect: (path) =>
    absentAsUndefined(() =>
      anchor.name(path, async (name) => toFileStat(await fs.lstat(name, { bigint: true }))),
    ),
  list: (path) =>
    anchor.folder(path, async (name) => (await fs.readdir(name, { withFileTypes: true })).map(toFolderEntry)),
  makeFolder: (path) =>
    anchor.name(path, async (name) => {
      await fs.mkdir(name, { mode: FOLDER_MODE });
      const made = await fs.lstat(name);
      if (made.isDirectory() && isUnusableFolder(made)) await fs.chmod(name, FOLDER_MODE);
      const owner = ownerFor(name);
      if (owner !== undefined) await fs.lchown(name, owner.uid, owner.gid).catch(ignoreOwnerRefused);
    }),
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
        await fs.fchmod(copy, FILE_MODE); // the copy has the mode of the source
        const owner = ownerFor(name);
        if (owner !== undefined) await fs.fchown(copy, owner.uid, owner.gid).catch(ignoreOwnerRefused);
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
    } catch (error) {
      if (!isUnsyncable(error)) throw error;
      warnOfUnsyncable((await fs.fstat(fd)).dev, path);
    } finally {
      await fs.close(fd);
    }
  },
  realPath: (path) => fs.realpath(path),
  folderNow(path) {
    try {
      const stat = fs.statSync(path, { bigint: true });
      return stat.isDirectory() ? { ino: stat.ino, dev: stat.dev } : undefined;
    } catch {
      return undefined; // the first use says what is wrong
    }
  },
  async freeBytes(path) {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  },
});

/** As in `blocking-file-system.ts`. */
async function openPastCache(file: OpenFile, how: OpenHow): Promise<OpenFile> {
  if (!HAS_DIRECT) return file;
  try {
    const name = pathOf(file.fd, file.path);
    const { type } = await statfs(name);
    const direct = await fs.open(name, DIRECT_FLAGS[how]);
    return filePastCache(file, asyncFile(direct, file.path, true), type);
  } catch {
    return file;
  }
}

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
    async blockUse() {
      if (process.platform !== 'linux') return undefined;
      return blockUse(await statfs(pathOf(fd, path)), (await fs.fstat(fd)).blocks * SECTOR_BYTES);
    },
    async close() {
      if (owned) await fs.close(fd);
    },
  };
}

const devicesWarnedOf = new Set<number>();

function warnOfUnsyncable(device: number, folder: string): void {
  if (devicesWarnedOf.has(device)) return;
  devicesWarnedOf.add(device);
  warn(
    `${folder}: this file system cannot sync a folder, as SMB and some of FUSE; after a power cut the newest names may be missing`,
  );
}
