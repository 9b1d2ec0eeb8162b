import { join } from 'node:path';
import { type FileStat, type FileSystem, isSameIdentity } from '../../env/file-system.ts';
import { StillpointError } from '../../errors.ts';
import type { ImageItem } from '../engine.ts';

/** What a plain file is at one moment, by path. */
export type FileStates = ReadonlyMap<string, FileState>;

type FileState = Pick<FileStat, 'sizeBytes' | 'allocatedBytes' | 'ino' | 'mtimeNs'>;

/** @param paths Relative to `dir`. What is gone since they were listed is left out: a later look sees that. */
export async function statesOf(fs: FileSystem, dir: string, paths: readonly string[]): Promise<FileStates> {
  const files = new Map<string, FileState>();
  for (const path of paths) {
    const stat = await fs.inspect(join(dir, path));
    if (stat === undefined) continue;
    if (stat.kind !== 'file') {
      throw new StillpointError('UNSUPPORTED_FILE', `${join(dir, path)} is not a regular file`, { path });
    }
    const { ino, mtimeNs, sizeBytes, allocatedBytes } = stat;
    files.set(path, { sizeBytes, allocatedBytes, ino, mtimeNs });
  }
  return files;
}

/** The files as they are captured: whole, and compared with their sources once more at the end. */
export const imagesOf = (files: FileStates): ImageItem[] =>
  [...files].map(([path, { sizeBytes, allocatedBytes }]) => ({
    kind: 'image',
    path,
    sizeBytes,
    allocatedBytes,
    extents: sizeBytes === 0 ? [] : [{ offset: 0, length: sizeBytes }],
    patches: [],
    needsComparison: true,
  }));

/** What is another file now, or undefined when all are as they were. */
export function firstChange(before: FileStates, after: FileStates): string | undefined {
  for (const [path, state] of before) {
    const now = after.get(path);
    if (now === undefined) return `${path} vanished`;
    // Any write, replacement or cut changes one of them.
    if (!isSameIdentity(now, state) || now.sizeBytes !== state.sizeBytes) return `${path} was written to`;
  }
  for (const path of after.keys()) if (!before.has(path)) return `${path} appeared`;
  return undefined;
}
