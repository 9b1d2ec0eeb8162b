import { availableParallelism } from 'node:os';
import type { Piscina } from 'piscina';
import { type FlatError, flattenError, reviveError, StillpointError, systemCode } from '../errors.ts';
import { yieldToEventLoop } from './clock.ts';
import { addEngineLockNames, engineLockNames } from './engine-locks.ts';
import type { FileSystem } from './file-system.ts';
import { RunControl, type TaskRun } from './run-control.ts';

/** Work that runs beside the host's event loop. Arguments and results cross a thread: plain data only. */
// biome-ignore lint/suspicious/noExplicitAny: a map of tasks with arguments of any shape
export type TaskMap = Record<string, (fs: FileSystem, args: any, run: TaskRun) => Promise<any>>;

export interface WorkerPool<T extends TaskMap> {
  /** How many tasks that compute may run at once. */
  readonly concurrency: number;
  /** Loads the code that work needs. Call it early: a module that Node could not open once, it never opens again. */
  load(): void;
  /** Work will come soon: starts a thread for it. */
  prepare(): void;
  /**
   * @param costBytes Estimated cost of the task, in bytes to be read. Default: enough for a thread of its own.
   * @param isForeign The task runs code from outside the package, which may hang: it keeps no other task waiting, and its thread is
   *   ended when the run is cancelled and the task does not end soon.
   */
  run<N extends keyof T & string>(
    name: N,
    args: Parameters<T[N]>[1],
    control: RunControl,
    costBytes?: number,
    isForeign?: boolean,
  ): Promise<Awaited<ReturnType<T[N]>>>;
}

export interface Message {
  readonly name: string;
  readonly args: unknown;
  readonly shared: SharedArrayBuffer;
  readonly lockNames: readonly string[];
}

export type Reply = { readonly value: unknown } | { readonly error: FlatError };

/** A task without work: a thread that has answered it is ready. */
const NO_TASK = '';

/** The default export of a worker entry file. */
export function serveTasks(tasks: TaskMap, fs: FileSystem): (message: Message) => Promise<Reply> {
  return async ({ name, args, shared, lockNames }) => {
    addEngineLockNames(lockNames);
    if (name === NO_TASK) return { value: undefined };
    const task = tasks[name];
    try {
      if (task === undefined) throw new StillpointError('INTERNAL', `no task is called ${name}`);
      return { value: await task(fs, args, new RunControl(shared).inThread) };
    } catch (error) {
      return { error: flattenError(error) };
    }
  };
}

/** Enough for any number of throttled runs in one process. */
const DEDICATED_THREADS = 512;

/** A thread with code from outside the package is ended so long after a cancel. */
const FOREIGN_GRACE_MS = 1_000;

/** About what one thread reads while another one starts. */
const MANY_BYTES = 8 * 1024 * 1024;

/** In addition to those that compute: for tasks that wait for the disk. */
const WAITING_THREADS = 2;

/**
 * A pool of worker threads over a worker entry file, shared by all runs of the process. Threads start on the first task and end
 * after an idle time; idle ones do not keep the process alive.
 */
export function threadPool<T extends TaskMap>(entry: URL, threads = availableParallelism()): WorkerPool<T> {
  const sharedPool = new Threads(entry, threads + WAITING_THREADS);
  // Throttled runs have threads of their own: a rate limit may block one for minutes, and must not keep another run from its work.
  const dedicatedPool = new Threads(entry, DEDICATED_THREADS);
  const foreignPool = new Threads(entry, DEDICATED_THREADS, FOREIGN_GRACE_MS);
  return {
    concurrency: threads,
    load() {
      loadPiscina().catch(() => {}); // the first task reports it
    },
    prepare() {
      const control = new RunControl();
      // Ignore the error here: the first task reports it.
      sharedPool.run(messageOf(NO_TASK, undefined, control), control, 0).catch(() => {});
    },
    async run(name, args, control, costBytes = MANY_BYTES, isForeign = false) {
      control.checkCancelled();
      const message = messageOf(name, args, control);
      const dedicated = isForeign ? foreignPool : control.rateLimiter.isOn ? dedicatedPool : undefined;
      const reply = await (dedicated?.run(message, control) ?? sharedPool.run(message, control, costBytes));
      if ('error' in reply) throw reviveError(reply.error);
      return reply.value as never;
    },
  };
}

