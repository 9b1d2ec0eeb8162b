import {
  constants,
  fstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { basename, dirname, sep } from 'node:path';
import { StillpointError, systemCode } from '../errors.ts';
import type { FileSystem, OpenFile } from './file-system.ts';

/**
 * POSIX record locks (`fcntl`), which LevelDB and RocksDB take on their `LOCK`, belong to the process: when it closes any
 * descriptor of the file, the lock is gone, and a second process can open the database and destroy it. So a file that may be
 * locked in this process is neither opened nor closed.
 */
const lockNames = new Set(['LOCK']);

/** The names of lock files, as a thread is told them. */
export const engineLockNames = (): readonly string[] => [...lockNames];

/** In our own folder only LevelDB's name is one: a lock file of ours may be called as that of an engine. */
const isEngineLock = (path: string): boolean => {
  const name = basename(path);
  return name === 'LOCK' || (lockNames.has(name) && !path.includes(`${sep}.lifecycle${sep}`));
};

/** From now on a file of such a name counts as a lock file, wherever it lies. */
export function addEngineLockNames(names: readonly string[]): void {
  for (const name of names) lockNames.add(name);
}

const DESCRIPTORS = '/proc/self/fd';
const ACCESS_MODE = 3;

export type OpenHere = 'no' | 'yes' | 'unknown';

/**
 * Whether this process has the file open such that it may hold a lock on it. It asks for descriptors and not for locks:
 * `/proc/locks` names processes by the numbers of another PID namespace, or is absent (`subset=pid`), and network file
 * systems do not list their locks there. Unknown where the system does not list the descriptors of this process.
 *
 * @param except A descriptor of our own.
 */
export function isOpenHere(file: string | number, except?: number): OpenHere {
  if (process.platform === 'win32') return 'no'; // a lock belongs to its handle there
  const found = typeof file === 'string' ? statOf(file) : fstatSync(file, { bigint: true });
  if (found === undefined) return 'no';
  let descriptors: string[];
  try {
    descriptors = readdirSync(DESCRIPTORS);
  } catch {
    return 'unknown';
  }
  for (const name of descriptors) {
    const fd = Number(name);
    if (fd !== except && isSameFile(fd, found) && mayHoldLock(fd)) return 'yes';
  }
  return 'no';
}

/**
 * Whether a database that this process has open lies elsewhere: no descriptor of this process is one of that lock file, or each was opened
 * through another folder, of which this one holds a hard link.
 */
export function isOpenElsewhere(file: string): boolean {
  if (process.platform === 'win32') return false;
  const found = statOf(file);
  if (found === undefined || isOpenHere(file) === 'no') return true;
  try {
    const fds = readdirSync(DESCRIPTORS).filter(
      (fd) => isSameFile(Number(fd), found) && mayHoldLock(Number(fd)),
    );
    const folder = statSync(dirname(realpathSync(file)), { bigint: true });
    return fds.length > 0 && fds.every((fd) => isOfOtherFolder(fd, folder));
  } catch {
    return false; // without /proc nobody can tell
  }
}

/** Whether a descriptor's name, which the system keeps up to date, is no name in that folder. */
function isOfOtherFolder(fd: string, folder: { readonly dev: bigint; readonly ino: bigint }): boolean {
  const name = readlinkSync(`${DESCRIPTORS}/${fd}`);
  if (name.endsWith(' (deleted)')) return true;
  const other = statSync(dirname(name), { bigint: true, throwIfNoEntry: false });
  return other !== undefined && (other.ino !== folder.ino || other.dev !== folder.dev);
}

function statOf(path: string) {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined; // opening it fails too, and tells why
  }
}

function isSameFile(fd: number, { dev, ino }: { readonly dev: bigint; readonly ino: bigint }): boolean {
  try {
    const other = fstatSync(fd, { bigint: true });
    return other.ino === ino && other.dev === dev;
  } catch {
    return false; // closed since it was listed
  }
}

/** An exclusive lock needs a descriptor for writing. Ours are for reading, and two runs may read one file at once. */
function mayHoldLock(fd: number): boolean {
  try {
    const about = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
    const flags = /^flags:\s*([0-7]+)$/m.exec(about)?.[1];
    const isReadOnly =
      flags !== undefined && (Number.parseInt(flags, 8) & ACCESS_MODE) === constants.O_RDONLY;
    return !isReadOnly || /^lock:.*\sPOSIX\s/m.test(about);
  } catch {
    return true;
  }
}

/**
 * The process that started this one, where it has the file open and this one merely inherited the descriptor: a record lock is not
 * inherited with it.
 */
