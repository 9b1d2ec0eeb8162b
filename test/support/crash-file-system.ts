import { basename, dirname } from 'node:path';
import type { FileStat, FileSystem, FolderEntry, OpenFile, OpenHow } from '../../src/env/file-system.ts';
import type { Locks } from '../../src/env/lock.ts';

const SECTOR_BYTES = 512;

interface Change {
  readonly offset: number;
  /** Absent: the file was cut or stretched to `offset`. */
  readonly bytes?: Buffer;
}

/** A file as it reads now, and what of that a power failure is sure to leave. */
class Inode {
  content: Buffer;
  synced: Buffer;
  unsynced: Change[] = [];

  constructor(content: Buffer = Buffer.alloc(0)) {
    this.content = content;
    this.synced = content;
  }

  change(change: Change): void {
    this.content = changed(this.content, change);
    this.unsynced.push(change);
  }

  sync(): void {
    this.synced = Buffer.from(this.content);
    this.unsynced = [];
  }

  /** What could be found after a power failure: any sectors of what was not synced, in their order. */
  afterCrash(chance: () => number): Buffer {
    const kept = [0, 0.5, 1][Math.floor(chance() * 3)]!;
    let content: Buffer = Buffer.from(this.synced);
    for (const { offset, bytes } of this.unsynced) {
      if (bytes === undefined) {
        if (chance() < kept) content = changed(content, { offset });
        continue;
      }
      for (let at = 0; at < bytes.byteLength; ) {
        const count = Math.min(SECTOR_BYTES - ((offset + at) % SECTOR_BYTES), bytes.byteLength - at);
        if (chance() < kept) {
          content = changed(content, { offset: offset + at, bytes: bytes.subarray(at, at + count) });
        }
        at += count;
      }
    }
    return content;
  }
}

function changed(content: Buffer, { offset, bytes }: Change): Buffer {
  const size = bytes === undefined ? offset : Math.max(content.byteLength, offset + bytes.byteLength);
  const next = Buffer.alloc(size);
  content.copy(next, 0, 0, size);
  bytes?.copy(next, offset);
  return next;
}

type Names = Map<string, Inode>;

class Folder {
  names: Names = new Map();
  synced: Names = new Map();
  unsynced: ((names: Names) => void)[] = [];

  change(step: (names: Names) => void): void {
    step(this.names);
    this.unsynced.push(step);
  }
}

/**
 * A file system in memory that knows what a power failure would leave: of the content of files everything up to their last
 * sync and any sectors of the rest, of the names in a folder everything up to its last sync and some of the rest, in order or not.
 * `onChange` may throw, to fail a change. Folders are durable at once; only what the database uses is there.
 */
export class CrashFileSystem implements FileSystem {
  #folders = new Map<string, Folder>();
  /** Called before each change, with its number from 1. */
  onChange: (number: number, what: string) => void = () => {};
  #changes = 0;

  get changes(): number {
    return this.#changes;
  }

  /** The disk after a power failure at this moment. */
  afterCrash(chance: () => number): CrashFileSystem {
    const next = new CrashFileSystem();
    for (const [path, folder] of this.#folders) {
      const names: Names = new Map(folder.synced);
      const isInOrder = chance() < 0.5;
      const kept = Math.floor(chance() * (folder.unsynced.length + 1));
      for (const [i, step] of folder.unsynced.entries())
        if (isInOrder ? i < kept : chance() < 0.5) step(names);
      const copy = new Folder();
      for (const [name, inode] of names) copy.names.set(name, new Inode(inode.afterCrash(chance)));
      copy.synced = new Map(copy.names);
      next.#folders.set(path, copy);
    }
    return next;
  }

  async open(path: string, how: OpenHow): Promise<OpenFile> {
    const folder = this.#folder(path);
    const name = basename(path);
    let inode = folder.names.get(name);
    if (inode !== undefined && how === 'create') throw systemError('EEXIST', path);
    if (inode === undefined) {
      if (how === 'read' || how === 'update') throw systemError('ENOENT', path);
      const created = new Inode();
      this.#begin(`create ${name}`);
      folder.change((names) => names.set(name, created));
      inode = created;
    }
    return this.#openFile(inode, path);
  }

