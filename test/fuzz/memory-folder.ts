import type { FileStat, FileSystem } from '../../src/env/file-system.ts';
import { MemoryFile } from '../support/memory-file.ts';

const FOLDER: FileStat = {
  kind: 'folder',
  sizeBytes: 0,
  allocatedBytes: 0,
  ino: 2n,
  dev: 1n,
  mtimeNs: 0n,
  links: 1,
  mode: 0o700,
};

/** A disk with one file, for readers that take a path. Every other place is a folder with one folder `one` in it. */
export function diskWith(path: string, bytes: Uint8Array): FileSystem {
  const file = new MemoryFile(bytes);
  const absent = (method: string) => () => {
    throw new Error(`nobody calls ${method} here`);
  };
  const disk: Partial<FileSystem> = {
    open: async () => file,
    inspect: async (place) => (place === path ? file.stat() : FOLDER),
    list: async () => [{ name: 'one', kind: 'folder' }],
    realPath: async (place) => place,
  };
  return new Proxy(disk, {
    get: (target, name) => Reflect.get(target, name) ?? absent(String(name)),
  }) as FileSystem;
}
