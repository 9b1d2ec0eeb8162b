import { availableParallelism } from 'node:os';
import type { Piscina } from 'piscina';
import { type FlatError, flattenError, reviveError, StillpointError, systemCode } from '../errors.ts';
import type { FileSystem } from './file-system.ts';
import { RateLimiter } from './rate-limiter.ts';

/** Work that runs beside the host's event loop. Arguments and results cross a thread: plain data only. */
// biome-ignore lint/suspicious/noExplicitAny: a map of tasks with arguments of any shape
export type TaskMap = Record<string, (fs: FileSystem, args: any, run: TaskRun) => Promise<any>>;

/** What a task knows of the run that it belongs to. */
export interface TaskRun {
  /** Throws `CANCELLED` once the run is cancelled. Call it at least once a buffer. */
  checkCancelled(): void;
  /** Tells of bytes that were copied or read back; call it after each buffer. In a worker thread it may block, to hold the pace. */
  addBytes(count: number): void;
  /** Tells of bytes that were planned and need not be read: progress, at no pace. */
  skipBytes(count: number): void;
}

export interface WorkerPool<T extends TaskMap> {
  /** How many tasks that compute are worth having under way at once. */
  readonly concurrency: number;
  /** Loads what work will need. Best done when all is well: what Node has failed to find once it never finds again. */
  load(): void;
  /** Work is about to come: what has to be started for it may start now. */
  prepare(): void;
  /** @param effort What the task costs, about, as so many bytes to be read; unless told, many. */
  run<N extends keyof T & string>(
    name: N,
    args: Parameters<T[N]>[1],
    control: RunControl,
    costBytes?: number,
  ): Promise<Awaited<ReturnType<T[N]>>>;
}

const PACE_AT = 16;

/** The shared state of one run: cancelled or not, the bytes done, and its pace; the same in every thread. */
export class RunControl implements TaskRun {
  readonly shared: SharedArrayBuffer;
  readonly pace: RateLimiter;
  readonly #cancelled: Int32Array;
  readonly #bytes: BigInt64Array;
  readonly #onCancel = new Set<() => void>();

  constructor(shared = new SharedArrayBuffer(PACE_AT + RateLimiter.SIZE_BYTES)) {
    this.shared = shared;
    this.#cancelled = new Int32Array(shared, 0, 1);
    this.#bytes = new BigInt64Array(shared, 8, 1);
    this.pace = new RateLimiter(shared, PACE_AT);
  }