const messageOf = (name: string, args: unknown, { shared }: RunControl): Message => ({
  name,
  args,
  shared,
  lockNames: engineLockNames(),
});

/** The wait of one task for a thread; over once a thread has it. */
interface Wait {
  isOver: boolean;
}

interface Started {
  readonly piscina: Piscina<Message, Reply>;
  /** The key under which Piscina passes a task's `Wait` to the load balancer; it is not sent to the thread. */
  readonly waitSymbol: symbol;
  failure?: { readonly cause: unknown; readonly ended: Promise<void> };
}

/**
 * Threads that take any task. When a thread dies without a task, most likely while it starts, Piscina emits an error event. Without
 * a listener that would end the host, and tasks that wait for the thread would wait for ever. So then all threads are ended,
 * all tasks are rejected, and the next task starts new threads. It happens when memory or threads have run out, and when Ctrl-C
 * interrupts a run from source early: the terminal signals the loader's own child process, too.
 */
class Threads {
  readonly #entry: URL;
  readonly #limit: number;
  readonly #graceMs: number | undefined;
  #current: Promise<Started> | undefined;
  /** Cost of the tasks under way, in bytes. */
  #worth = 0;

  /** @param graceMs So long after a cancel a thread at work is ended. Default: never, since its open files stay open. */
  constructor(entry: URL, limit: number, graceMs?: number) {
    this.#entry = entry;
    this.#limit = limit;
    this.#graceMs = graceMs;
  }

