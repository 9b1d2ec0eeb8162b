import { tryLock } from 'fs-native-extensions';
import type { FileSystem } from './file-system.ts';

export interface HeldLock {
  release(): Promise<void>;
}

/**
 * Locks between processes, and between users of one process: the kernel keeps them on the open file, so a lock dies
 * with its owner, whatever kills it, and closing another descriptor of the same file does not release it.
 */
export interface Locks {
  /**
   * Takes the lock on `path` (created if absent) without waiting; undefined when somebody else has it.
   * `shared` locks admit each other and exclude exclusive ones.
   */
  tryAcquire(fs: FileSystem, path: string, how: 'exclusive' | 'shared'): Promise<HeldLock | undefined>;
}

export const kernelLocks: Locks = {
  async tryAcquire(fs, path, how) {
    const file = await fs.open(path, how === 'exclusive' ? 'open-or-create' : 'read');
    let granted = false;
    try {
      granted = tryLock(file.fd, { shared: how === 'shared' });
      if (!granted) return undefined;
      return { release: () => file.close() };
    } finally {
      if (!granted) await file.close();
    }
  },
};
