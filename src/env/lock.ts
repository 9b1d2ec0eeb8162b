import nodeFs from 'fs-extra';
import { tryLock } from 'fs-native-extensions';
import { type Clock, pause } from './clock.ts';
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

/**
 * Whether code in this process holds a lock of the older kind (POSIX `fcntl`, as LevelDB takes on its `LOCK`) on a file. Such
 * a lock belongs to the process, and closing *any* descriptor of the file releases it. Known on Linux alone; elsewhere false.
 */
export async function isLockedHere(path: string): Promise<boolean> {
  try {
    const { dev, ino } = await nodeFs.stat(path, { bigint: true });
    const table = await nodeFs.readFile('/proc/locks', 'utf8');
    const mine = new RegExp(`POSIX\\s.*\\s${process.pid} \\S+:${ino} `);
    if (table.split('\n').some((line) => mine.test(line))) return true;
    return table.length > ONE_READ_BYTES && (await holdsLockOn(dev, ino));
  } catch {
    return false;
  }
}

/** The kernel gives its table out by pages: where locks come and go between two of them, a line may be missing. */
const ONE_READ_BYTES = 3_840; // a page, less more than any line has

/** Looks at every descriptor of this process, which takes longer. */
async function holdsLockOn(dev: bigint, ino: bigint): Promise<boolean> {
  for (const fd of await nodeFs.readdir('/proc/self/fd')) {
    const file = await nodeFs.stat(`/proc/self/fd/${fd}`, { bigint: true }).catch(() => undefined); // closed by now
    if (file?.dev !== dev || file.ino !== ino) continue;
    const about = await nodeFs.readFile(`/proc/self/fdinfo/${fd}`, 'utf8').catch(() => '');
    if (/^lock:.*\sPOSIX\s/m.test(about)) return true;
  }
  return false;
}

export const kernelLocks: Locks = {
  async tryAcquire(fs, path, how) {
    // Not even opened then: closing it again would take away the lock that somebody else in this process has.
    if (await isLockedHere(path)) return undefined;
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

const RETRY_MS = 20;

/**
 * An exclusive lock that others hold for a moment only: tried again and again, since the kernel tells nobody when it is free.
 * Undefined once `limitMs` have passed.
 */
export async function acquireWithin(
  { fs, locks, clock }: { readonly fs: FileSystem; readonly locks: Locks; readonly clock: Clock },
  path: string,
  limitMs: number,
): Promise<HeldLock | undefined> {
  const end = clock.monotonicMs() + limitMs;
  for (;;) {
    const lock = await locks.tryAcquire(fs, path, 'exclusive');
    if (lock !== undefined || clock.monotonicMs() >= end) return lock;
    await pause(RETRY_MS);
  }
}
