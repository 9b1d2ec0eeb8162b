import { basename, dirname } from 'node:path';
import type { FileStat, FileSystem, FolderEntry, OpenFile, OpenHow } from '../../src/env/file-system.ts';
import type { Locks } from '../../src/env/lock.ts';
import {
  CrashDisk,
  type DiskNode,
  type FileNode,
  type FolderNode,
  type Loss,
  SECTOR_BYTES,
} from './crash-disk.ts';

export interface Operation {
  /** Among all operations, from 1. */
  readonly number: number;
  /** In words: `open`, `create`, `write`, `sync folder`, …. */
  readonly name: string;
  readonly path: string;
  /** Of a rename or link. */
  readonly to?: string;
  /** Whether it changes what is on disk, or makes a change durable. */
  readonly isChange: boolean;
}

/** May throw, to fail it. Of reading and writing: `short` leaves half of it undone. */
// biome-ignore lint/suspicious/noConfusingVoidType: most look on and say nothing
export type OnOperation = (operation: Operation) => 'short' | undefined | void;

/**
 * A file system in memory, over a disk that knows what a power cut would leave. Each operation takes effect when it is called, a sync
 * when the disk is done; a write of several sectors is two operations, since it can be cut in its middle. There are no links and no owners.
 */
export class CrashFileSystem implements FileSystem {
  /** Called before each operation. */
  onOperation: OnOperation = () => {};
  readonly #disk: CrashDisk;
  readonly #open = new Map<number, { readonly node: FileNode; readonly path: string }>();
  #nextFd = 1000;
  #operations = 0;
  #changes = 0;

  constructor(disk = new CrashDisk()) {
    this.#disk = disk;
  }

  get operations(): number {
    return this.#operations;
  }

  get changes(): number {
    return this.#changes;
  }