  async run(message: Message, control: RunControl, costBytes = MANY_BYTES): Promise<Reply> {
    this.#current ??= this.#start().catch((error) => {
      this.#current = undefined;
      throw error;
    });
    const started = await this.#current;
    const { piscina, waitSymbol } = started;
    control.checkCancelled();
    // A task that no thread has yet is dropped at once. Later Piscina would kill the thread, and its open files would stay open.
    const wait: Wait = { isOver: false };
    const drop = new AbortController();
    let grace: NodeJS.Timeout | undefined;
    const forget = control.onCancel(() => {
      if (!wait.isOver) drop.abort();
      else if (this.#graceMs !== undefined) grace = setTimeout(() => drop.abort(), this.#graceMs);
    });
    const worth = Math.min(costBytes, MANY_BYTES);
    this.#worth += worth;
    try {
      // No more threads than the tasks are worth: when one task has to wait, Piscina starts as many threads as it may.
      const wanted = Math.max(1, Math.ceil(this.#worth / MANY_BYTES));
      piscina.options.maxThreads = Math.min(wanted, this.#limit);
      const task = { ...message, [waitSymbol]: wait };
      return await piscina
        .run(task, { signal: drop.signal })
        .catch((error) => failed(started, error, control));
    } finally {
      forget();
      clearTimeout(grace);
      this.#worth -= worth;
    }
  }

  async #start(): Promise<Started> {
    const { Piscina, queueOptionsSymbol: waitSymbol } = await loadPiscina();
    const ready = new Set<number>();
    const piscina = new Piscina<Message, Reply>({
      filename: this.#entry.href,
      minThreads: 0,
      maxThreads: this.#limit,
      idleTimeout: 2_000,
      // Piscina would give a waiting task to a thread that is still starting while another one is idle.
      loadBalancer: (task, workers) => {
        const free = workers.find(({ id, currentUsage }) => currentUsage === 0 && ready.has(id));
        if (free !== undefined) (task as unknown as Record<symbol, Wait>)[waitSymbol]!.isOver = true;
        return free ?? null;
      },
      // Nice 10: otherwise the host's event loop waits for our threads, tens of milliseconds at a time.
      niceIncrement: 10,
      // The default of 16 MB a thread would be most of our memory.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
      // A descriptor that is kept open lest the host loses a lock (`engine-locks.ts`) must outlive the thread.
      trackUnmanagedFds: false,
      execArgv: this.#entry.pathname.endsWith('.ts') ? ['--import', sourceLoader()] : [],
    });
    piscina.on('workerCreate', ({ id }: { id: number }) => ready.add(id)); // emitted once a thread is ready
    piscina.on('workerDestroy', ({ id }: { id: number }) => ready.delete(id));
    const started: Started = { piscina, waitSymbol };
    piscina.on('error', (cause) => {
      if (started.failure !== undefined) return;
      started.failure = { cause, ended: piscina.destroy() };
      this.#current = undefined;
    });
    return started;
  }
}

/** Loaded at first use: many users of this module never have a task. */
async function loadPiscina() {
  try {
    return await import('piscina');
  } catch (cause) {
    throw new StillpointError('IO_ERROR', 'the package for worker threads (piscina) could not be loaded', {
      cause,
      hint: 'If descriptors had run out (see `ulimit -n`), restart the process; else install the dependencies again.',
    });
  }
}

/** The loader for a run from source. `--import tsx` alone does not cover what a thread imports later. */
export function sourceLoader(): string {
  return `data:text/javascript,import{register}from'${import.meta.resolve('tsx/esm/api')}';register()`;
}

/** Errors of a thread at its start when the system is out of threads, memory or descriptors. */
const SCARCE: ReadonlySet<string> = new Set([
  'ERR_WORKER_INIT_FAILED',
  'EMFILE',
  'ENFILE',
  'ENOMEM',
  'EAGAIN',
]);

/** A task failed without an error of its own. Rejects once no thread can be at work on it. */
async function failed({ failure }: Started, error: unknown, control: RunControl): Promise<never> {
  await failure?.ended;
  control.checkCancelled();
  const cause = failure?.cause ?? error;
  if (SCARCE.has(systemCode(cause) ?? '')) {
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    throw new StillpointError('IO_ERROR', `a worker thread could not be started${why}`, {
      cause,
      hint: 'Descriptors, threads or memory have run out; look at `ulimit -a`.',
    });
  }
  throw new StillpointError('INTERNAL', 'a worker thread has failed', { cause });
}

/** Runs tasks in the calling thread: for tests with a file system of their own, and for `smallHere`. */
export function inlinePool<T extends TaskMap>(tasks: T, fs: FileSystem): WorkerPool<T> {
  return {
    concurrency: 1,
    load() {},
    prepare() {},
    run: (name, args, control) => (tasks[name] as T[typeof name])(fs, args, control) as never,
  };
}

/** About what one thread reads while two others start and load their code. */
const FIRST_BYTES = 96 * 1024 * 1024;

/**
 * For a process that has nothing else to do: the first tasks, and all small ones, run in its own thread. `here` may block: the event
 * loop has a turn before each task.
 */
export function smallHere<T extends TaskMap>(here: WorkerPool<T>, threads: WorkerPool<T>): WorkerPool<T> {
  let left = FIRST_BYTES;
  return {
    concurrency: threads.concurrency,
    load() {},
    prepare() {}, // all tasks may be small
    run(name, args, control, costBytes = MANY_BYTES, isForeign = false) {
      const isHere = (costBytes < MANY_BYTES || costBytes <= left) && !control.rateLimiter.isOn && !isForeign;
      if (!isHere) return threads.run(name, args, control, costBytes, isForeign);
      left -= costBytes;
      return yieldToEventLoop().then(() => here.run(name, args, control));
    },
  };
}