function ownerAbove(path: string): number | undefined {
  const found = statOf(path);
  if (found === undefined || hasLockHere(found)) return undefined;
  const { ppid } = process;
  try {
    const isOpen = readdirSync(`/proc/${ppid}/fd`).some((fd) => {
      const other = statSync(`/proc/${ppid}/fd/${fd}`, { bigint: true, throwIfNoEntry: false });
      return other?.ino === found.ino && other.dev === found.dev;
    });
    return isOpen ? ppid : undefined;
  } catch {
    return undefined; // of another user, or gone
  }
}

function hasLockHere(found: { readonly dev: bigint; readonly ino: bigint }): boolean {
  return readdirSync(DESCRIPTORS).some((fd) => {
    if (!isSameFile(Number(fd), found)) return false;
    try {
      return /^lock:.*\sPOSIX\s/m.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
    } catch (error) {
      return systemCode(error) !== 'ENOENT'; // it was closed meanwhile, and its lock fell with it
    }
  });
}

/** The error for a lock file that this process must not open. */
export function lockedHere(path: string, state: OpenHere): StillpointError {
  const owner = state === 'yes' ? ownerAbove(path) : undefined;
  if (owner !== undefined) {
    return new StillpointError('CONFLICT', `${path} belongs to a database that process ${owner} has open`, {
      path,
      hint: `Process ${owner} started this one, which has inherited the open file. Start it without: in Python \`close_fds=True\`, in a shell close the descriptor (\`9>&-\`). Or close the database first.`,
      data: { pid: owner },
    });
  }
  if (state === 'yes') {
    return new StillpointError('CONFLICT', `${path} belongs to a database that this process has open`, {
      path,
      hint: 'Reading it would release the lock of the database. Use the engine of the database, or close it first.',
    });
  }
  return new StillpointError(
    'CONFLICT',
    `${path} may belong to a database that this process has open: ${DESCRIPTORS} cannot be read`,
    { path, hint: 'Mount /proc, so that stillpoint can see which files this process has open.' },
  );
}

/** Opens through `open`, and closes only while nobody else in this process can hold a lock on the file. */
export async function openEngineLock(path: string, open: () => Promise<OpenFile>): Promise<OpenFile> {
  const before = isOpenHere(path);
  if (before !== 'no') throw lockedHere(path, before);
  const file = await open();
  // Somebody may have opened the database meanwhile. Then the descriptor stays open until the process ends.
  const after = isOpenHere(file.fd, file.fd);
  if (after !== 'no') throw lockedHere(path, after);
  const { close } = file;
  return Object.assign(file, {
    close: async () => {
      if (isOpenHere(file.fd, file.fd) === 'no') await close();
    },
  });
}

/** A lock file is empty, or holds the number of a process. */
const LOCK_LIMIT_BYTES = 4096n;

/**
 * Whether it is a lock file under another name: a hard link or a bind mount. In our own folder snapshots share files, and what is ours has
 * one name. What has one name only may be any empty file that is open, such as a new log, and what is not empty any file: there a lock must be seen. To look for that costs
 * more than to read a small file, so one that is neither empty nor linked is known by its name alone.
 */
function isLinkedLock(path: string, file: number | string): OpenHere {
  const [, below] = path.split(`${sep}.lifecycle${sep}`);
  if (process.platform === 'win32' || below?.includes(sep)) return 'no';
  const stat = typeof file === 'string' ? statOf(file) : fstatSync(file, { bigint: true });
  if (stat === undefined || stat.size > LOCK_LIMIT_BYTES) return 'no';
  const isEmpty = stat.size === 0n;
  const isLinked = stat.nlink > 1n;
  if (!isLinked && (!isEmpty || below !== undefined)) return 'no';
  // A lock of ours, which may be linked in a copy of the folder, is no POSIX lock.
  if (isEmpty && isLinked && below === undefined)
    return isOpenHere(file, typeof file === 'number' ? file : undefined);
  try {
    return hasLockHere(stat) ? 'yes' : 'no';
  } catch {
    return 'no'; // without /proc nobody can tell
  }
}

/** The file system, except that it never opens a file that an engine in this process may have locked: `CONFLICT` instead. */
export function guardEngineLocks(fs: FileSystem): FileSystem {
  return {
    ...fs,
    async open(path, how, pastCache) {
      // A new file is not locked yet.
      if (how === 'create') return fs.open(path, how, pastCache);
      if (isEngineLock(path)) return openEngineLock(path, () => fs.open(path, how));
      const file = await fs.open(path, how, pastCache);
      const state = isLinkedLock(path, file.fd);
      if (state === 'no') return file;
      throw lockedHere(path, state); // and the descriptor stays open until the process ends
    },
    async clone(from, to) {
      const state = isEngineLock(from) ? isOpenHere(from) : isLinkedLock(from, from);
      if (state !== 'no') throw lockedHere(from, state);
      return fs.clone(from, to);
    },
  };
}