  adopt(): OpenFile {
    throw systemError('ENOSYS', '');
  }

  async inspect(path: string): Promise<FileStat | undefined> {
    if (path === '/' || this.#folders.has(path)) return statOf('folder', 0);
    const inode = this.#folders.get(dirname(path))?.names.get(basename(path));
    return inode && statOf('file', inode.content.byteLength);
  }

  async list(path: string): Promise<FolderEntry[]> {
    const folder = this.#folders.get(path);
    if (folder === undefined) throw systemError('ENOENT', path);
    const files = [...folder.names.keys()].map((name): FolderEntry => ({ name, kind: 'file' }));
    const folders = [...this.#folders.keys()].filter((child) => dirname(child) === path && child !== path);
    return [...files, ...folders.map((child): FolderEntry => ({ name: basename(child), kind: 'folder' }))];
  }

  async makeFolder(path: string): Promise<void> {
    if (this.#folders.has(path)) throw systemError('EEXIST', path);
    this.#folders.set(path, new Folder());
  }

  async rename(from: string, to: string): Promise<void> {
    const folder = this.#folder(from);
    const [old, name] = [basename(from), basename(to)];
    const inode = folder.names.get(old);
    if (inode === undefined || dirname(to) !== dirname(from)) throw systemError('ENOENT', from);
    this.#begin(`rename ${old} ${name}`);
    folder.change((names) => {
      names.delete(old);
      names.set(name, inode);
    });
  }

  async link(): Promise<void> {
    throw systemError('ENOSYS', '');
  }

  async clone(): Promise<void> {
    throw systemError('ENOSYS', '');
  }

  async removeFile(path: string): Promise<void> {
    const folder = this.#folder(path);
    if (!folder.names.has(basename(path))) throw systemError('ENOENT', path);
    this.#begin(`remove ${basename(path)}`);
    folder.change((names) => names.delete(basename(path)));
  }

  async removeFolder(): Promise<void> {
    throw systemError('ENOSYS', '');
  }

  async syncFolder(path: string): Promise<void> {
    const folder = this.#folders.get(path);
    if (folder === undefined) return;
    this.#begin(`sync folder ${basename(path)}`);
    await turn();
    folder.synced = new Map(folder.names);
    folder.unsynced = [];
  }

  async realPath(path: string): Promise<string> {
    return path;
  }

  async freeBytes(): Promise<number> {
    return Number.MAX_SAFE_INTEGER;
  }

  #openFile(inode: Inode, path: string): OpenFile {
    const name = basename(path);
    const sync = async (): Promise<void> => {
      this.#begin(`sync ${name}`);
      await turn();
      inode.sync();
    };
    return {
      fd: -1,
      path,
      async read(target, position) {
        await null;
        return inode.content.copy(target, 0, position, position + target.byteLength);
      },
      write: async (source, position) => {
        this.#begin(`write ${name}`);
        await null;
        inode.change({ offset: position, bytes: Buffer.from(source) });
        return source.byteLength;
      },
      truncate: async (sizeBytes) => {
        this.#begin(`truncate ${name}`);
        inode.change({ offset: sizeBytes });
      },
      sync,
      syncData: sync,
      async stat() {
        return statOf('file', inode.content.byteLength);
      },
      async close() {},
    };
  }

  #folder(path: string): Folder {
    const folder = this.#folders.get(dirname(path));
    if (folder === undefined) throw systemError('ENOENT', path);
    return folder;
  }

  #begin(what: string): void {
    this.onChange(++this.#changes, what);
  }
}

/** There is but one process in memory. */
export const noLocks: Locks = { tryAcquire: async () => ({ release: async () => {} }) };

export function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code, path });
}

/** A sequence in [0, 1) that depends on the seed alone. (mulberry32, Tommy Ettinger) */
export function chanceFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Others have their turn, as while a disk syncs. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function statOf(kind: 'file' | 'folder', sizeBytes: number): FileStat {
  return { kind, sizeBytes, allocatedBytes: sizeBytes, ino: 1n, dev: 1n, mtimeNs: 0n, links: 1, mode: 0o600 };
}
