import type { FileSystem } from '../../env/file-system.ts';
import { systemCode } from '../../errors.ts';

/** Errors that say "no clone here", in contrast to a clone that failed. */
const NO_CLONES = new Set(['EOPNOTSUPP', 'ENOTSUP', 'EXDEV', 'EINVAL', 'ENOTTY', 'ENOSYS']);

export const CLONE_CHOICES = ['auto', 'never'] as const;
/**
 * `auto`: whole files become copy-on-write clones where the file system makes them. `never`: every byte is written anew, so
 * that a bad block is one file's and not both's.
 */
export type CloneChoice = (typeof CLONE_CHOICES)[number];

/** Makes clones as long as the file system does: its first refusal counts for the rest of the run. */
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

  /** False when it has to be copied. Its bytes are no more on disk than those of any new file: sync it. */
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
