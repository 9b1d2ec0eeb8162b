import { join } from 'node:path';
import type { FileStat, FileSystem } from '../../env/file-system.ts';
import { walk } from '../../env/folder-tree.ts';

/** What a folder takes on the disk. Holes take nothing. */
export interface DiskUse {
  /** All its files, also those that other folders have a name for, too. */
  readonly diskBytes: number;
  /** What the disk gets back when the folder is removed: the files that have no name elsewhere. */
  readonly ownBytes: number;
}

/** What is needed of a file to add it up. */
export type FileUse = Pick<FileStat, 'ino' | 'links' | 'allocatedBytes'>;

/** The regular files below a folder. What vanishes meanwhile is left out. */
export async function filesBelow(fs: FileSystem, folder: string): Promise<FileStat[]> {
  const files: FileStat[] = [];
  for await (const { path, kind } of walk(fs, folder)) {
    const stat = kind === 'file' ? await fs.inspect(join(folder, path)) : undefined;
    if (stat !== undefined) files.push(stat);
  }
  return files;
}

/** The bytes of those files of which all names are among `names`. */
export function bytesFreed(names: readonly FileUse[]): number {
  const counts = new Map<bigint, number>();
  let bytes = 0;
  for (const { ino, links, allocatedBytes } of names) {
    const count = links === 1 ? 1 : (counts.get(ino) ?? 0) + 1;
    if (links > 1) counts.set(ino, count);
    if (count === links) bytes += allocatedBytes;
  }
  return bytes;
}

/** Adds up folders of one file system. A file that has names in several of them counts once in `totalBytes`. */
export class DiskCount {
  readonly #shared = new Set<bigint>();
  totalBytes = 0;

  add(files: readonly FileUse[]): DiskUse {
    const inside = new Set<bigint>();
    let diskBytes = 0;
    for (const { ino, links, allocatedBytes } of files) {
      if (links > 1) {
        if (inside.has(ino)) continue;
        inside.add(ino);
      }
      diskBytes += allocatedBytes;
      if (links > 1 && this.#shared.has(ino)) continue;
      if (links > 1) this.#shared.add(ino);
      this.totalBytes += allocatedBytes;
    }
    return { diskBytes, ownBytes: bytesFreed(files) };
  }
}
