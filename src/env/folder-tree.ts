import { join } from 'node:path';
import { StillpointError } from '../errors.ts';
import type { FileKind, FileSystem } from './file-system.ts';

export interface TreeEntry {
  /** Relative to the root, with `/`. */
  readonly path: string;
  readonly kind: FileKind;
}

/**
 * Everything below `root`, folders included, in no particular order. The names `except` are left out at the root, and only there.
 * Links are reported and not followed.
 */
export async function* walk(
  fs: FileSystem,
  root: string,
  except: readonly string[] = [],
): AsyncGenerator<TreeEntry> {
  const pending = [''];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    for (const { name, kind } of await fs.list(join(root, folder))) {
      if (folder === '' && except.includes(name)) continue;
      const path = folder === '' ? name : `${folder}/${name}`;
      yield { path, kind };
      if (kind === 'folder') pending.push(path);
    }
  }
}

/** The regular files below a folder, sorted. A link, socket, device or FIFO is `UNSUPPORTED_FILE`. */
export async function listRegularFiles(
  fs: FileSystem,
  root: string,
  except: readonly string[] = [],
): Promise<string[]> {
  const files: string[] = [];
  for await (const { path, kind } of walk(fs, root, except)) {
    if (kind === 'folder') continue;
    if (kind !== 'file') {
      const what = kind === 'link' ? 'a symbolic link' : 'a socket, device or FIFO';
      throw new StillpointError('UNSUPPORTED_FILE', `${join(root, path)} is ${what}; it cannot be captured`, {
        path: join(root, path),
      });
    }
    files.push(path);
  }
  return files.sort();
}

/** The folders that hold `paths` and their parents, parents first; without the root itself. */
export function foldersOf(paths: Iterable<string>): string[] {
  const folders = new Set<string>();
  for (const path of paths) {
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1))
      folders.add(path.slice(0, at));
  }
  return [...folders].sort();
}
