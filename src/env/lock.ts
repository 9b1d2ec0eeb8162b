import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import nodeFs from 'fs-extra';
import { StillpointError, systemCode } from '../errors.ts';
import { type Clock, pause } from './clock.ts';
import { isOpenHere, lockedHere, openEngineLock } from './engine-locks.ts';
import type { FileSystem, OpenFile } from './file-system.ts';
import { warn } from './safe-calls.ts';

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
  /**
   * Takes the lock of an engine's own lock file (created if absent), of both kinds: `fcntl`, as LevelDB, and `flock`, as
   * goleveldb; on Linux these do not see each other. Undefined when somebody has it, in this process or in another. Rejects
   * with `CONFLICT` where nobody can tell whether this process has it: see `engine-locks.ts`.
   */
  tryAcquireEngineLock(fs: FileSystem, path: string): Promise<HeldLock | undefined>;
}

export const kernelLocks: Locks = {
  async tryAcquire(fs, path, how) {
    const file = await fs.open(path, how === 'exclusive' ? 'open-or-create' : 'read');
    return heldIf(file, async () => tryRecordLock(file, how === 'shared'));
  },
  async tryAcquireEngineLock(fs, path) {
    const state = isOpenHere(path);
    if (state === 'yes') return undefined;
    if (state === 'unknown') throw lockedHere(path, state);
    const file = await openEngineLock(path, () => fs.open(path, 'open-or-create'));
    return heldIf(file, async () => tryRecordLock(file, false) && (await tryFlock(file)));
  },
};

async function heldIf(file: OpenFile, take: () => Promise<boolean>): Promise<HeldLock | undefined> {
  let granted = false;
  try {
    granted = await take();
    return granted ? { release: () => file.close() } : undefined;
  } finally {
    if (!granted) await file.close();
  }
}

type Native = typeof import('fs-native-extensions');
let native: Native | undefined;

/** Loaded at the first lock: what needs none works on every system. */
function nativeLocks(path: string): Native {
  try {
    native ??= createRequire(import.meta.url)('fs-native-extensions') as Native;
    return native;
  } catch (cause) {
    const { platform, arch } = process;
    throw new StillpointError(
      'IO_ERROR',
      `${path} cannot be locked: the package fs-native-extensions has no build that runs here (${platform} ${arch})`,
      {
        path,
        cause,
        hint: 'Alpine and other systems with musl have none: use one with glibc, such as the image `node:22-slim`.',
      },
    );
  }
}

function tryRecordLock({ fd, path }: OpenFile, shared: boolean): boolean {
  const { tryLock } = nativeLocks(path);
  try {
    return tryLock(fd, { shared });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new StillpointError('IO_ERROR', `${path} cannot be locked: ${why}`, {
      path,
      cause,
      hint: 'The file system may have no locks, as NFS without its lock daemon; use one that has.',
    });
  }
}

/**
 * Node cannot call flock(2), but the command `flock` can, on a descriptor that it inherits: the lock belongs to the open
 * file, so it stays ours when the command has ended.
 */
async function tryFlock(file: OpenFile): Promise<boolean> {
  if (process.platform !== 'linux') return true;
  const child = spawn('flock', ['-x', '-n', '3'], { stdio: ['ignore', 'ignore', 'ignore', file.fd] });
  try {
    const [exitCode] = await once(child, 'exit');
    if (exitCode === 0) return true;
    if (exitCode === 1) return false;
    throw noFlock(file.path, `the command ended with ${exitCode}`);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    if (await isFlocked(file)) return false;
    warn(`${file.path}: without the command flock (util-linux) the lock of goleveldb is not held meanwhile`);
    return true;
  }
}

/** Whether the kernel lists a lock of this kind on the file. */
async function isFlocked(file: OpenFile): Promise<boolean> {
  const { ino } = await file.stat();
  let table: string;
  try {
    table = await nodeFs.readFile('/proc/locks', 'utf8');
  } catch {
    throw noFlock(file.path, 'the command is not installed, and /proc/locks cannot be read');
  }
  return new RegExp(`FLOCK\\s.*:${ino} `).test(table);
}

const noFlock = (path: string, why: string): StillpointError =>
  new StillpointError('IO_ERROR', `${path} cannot be locked with flock: ${why}`, {
    path,
    hint: 'Install the command flock (util-linux).',
  });

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
