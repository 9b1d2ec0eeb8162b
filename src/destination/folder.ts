import { dirname, join } from 'node:path';
import { type Clock, systemClock } from '../env/clock.ts';
import type { FileStat, FileSystem, FolderEntry } from '../env/file-system.ts';
import { createFile, listIfPresent, removeIfPresent, withFile, writeFully } from '../env/io.ts';
import { networkFileSystem } from '../env/network-file-system.ts';
import { nodeFileSystem } from '../env/node-file-system.ts';
import { randomHex } from '../env/random.ts';
import { type ErrorCode, isNoSpace, StillpointError, systemCode, systemMessage } from '../errors.ts';
import {
  type Body,
  type Capabilities,
  checkKey,
  checkPrefix,
  type Destination,
  type GetOptions,
  isKey,
  type ListedObject,
  type ListOptions,
  type ObjectInfo,
  type PutOptions,
} from './destination.ts';
import { keepsIfAbsent } from './probe.ts';

export interface FolderOptions {
  readonly fs?: FileSystem;
  readonly clock?: Clock;
}

/** No key has a part that begins with a dot, so none of these is ever listed. */
const TEMPORARY = '.put-';
const CHUNK_BYTES = 256 * 1024;

/**
 * Space kept aside for a full disk: a list of what is to be deleted is written before it is. In several pieces, since others may take
 * what one prune has left before the next one comes.
 */
const RESERVES = ['.reserve-1', '.reserve-2', '.reserve-3', '.reserve-4'];
const RESERVE_BYTES = 256 * 1024;

/**
 * A folder as a destination: each object is a file. A put writes a temporary file in the same folder, syncs it, gives it its
 * name by a hard link, which never replaces anything, and syncs the folder.
 * @param path An existing folder; `DESTINATION_NOT_FOUND` or `DESTINATION_PATH_CONFLICT` when it is none.
 */
export async function openFolder(path: string, options: FolderOptions = {}): Promise<Destination> {
  const { fs = nodeFileSystem, clock = systemClock } = options;
  const url = `folder:${path}`;
  let root: string;
  try {
    root = await fs.realPath(path);
  } catch (error) {
    throw translated(error, url);
  }
  const stat = await fs.inspect(root);
  if (stat?.kind !== 'folder') {
    throw new StillpointError('DESTINATION_PATH_CONFLICT', `${path} is not a folder`, { path });
  }
  return new FolderDestination(url, root, stat, fs, clock);
}

class FolderDestination implements Destination {
  readonly url: string;
  readonly #root: string;
  readonly #stat: FileStat;
  readonly #fs: FileSystem;
  readonly #clock: Clock;
  /** Folders whose own name is durable, by path. */
  readonly #durable = new Map<string, Promise<void>>();

  constructor(url: string, root: string, stat: FileStat, fs: FileSystem, clock: Clock) {
    this.url = url;
    this.#root = root;
    this.#stat = stat;
    this.#fs = fs;
    this.#clock = clock;
  }

  put(key: string, body: Body, options: PutOptions = {}): Promise<'written' | 'exists'> {
    checkKey(key);
    return this.#translated(async () => {
      try {
        return await this.#put(key, body, options);
      } catch (error) {
        if (!options.makesRoom || !isNoSpace(error) || !(await this.#giveUpReserve())) throw error;
        return this.#put(key, body, options);
      }
    });
  }

