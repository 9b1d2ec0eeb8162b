import { resolve } from 'node:path';
import type { FileSystem, FolderIdentity } from '../env/file-system.ts';
import { StillpointError } from '../errors.ts';
import { realFolder } from '../snapshot/store/real-folder.ts';

/**
 * The folder that a path led to when this was made, or at its first use if there was none yet. A later change of the working
 * directory does not matter. A link that was turned and a folder that was replaced are errors (invariant 15).
 */
export class MeantFolder {
  /** Absolute. */
  readonly path: string;
  readonly #fs: FileSystem;
  #identity: FolderIdentity | undefined;

  constructor(fs: FileSystem, path: string) {
    this.#fs = fs;
    this.path = resolve(path);
    this.#identity = fs.folderNow?.(this.path);
  }

  /** Its real path. Rejects like `realFolder`, and with `FOLDER_REPLACED`. */
  async realPath(): Promise<string> {
    const real = await realFolder(this.#fs, this.path);
    const stat = await this.#fs.inspect(real);
    this.#identity ??= stat;
    if (stat?.ino === this.#identity?.ino && stat?.dev === this.#identity?.dev) return real;
    throw folderReplaced(this.path);
  }
}

export const folderReplaced = (path: string): StillpointError =>
  new StillpointError('FOLDER_REPLACED', `${path} is not the folder any more that it was before`, { path });
