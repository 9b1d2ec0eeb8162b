import type { FileSystem } from '../../env/file-system.ts';
import { systemCode } from '../../errors.ts';
import type { CloneChoice } from '../../options/choices.ts';

/** Errors that mean that clones are impossible here, and not that one failed. */
const NO_CLONES = new Set(['EOPNOTSUPP', 'ENOTSUP', 'EXDEV', 'EINVAL', 'ENOTTY', 'ENOSYS']);

/** Makes copy-on-write clones until the file system first refuses; that counts for the rest of the run. */
export class Reflinker {
  readonly #fs: FileSystem;
  #isPossible: boolean;

  constructor(fs: FileSystem, choice: CloneChoice) {
    this.#fs = fs;
    this.#isPossible = choice === 'auto';
  }

  get isPossible(): boolean {
    return this.#isPossible;
  }

  /** False when the file must be copied instead. A clone must be synced like any new file. */
  async clone(from: string, to: string): Promise<boolean> {
    if (!this.#isPossible) return false;
    try {
      await this.#fs.clone(from, to);
      return true;
    } catch (error) {
      if (!NO_CLONES.has(systemCode(error) ?? '')) throw error;
      this.#isPossible = false;
      return false;
    }
  }
}