  cancel(): void {
    Atomics.store(this.#cancelled, 0, 1);
    Atomics.notify(this.#cancelled, 0);
    for (const tell of this.#onCancel) tell();
  }

  /** Calls `tell` when the run is cancelled, in this thread, until the returned function is called. */
  onCancel(tell: () => void): () => void {
    this.#onCancel.add(tell);
    return () => this.#onCancel.delete(tell);
  }

  get isCancelled(): boolean {
    return Atomics.load(this.#cancelled, 0) === 1;
  }

  checkCancelled(): void {
    if (this.isCancelled) throw new StillpointError('CANCELLED', 'cancelled on request');
  }

  addBytes(count: number): void {
    Atomics.add(this.#bytes, 0, BigInt(count));
  }

  skipBytes(count: number): void {
    this.addBytes(count);
  }

  get bytes(): number {
    return Number(Atomics.load(this.#bytes, 0));
  }

  /** What a task in a worker thread is given: it holds the pace. On the main thread nothing may ever block. */
  get inThread(): TaskRun {
    return {
      checkCancelled: () => this.checkCancelled(),
      addBytes: (count) => {
        this.addBytes(count);
        this.pace.hold(count, this.#cancelled);
      },
      skipBytes: (count) => this.skipBytes(count),
    };
  }
}

export interface Message {
  readonly name: string;
  readonly args: unknown;
  readonly shared: SharedArrayBuffer;
}

export type Reply = { readonly value: unknown } | { readonly error: FlatError };

/** A thread that has answered to it is ready. */
const NO_TASK = '';

/** The default export of a worker entry file. */
export function serveTasks(tasks: TaskMap, fs: FileSystem): (message: Message) => Promise<Reply> {
  return async ({ name, args, shared }) => {
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

/** Enough for any number of runs that a process holds back at once. */
const PATIENT_THREADS = 512;

/** About what is done while another thread would be starting. */
const MANY_BYTES = 8 * 1024 * 1024;

/** Besides those that compute: for tasks that wait for the disk. */
const WAITING_THREADS = 2;

/**
 * A pool of worker threads over a worker entry file, for all runs of the process: however many there are, the threads are
 * bounded. Threads start on the first task and end when they have been idle for a while; idle ones do not keep the
 * process alive.
 */
export function threadPool<T extends TaskMap>(entry: URL, threads = availableParallelism()): WorkerPool<T> {
  const sharedPool = new Threads(entry, threads + WAITING_THREADS);
  // Of their own: threads that wait because their run is held back must not keep another run, a restore perhaps, from its work,
  // nor each other. So each such run has as many as it wants; a limit of bytes may let one wait for minutes.
  const dedicatedPool = new Threads(entry, PATIENT_THREADS);
  return {
    concurrency: threads,
    load() {
      loadPiscina().catch(() => {}); // the first task tells
    },
    prepare() {
      const control = new RunControl();
      // What may hinder it hinders the first task just so, and that one tells.
      sharedPool.run({ name: NO_TASK, args: undefined, shared: control.shared }, control, 0).catch(() => {});
    },
    async run(name, args, control, costBytes = MANY_BYTES) {
      control.checkCancelled();
      const { shared, pace } = control;
      const message = { name, args, shared };
      const reply = await (pace.isOn
        ? dedicatedPool.run(message, control)
        : sharedPool.run(message, control, costBytes));
      if ('error' in reply) throw reviveError(reply.error);
      return reply.value as never;
    },
  };
}

/** Of one task for a thread; over from the moment at which one has it. */
interface Wait {
  isOver: boolean;
}

interface Started {
  readonly piscina: Piscina<Message, Reply>;
  /** Under it Piscina shows what a task has here to the choice of a thread; it does not cross into the thread. */
  readonly waitSymbol: symbol;
  failure?: { readonly cause: unknown; readonly ended: Promise<void> };
}

/**
 * Threads that take any task. One that dies without a task, most likely while it starts, is told by an event, which would end
 * the host if nobody listened; and those tasks that had waited for it would wait for ever. So all threads end then, every task
 * is rejected, and the next one starts new ones. It happens where memory or threads have run out, and to a run from source that
 * Ctrl-C interrupts early: the terminal sends the signal to the loader's own child process too.
 */
class Threads {
  readonly #entry: URL;
  readonly #limit: number;
  #current: Promise<Started> | undefined;
  /** How many threads the tasks under way are worth. */
  #worth = 0;

  constructor(entry: URL, limit: number) {
    this.#entry = entry;
    this.#limit = limit;
  }

  async run(message: Message, control: RunControl, costBytes = MANY_BYTES): Promise<Reply> {
    this.#current ??= this.#start().catch((error) => {
      this.#current = undefined;
      throw error;
    });
    const started = await this.#current;
    const { piscina, waitSymbol } = started;
    control.checkCancelled();
    // Not once a thread has it: Piscina would kill the thread, and whatever that had open would stay so.
    const wait: Wait = { isOver: false };
    const drop = new AbortController();
    const forget = control.onCancel(() => wait.isOver || drop.abort());
    const worth = Math.min(costBytes, MANY_BYTES);
    this.#worth += worth;
    try {
      // Never more threads than tasks, nor than they are worth: where one has to wait, Piscina would start all that it may.
      const wanted = Math.max(1, Math.ceil(this.#worth / MANY_BYTES));
      piscina.options.maxThreads = Math.min(wanted, this.#limit);
      const task = { ...message, [waitSymbol]: wait };
      return await piscina
        .run(task, { signal: drop.signal })
        .catch((error) => failed(started, error, control));
    } finally {
      forget();
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
      // Piscina itself gives a waiting task to a thread that is still starting, for a second perhaps, while another is idle.
      loadBalancer: (task, workers) => {
        const free = workers.find(({ id, currentUsage }) => currentUsage === 0 && ready.has(id));
        if (free !== undefined) (task as unknown as Record<symbol, Wait>)[waitSymbol]!.isOver = true;
        return free ?? null;
      },
      // Behind the host wherever both want a processor: else its event loop waits for ours, tens of milliseconds at a time.
      niceIncrement: 10,
      // What a thread throws away fills this much before it is swept up; the default of 16 would be most of our memory.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
      execArgv: this.#entry.pathname.endsWith('.ts') ? ['--import', sourceLoader()] : [],
    });
    piscina.on('workerCreate', ({ id }: { id: number }) => ready.add(id)); // told once a thread is ready
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

/** Not at the start of this module: much that uses it never has a task. */
async function loadPiscina() {
  try {
    return await import('piscina');
  } catch (cause) {
    throw new StillpointError('IO_ERROR', 'what runs the worker threads could not be loaded', {
      cause,
      hint: 'If descriptors had run out (see `ulimit -n`), restart the process; else install the dependencies again.',
    });
  }
}

/** What a run from source needs in each thread. `--import tsx` alone does not reach what a thread imports later. */
function sourceLoader(): string {
  return `data:text/javascript,import{register}from'${import.meta.resolve('tsx/esm/api')}';register()`;
}

/** What a thread meets at its start when the system has no more to give: to make it, or to open its code. */
const SCARCE: ReadonlySet<string> = new Set([
  'ERR_WORKER_INIT_FAILED',
  'EMFILE',
  'ENFILE',
  'ENOMEM',
  'EAGAIN',
]);

/** A task came to no end of its own. Rejects once no thread can be at work on it any more. */
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

/** Runs tasks where they are called: for tests with a file system of their own, and for `smallHere`. */
export function inlinePool<T extends TaskMap>(tasks: T, fs: FileSystem): WorkerPool<T> {
  return {
    concurrency: 1,
    load() {},
    prepare() {},
    run: (name, args, control) => (tasks[name] as T[typeof name])(fs, args, control) as never,
  };
}

/** For a process that has nothing else to do meanwhile: only what is worth a thread goes to one. */
export function smallHere<T extends TaskMap>(here: WorkerPool<T>, threads: WorkerPool<T>): WorkerPool<T> {
  return {
    concurrency: threads.concurrency,
    load() {},
    prepare() {}, // perhaps all of it is small
    run: (name, args, control, costBytes = MANY_BYTES) =>
      (costBytes < MANY_BYTES && !control.pace.isOn ? here : threads).run(name, args, control, costBytes),
  };
}