  async #put(
    key: string,
    body: Body,
    { ifAbsent = false, signal }: PutOptions,
  ): Promise<'written' | 'exists'> {
    const fs = this.#fs;
    const place = this.#placeOf(key);
    const folder = dirname(place);
    await this.#checkRoot();
    await this.#ensure(folder);
    const there = await this.#inspect(place);
    if (ifAbsent && there !== undefined) return this.#exists(folder);
    const temporary = join(folder, `${TEMPORARY}${randomHex(8)}`);
    try {
      await this.#write(temporary, body, signal);
      if (!ifAbsent) await fs.rename(temporary, place);
      else if (!(await this.#link(temporary, place))) return await this.#exists(folder);
    } finally {
      await removeIfPresent(fs, temporary).catch(() => undefined); // else `abortStale` removes it
    }
    await fs.syncFolder(folder);
    await this.#checkRoot();
    return 'written';
  }

  get(key: string, { range, signal }: GetOptions = {}): Promise<AsyncIterable<Uint8Array> | undefined> {
    checkKey(key);
    return this.#translated(async () => {
      const place = this.#placeOf(key);
      if ((await this.#inspect(place)) === undefined) return this.#absent();
      return this.#read(place, range, signal);
    });
  }

  head(key: string): Promise<ObjectInfo | undefined> {
    checkKey(key);
    return this.#translated(async () => {
      const stat = await this.#inspect(this.#placeOf(key));
      return stat === undefined ? this.#absent() : infoOf(stat);
    });
  }

  async *list(prefix: string, { shallow = false }: ListOptions = {}): AsyncIterable<ListedObject> {
    checkPrefix(prefix);
    await this.#translated(() => this.#checkRoot());
    yield* this.#listBelow(prefix, shallow);
  }

  delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) checkKey(key);
    return this.#translated(async () => {
      const folders = new Set<string>();
      for (const key of keys) {
        const place = this.#placeOf(key);
        if ((await this.#inspect(place)) === undefined) continue;
        await removeIfPresent(this.#fs, place);
        folders.add(dirname(place));
      }
      for (const folder of folders) await this.#fs.syncFolder(folder);
      await this.#checkRoot();
    });
  }

  abortStale(olderThanMs: number): Promise<number> {
    return this.#translated(async () => {
      await this.#checkRoot();
      await this.#keepReserve();
      return this.#removeStale(this.#root, this.#clock.nowMs() - olderThanMs);
    });
  }

  async probe(): Promise<Capabilities> {
    const network = await networkFileSystem(this.#root);
    const warnings =
      network === undefined
        ? []
        : [`${this.#root} lies on ${network}: whether what is synced there is durable is up to its server`];
    return { ifAbsent: await keepsIfAbsent(this), warnings };
  }

  /** A disk without room for it is no failure. */
  async #keepReserve(): Promise<void> {
    for (const path of RESERVES.map((name) => join(this.#root, name))) {
      if ((await this.#fs.inspect(path)) !== undefined) continue;
      try {
        // What shrinks would keep less aside on some file systems.
        await createFile(this.#fs, path, Buffer.from(randomHex(RESERVE_BYTES), 'hex'));
      } catch (error) {
        if (systemCode(error) === 'EEXIST') continue; // another process has just made it
        await removeIfPresent(this.#fs, path);
        if (isNoSpace(error)) return;
        throw error;
      }
    }
  }

  /** One piece of it; false when there is none. */
  async #giveUpReserve(): Promise<boolean> {
    for (const path of RESERVES.map((name) => join(this.#root, name))) {
      if ((await this.#fs.inspect(path)) === undefined) continue;
      await removeIfPresent(this.#fs, path);
      return true;
    }
    return false;
  }

  #placeOf(key: string): string {
    return join(this.#root, ...key.split('/'));
  }

  /** Another folder in the place of the root means that a disk was mounted or unmounted. */
  async #checkRoot(): Promise<void> {
    const stat = await this.#fs.inspect(this.#root);
    if (stat?.kind === 'folder' && stat.dev === this.#stat.dev && stat.ino === this.#stat.ino) return;
    throw new StillpointError('DESTINATION_NOT_FOUND', `${this.#root} is no longer the folder that it was`, {
      path: this.#root,
    });
  }

  async #absent(): Promise<undefined> {
    await this.#checkRoot();
    return undefined;
  }

  /** Whoever wrote it may not have synced its name yet. */
  async #exists(folder: string): Promise<'exists'> {
    await this.#fs.syncFolder(folder);
    return 'exists';
  }

  /** What stands at the place of an object; anything but a file is a conflict. */
  async #inspect(place: string): Promise<FileStat | undefined> {
    const stat = await this.#fs.inspect(place).catch((error) => {
      if (systemCode(error) === 'ENOENT') return undefined; // a folder on the way to it
      throw error;
    });
    if (stat === undefined || stat.kind === 'file') return stat;
    throw new StillpointError('DESTINATION_PATH_CONFLICT', `${place} is no regular file`, { path: place });
  }

  /** Makes a folder below the root; its name, and those of all above it, are durable then. */
  #ensure(folder: string): Promise<void> {
    if (folder === this.#root) return Promise.resolve();
    const known = this.#durable.get(folder);
    if (known !== undefined) return known;
    const making = this.#make(folder).catch((error) => {
      this.#durable.delete(folder);
      throw error;
    });
    this.#durable.set(folder, making);
    return making;
  }

  async #make(folder: string): Promise<void> {
    const parent = dirname(folder);
    await this.#ensure(parent);
    try {
      await this.#fs.makeFolder(folder);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
    await this.#fs.syncFolder(parent);
  }

  #write(path: string, body: Body, signal: AbortSignal | undefined): Promise<void> {
    return withFile(this.#fs, path, 'create', async (file) => {
      let position = 0;
      for await (const chunk of body.open()) {
        refuseAborted(signal);
        await writeFully(file, chunk, position);
        position += chunk.byteLength;
      }
      if (position !== body.sizeBytes) {
        throw new StillpointError(
          'INTERNAL',
          `${position} bytes came for ${path}, and not ${body.sizeBytes}`,
        );
      }
      await file.sync();
    });
  }

  /** False when there is something already. */
  async #link(from: string, to: string): Promise<boolean> {
    try {
      await this.#fs.link(from, to);
      return true;
    } catch (error) {
      const code = systemCode(error) ?? '';
      if (code === 'EEXIST') return false;
      if (!NO_LINKS.has(code)) throw error;
      throw new StillpointError(
        'DESTINATION_CONFIG_INVALID',
        `the file system of ${this.#root} has no hard links, which it takes to create a file without replacing another`,
        {
          path: this.#root,
          cause: error,
          hint: 'Use a folder on a file system with hard links, such as ext4.',
        },
      );
    }
  }

  async *#read(
    place: string,
    range: GetOptions['range'],
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array> {
    const file = await this.#translated(() => this.#fs.open(place, 'read'));
    try {
      let position = range?.offset ?? 0;
      const end = range === undefined ? Number.POSITIVE_INFINITY : position + range.length;
      while (position < end) {
        refuseAborted(signal);
        const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - position));
        const count = await this.#translated(() => file.read(chunk, position));
        if (count === 0) break;
        yield chunk.subarray(0, count);
        position += count;
      }
    } finally {
      await file.close();
    }
  }

  async *#listBelow(prefix: string, shallow: boolean): AsyncGenerator<ListedObject> {
    const folder = join(this.#root, ...prefix.split('/'));
    for (const { name, kind } of await this.#sorted(folder)) {
      const key = `${prefix}${name}`;
      if (!isKey(key)) continue; // not ours
      if (kind === 'folder' && shallow) yield { key: `${key}/`, sizeBytes: 0, modifiedAtMs: 0 };
      else if (kind === 'folder') yield* this.#listBelow(`${key}/`, shallow);
      else if (kind === 'file') {
        const stat = await this.#translated(() => this.#fs.inspect(join(folder, name)));
        if (stat?.kind === 'file') yield { key, ...infoOf(stat) };
      } else {
        // To pass it over would say that what it leads to is gone.
        const path = join(folder, name);
        throw new StillpointError('DESTINATION_PATH_CONFLICT', `${path} is no regular file and no folder`, {
          path,
          hint: 'No link is followed here. Put what it leads to in its place, or remove it.',
        });
      }
    }
  }

  async #sorted(folder: string): Promise<FolderEntry[]> {
    const entries = await this.#translated(() => listIfPresent(this.#fs, folder));
    // As the keys below them sort.
    const text = ({ name, kind }: FolderEntry) => (kind === 'folder' ? `${name}/` : name);
    return entries.sort((a, b) => (text(a) < text(b) ? -1 : 1));
  }

  async #removeStale(folder: string, beforeMs: number): Promise<number> {
    let count = 0;
    for (const { name, kind } of await listIfPresent(this.#fs, folder)) {
      const path = join(folder, name);
      if (kind === 'folder' && isKey(name)) count += await this.#removeStale(path, beforeMs);
      if (kind !== 'file' || !name.startsWith(TEMPORARY)) continue;
      const stat = await this.#fs.inspect(path);
      if (stat === undefined || infoOf(stat).modifiedAtMs > beforeMs) continue;
      await removeIfPresent(this.#fs, path);
      count++;
    }
    return count;
  }

  async #translated<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw translated(error, this.url);
    }
  }
}

