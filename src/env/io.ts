import { basename, dirname, join, resolve } from 'node:path';
import { StillpointError, systemCode } from '../errors.ts';
import type { FileSystem, FolderEntry, OpenFile } from './file-system.ts';

/** Reads until `target` is full or the file ends; resolves to the bytes read. */
export async function readFully(file: OpenFile, target: Uint8Array, position: number): Promise<number> {
  let done = 0;
  while (done < target.byteLength) {
    const count = await file.read(target.subarray(done), position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** Reads exactly `length` bytes; `IO_ERROR` when the file ends before. */
export async function readExactly(file: OpenFile, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  if ((await readFully(file, bytes, position)) !== length) {
    throw new StillpointError('IO_ERROR', `${file.path} ends before byte ${position + length}`, {
      path: file.path,
    });
  }
  return bytes;
}

/** Writes all of `source`. `IO_ERROR` when a write makes no progress. */
export async function writeFully(file: OpenFile, source: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < source.byteLength) {
    const count = await file.write(source.subarray(done), position + done);
    if (count === 0)
      throw new StillpointError('IO_ERROR', `no byte could be written to ${file.path}`, { path: file.path });
    done += count;
  }
}

/** Opens, hands the file to `use`, and closes it in every case. */
export async function withFile<T>(
  fs: FileSystem,
  path: string,
  how: Parameters<FileSystem['open']>[1],
  use: (file: OpenFile) => Promise<T>,
  pastCache = false,
): Promise<T> {
  const file = await fs.open(path, how, pastCache);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/**
 * The content of a small regular file from a position on, undefined when there is none. A longer file than `limitBytes` is `INVALID_REQUEST` before
 * anything is allocated: the file may be hostile.
 */
export async function readSmallFile(
  fs: FileSystem,
  path: string,
  limitBytes: number,
  start = 0,
): Promise<Buffer | undefined> {
  const stat = await fs.inspect(path);
  if (stat === undefined) return undefined;
  if (stat.kind !== 'file') {
    throw new StillpointError('UNSUPPORTED_FILE', `${path} is not a regular file`, { path });
  }
  return withFile(fs, path, 'read', async (file) => {
    const { sizeBytes } = await file.stat();
    if (sizeBytes > limitBytes) {
      throw new StillpointError(
        'INVALID_REQUEST',
        `${path} has ${sizeBytes} bytes, more than ${limitBytes}`,
        { path },
      );
    }
    const bytes = Buffer.allocUnsafe(Math.max(0, sizeBytes - start));
    return bytes.subarray(0, await readFully(file, bytes, start));
  });
}

/** Where `replaceFile` writes first. A process that dies leaves it behind. */
export const temporaryOf = (path: string): string => join(dirname(path), `.${basename(path)}.tmp`);

/**
 * Replaces a small file durably. A reader, now or after a crash, sees the old content or the new one, never a mix: temporary name
 * in the same folder, write, fsync, rename, fsync the folder.
 */
export async function replaceFile(fs: FileSystem, path: string, content: Uint8Array): Promise<void> {
  const temporary = temporaryOf(path);
  await removeIfPresent(fs, temporary);
  await createFile(fs, temporary, content);
  await fs.rename(temporary, path);
  await fs.syncFolder(dirname(path));
}

/** Writes a new file and syncs it. Its name is durable only once its folder is synced. */
export async function createFile(fs: FileSystem, path: string, content: Uint8Array): Promise<void> {
  await withFile(fs, path, 'create', async (file) => {
    await writeFully(file, content, 0);
    await file.sync();
  });
}

/**
 * The real path of a place that need not exist: the real path of the nearest existing folder above it, plus the rest. A path from a
 * user goes through here before anything is created.
 */
export async function realPlace(fs: FileSystem, path: string): Promise<string> {
  const full = resolve(path);
  try {
    return await fs.realPath(full);
  } catch (error) {
    // A dangling link stays in the path: creating something there fails with EEXIST.
    if (systemCode(error) !== 'ENOENT' || dirname(full) === full) throw error;
    return join(await realPlace(fs, dirname(full)), basename(full));
  }
}

/** Makes a folder and its missing parents; each is synced in its parent. */
export async function makeFolders(fs: FileSystem, path: string): Promise<void> {
  const stat = await fs.inspect(path);
  if (stat?.kind === 'folder') return;
  if (stat !== undefined) throw new StillpointError('NOT_A_FOLDER', `${path} is not a folder`, { path });
  const parent = dirname(path);
  if (parent !== path) await makeFolders(fs, parent);
  try {
    await fs.makeFolder(path);
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error; // another process was faster
  }
  await fs.syncFolder(parent);
}

/** The entries of a folder. A link in its place is `UNSUPPORTED_FILE`: it could lead anywhere. */
export async function listFolder(fs: FileSystem, path: string): Promise<FolderEntry[]> {
  const kind = (await fs.inspect(path))?.kind;
  if (kind === 'link') {
    throw new StillpointError('UNSUPPORTED_FILE', `${path} is a symbolic link, and a folder belongs there`, {
      path,
    });
  }
  return fs.list(path);
}

/** As `listFolder`; none if the folder is absent. */
export async function listIfPresent(fs: FileSystem, path: string): Promise<FolderEntry[]> {
  try {
    return await listFolder(fs, path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

export async function removeIfPresent(fs: FileSystem, path: string): Promise<void> {
  try {
    await fs.removeFile(path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

/** Removes a folder with everything in it. Links are removed, not followed, `path` itself included. Nothing happens when it is absent. */
export async function removeTree(fs: FileSystem, path: string): Promise<void> {
  const kind = (await fs.inspect(path))?.kind;
  if (kind === undefined) return;
  if (kind !== 'folder') return removeIfPresent(fs, path);
  for (const entry of await listIfPresent(fs, path)) {
    const child = join(path, entry.name);
    if (entry.kind === 'folder') await removeTree(fs, child);
    else await removeIfPresent(fs, child);
  }
  try {
    await fs.removeFolder(path);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}