  /** Paths of the files that are open at this moment. */
  get openPaths(): string[] {
    return [...this.#open.values()].map(({ path }) => path);
  }

  /** The disk after a crash at this moment; with `none`, as the death of a process alone leaves it. */
  after(loss: Loss): CrashFileSystem {
    return new CrashFileSystem(this.#disk.after(loss));
  }

  /** Every file and folder by its path, as they read now. */
  *nodes(): Generator<[path: string, node: DiskNode]> {
    const pending: [string, FolderNode][] = [['', this.#disk.root]];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      for (const [name, node] of next[1].names) {
        const path = `${next[0]}/${name}`;
        yield [path, node];
        if (node.kind === 'folder') pending.push([path, node]);
      }
    }
  }

  async open(path: string, how: OpenHow): Promise<OpenFile> {
    const there = this.#find(path);
    const isNew = how === 'create' || (how === 'open-or-create' && there === undefined);
    this.#begin(isNew ? 'create' : 'open', path, isNew);
    if (there !== undefined && how === 'create') throw systemError('EEXIST', path);
    if (there?.kind === 'folder') throw systemError('EISDIR', path);
    if (!isNew) return this.#opened(there ?? missing(path), path);
    const node = this.#disk.newFile();
    this.#disk.change([{ folder: this.#parent(path), name: basename(path), node }]);
    return this.#opened(node, path);
  }

  adopt(fd: number, path: string): OpenFile {
    const { node } = this.#open.get(fd) ?? badDescriptor(path);
    return this.#fileOver(fd, node, path, async () => {});
  }

  async inspect(path: string): Promise<FileStat | undefined> {
    this.#begin('inspect', path, false);
    const node = this.#find(path);
    return node && statOf(node);
  }

  async list(path: string): Promise<FolderEntry[]> {
    this.#begin('list', path, false);
    return [...this.#folder(path).names].map(([name, { kind }]) => ({ name, kind }));
  }

  async makeFolder(path: string): Promise<void> {
    this.#begin('make folder', path, true);
    if (this.#find(path) !== undefined) throw systemError('EEXIST', path);
    this.#disk.makeFolder(this.#parent(path), basename(path));
  }

  async rename(from: string, to: string): Promise<void> {
    this.#begin('rename', from, true, to);
    const node = this.#find(from) ?? missing(from);
    const there = this.#find(to);
    if (there === node) return;
    if (there?.kind === 'folder' && there.names.size > 0) throw systemError('ENOTEMPTY', to);
    if (there !== undefined && there.kind !== node.kind)
      throw systemError(there.kind === 'folder' ? 'EISDIR' : 'ENOTDIR', to);
    this.#disk.change([
      { folder: this.#parent(from), name: basename(from) },
      { folder: this.#parent(to), name: basename(to), node },
    ]);
  }

  async link(existing: string, name: string): Promise<void> {
    this.#begin('link', existing, true, name);
    const node = this.#find(existing) ?? missing(existing);
    if (node.kind === 'folder') throw systemError('EPERM', existing);
    if (this.#find(name) !== undefined) throw systemError('EEXIST', name);
    this.#disk.change([{ folder: this.#parent(name), name: basename(name), node }]);
  }

  async clone(from: string): Promise<void> {
    throw systemError('ENOTSUP', from);
  }

  async removeFile(path: string): Promise<void> {
    this.#begin('remove', path, true);
    const node = this.#find(path) ?? missing(path);
    if (node.kind === 'folder') throw systemError('EISDIR', path);
    this.#disk.change([{ folder: this.#parent(path), name: basename(path) }]);
  }

  async removeFolder(path: string): Promise<void> {
    this.#begin('remove folder', path, true);
    if (this.#folder(path).names.size > 0) throw systemError('ENOTEMPTY', path);
    this.#disk.change([{ folder: this.#parent(path), name: basename(path) }]);
  }

  async syncFolder(path: string): Promise<void> {
    this.#begin('sync folder', path, true);
    const done = this.#disk.beginSync(this.#folder(path));
    await turn();
    done();
  }

  async realPath(path: string): Promise<string> {
    this.#begin('real path', path, false);
    if (this.#find(path) === undefined) throw systemError('ENOENT', path);
    return path;
  }

  async freeBytes(path: string): Promise<number> {
    this.#begin('free bytes', path, false);
    return Number.MAX_SAFE_INTEGER;
  }

  #opened(node: FileNode, path: string): OpenFile {
    const fd = this.#nextFd++;
    this.#open.set(fd, { node, path });
    return this.#fileOver(fd, node, path, async () => {
      if (!this.#open.delete(fd)) badDescriptor(path);
    });
  }

  #fileOver(fd: number, node: FileNode, path: string, close: () => Promise<void>): OpenFile {
    const begin = (name: string, isChange: boolean): boolean => {
      if (!this.#open.has(fd)) badDescriptor(path);
      return this.#begin(name, path, isChange) === 'short';
    };
    const change = (offset: number, bytes?: Uint8Array): void =>
      node.change({ offset, ...(bytes && { bytes: Buffer.from(bytes) }) }, this.#disk.tick());
    const sync = async (): Promise<void> => {
      try {
        begin('sync', true);
      } catch (error) {
        node.failSync();
        throw error;
      }
      const done = node.beginSync();
      await turn();
      done();
    };
    return {
      fd,
      path,
      async read(target, position) {
        const isShort = begin('read', false);
        await null;
        const { content } = node.now;
        const count = Math.max(0, Math.min(target.byteLength, content.byteLength - position));
        const end = position + (isShort ? Math.ceil(count / 2) : count);
        target.set(content.subarray(position, end));
        return end - position;
      },
      async write(source, position) {
        const half = firstPart(position, source.byteLength);
        const isShort = begin('write', true);
        change(position, source.subarray(0, half));
        if (isShort || half === source.byteLength) return half;
        if (begin('write', true)) return half;
        await null;
        change(position + half, source.subarray(half));
        return source.byteLength;
      },
      async truncate(sizeBytes) {
        begin('truncate', true);
        change(sizeBytes);
      },
      sync,
      syncData: sync,
      async stat() {
        begin('stat', false);
        return statOf(node);
      },
      close,
    };
  }

  #find(path: string): DiskNode | undefined {
    let node: DiskNode | undefined = this.#disk.root;
    for (const name of path.split('/')) {
      if (name === '') continue;
      if (node === undefined) return undefined;
      if (node.kind === 'file') throw systemError('ENOTDIR', path);
      node = node.names.get(name);
    }
    return node;
  }

  #folder(path: string): FolderNode {
    const node = this.#find(path) ?? missing(path);
    if (node.kind === 'file') throw systemError('ENOTDIR', path);
    return node;
  }

  #parent(path: string): FolderNode {
    return this.#folder(dirname(path));
  }

  #begin(name: string, path: string, isChange: boolean, to?: string): 'short' | undefined {
    this.#operations++;
    if (isChange) this.#changes++;
    return (
      this.onOperation({ number: this.#operations, name, path, isChange, ...(to && { to }) }) ?? undefined
    );
  }
}

/** There is but one user in memory. */
export const noLocks: Locks = {
  tryAcquire: async () => ({ release: async () => {} }),
  tryAcquireEngineLock: async () => ({ release: async () => {} }),
};

export function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code, path });
}

/** About half of a write, up to the end of a sector: what lies within one is written whole or not at all. */
const firstPart = (position: number, count: number): number => {
  const middle = Math.ceil((position + count / 2) / SECTOR_BYTES) * SECTOR_BYTES;
  return Math.min(count, middle - position);
};

function missing(path: string): never {
  throw systemError('ENOENT', path);
}

function badDescriptor(path: string): never {
  throw systemError('EBADF', path);
}

/** Others have their turn, as while a disk syncs. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function statOf(node: DiskNode): FileStat {
  const { kind, ino } = node;
  const isFile = node.kind === 'file';
  const sizeBytes = isFile ? node.now.content.byteLength : 0;
  const mtimeNs = isFile ? node.now.mtimeNs : 0n;
  const links = isFile ? node.links : 1;
  return {
    kind,
    sizeBytes,
    allocatedBytes: sizeBytes,
    ino,
    dev: 1n,
    mtimeNs,
    links,
    mode: isFile ? 0o600 : 0o700,
  };
}