const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK']);

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOENT: 'DESTINATION_NOT_FOUND',
  ENOTDIR: 'DESTINATION_PATH_CONFLICT',
  EISDIR: 'DESTINATION_PATH_CONFLICT',
  EACCES: 'DESTINATION_PERMISSION_DENIED',
  EPERM: 'DESTINATION_PERMISSION_DENIED',
  EROFS: 'DESTINATION_PERMISSION_DENIED',
  ENOSPC: 'DESTINATION_NO_SPACE',
  EDQUOT: 'DESTINATION_NO_SPACE',
};

function translated(error: unknown, url: string): unknown {
  const system = systemCode(error);
  if (error instanceof StillpointError || system === undefined || !/^E[A-Z0-9]+$/.test(system)) return error;
  const path = (error as { path?: unknown }).path;
  return new StillpointError(
    CODES[system] ?? 'DESTINATION_UNREACHABLE',
    `${url}: ${systemMessage(error as Error)}`,
    {
      cause: error,
      ...(typeof path === 'string' && { path }),
    },
  );
}

function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new StillpointError('CANCELLED', 'cancelled on request');
}

const infoOf = ({ sizeBytes, mtimeNs }: FileStat): ObjectInfo => ({
  sizeBytes,
  modifiedAtMs: Number(mtimeNs / 1_000_000n),
});
