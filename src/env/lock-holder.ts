import nodeFs from 'fs-extra';

/** A process that holds a lock, as the kernel tells it. */
export interface LockHolder {
  readonly pid: number;
  /** The words of its command line before the first option: what follows may be secret. */
  readonly command: string;
  /** Null where the kernel does not tell. */
  readonly startedAtMs: number | null;
}

const WORDS_SHOWN = 4;
/** Of the kernel's `USER_HZ`, which is 100 on all systems that Node.js runs on. */
const TICKS_PER_SECOND = 100;

/**
 * The other process that holds an exclusive lock on a file, by its real path. Undefined where that cannot be seen: the process is of
 * another user, has ended meanwhile, or the system has no `/proc`.
 */
export async function lockHolder(path: string): Promise<LockHolder | undefined> {
  const pids = (await namesIn('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  for (const pid of pids) {
    if (pid === process.pid || !(await holds(pid, path))) continue;
    const command = await commandOf(pid);
    if (command !== undefined) return { pid, command, startedAtMs: await startOf(pid) };
  }
  return undefined;
}

/** Whether one of its descriptors is this file and has the lock. Others may have it open while they try. */
async function holds(pid: number, path: string): Promise<boolean> {
  for (const fd of await namesIn(`/proc/${pid}/fd`)) {
    const target = await nodeFs.readlink(`/proc/${pid}/fd/${fd}`).catch(() => undefined);
    if (target !== path) continue;
    const info = await textOf(`/proc/${pid}/fdinfo/${fd}`);
    if (info !== undefined && /^lock:.*\bWRITE\b/m.test(info)) return true;
  }
  return false;
}

async function commandOf(pid: number): Promise<string | undefined> {
  const text = await textOf(`/proc/${pid}/cmdline`);
  if (text === undefined || text === '') return undefined;
  const words = text.replace(/\0$/, '').split('\0');
  const end = words.findIndex((word) => word.startsWith('-'));
  return words.slice(0, Math.min(end === -1 ? words.length : Math.max(1, end), WORDS_SHOWN)).join(' ');
}

async function startOf(pid: number): Promise<number | null> {
  const stat = await textOf(`/proc/${pid}/stat`);
  const boot = /^btime (\d+)$/m.exec((await textOf('/proc/stat')) ?? '')?.[1];
  // The name of the command stands in brackets and may hold anything. The start is field 22, the state after the brackets field 3.
  const ticks = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  if (boot === undefined || ticks === undefined) return null;
  const ms = (Number(boot) + Number(ticks) / TICKS_PER_SECOND) * 1000;
  return Number.isFinite(ms) ? Math.round(ms) : null;
}

const namesIn = (folder: string): Promise<string[]> => nodeFs.readdir(folder).catch(() => []);
const textOf = (path: string): Promise<string | undefined> =>
  nodeFs.readFile(path, 'utf8').catch(() => undefined);
