import { Worker } from 'node:worker_threads';
import { StillpointError } from '../errors.ts';
import { pause, yieldToEventLoop } from './clock.ts';
import {
  failureOf,
  openDatabase,
  type QueryAnswer,
  SETTINGS,
  type SqliteFailure,
} from './sqlite-database.ts';
import { sourceLoader } from './worker-pool.ts';

export interface Sqlite {
  /** Runs one statement; `changes` counts rows of a statement that returns none. */
  query(sql: string, parameters: readonly unknown[]): Promise<QueryAnswer>;
  close(): Promise<void>;
}

export type OpenSqlite = (path: string) => Promise<Sqlite>;

type Reply = {
  readonly id: number;
  readonly error?: SqliteFailure;
} & Partial<QueryAnswer>;

/** Relative to a folder of `dist`, wherever a bundler puts this code. */
const WORKER = import.meta.url.endsWith('.ts') ? './sqlite-worker.ts' : '../env/sqlite-worker.js';

/** How long a statement waits while another process has the database locked. */
const BUSY_MS = 10_000;

/** Node.js 22 says in every run that its SQLite is experimental: nothing that a user could act on. */
const NO_NOTICE = '--disable-warning=ExperimentalWarning';

/**
 * Opens, or creates, a SQLite database in a thread of its own: its calls wait for the disk, and the event loop of the host must
 * not. `ENGINE_MISSING` when there is no SQLite, `IO_ERROR` when the file cannot be opened.
 */
export const openSqlite: OpenSqlite = async (path) => {
  const entry = new URL(WORKER, import.meta.url);
  const worker = new Worker(entry, {
    workerData: { path, busyMs: BUSY_MS },
    execArgv: [...(entry.pathname.endsWith('.ts') ? ['--import', sourceLoader()] : []), NO_NOTICE],
  });
  const waiting = new Map<number, { resolve: (reply: Reply) => void; reject: (error: unknown) => void }>();
  let nextId = 0;
  const ask = (send: (id: number) => void): Promise<Reply> => {
    const id = nextId++;
    return new Promise<Reply>((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      send(id);
    });
  };
  let failure: unknown;
  const endAll = (cause: unknown): void => {
    failure ??= new StillpointError('IO_ERROR', `the thread of ${path} has ended`, { path, cause });
    for (const { reject } of waiting.values()) reject(failure);
    waiting.clear();
  };
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  worker.on('message', (reply: Reply) => {
    waiting.get(reply.id)?.resolve(reply);
    waiting.delete(reply.id);
  });
  worker.on('error', endAll);
  void ended.then(() => endAll(undefined));
  const checked = (reply: Reply): Reply => {
    if (reply.error !== undefined) throw sqliteError(path, reply.error);
    return reply;
  };
  checked(await ask(() => undefined)); // the thread tells when it is ready
  return {
    async query(sql, parameters) {
      if (failure !== undefined) throw failure;
      const reply = checked(await ask((id) => worker.postMessage({ id, sql, parameters })));
      return { rows: reply.rows ?? [], changes: reply.changes ?? 0 };
    },
    async close() {
      worker.postMessage('close');
      await ended;
    },
  };
};

/** `SQLITE_BUSY`, also with more said. */
const BUSY = 5;
const BUSY_RETRY_MS = 20;

/**
 * The same in this thread, for a process that has nothing else to do: to start a thread takes longer than all that a command asks for. Waits
 * for other processes without blocking.
 */
export const openSqliteHere: OpenSqlite = async (path) => {
  const rejected = (error: unknown): never => {
    throw sqliteError(path, failureOf(error));
  };
  const database = await openDatabase(path, 0).catch(rejected);
  const query = async (sql: string, parameters: readonly unknown[]): Promise<QueryAnswer> => {
    await yieldToEventLoop();
    const endMs = performance.now() + BUSY_MS;
    for (;;) {
      try {
        return database.query(sql, parameters);
      } catch (error) {
        if (resultCodeOf(failureOf(error)) !== BUSY || performance.now() >= endMs) rejected(error);
        await pause(BUSY_RETRY_MS);
      }
    }
  };
  try {
    for (const sql of SETTINGS) await query(sql, []);
  } catch (error) {
    database.close();
    throw error;
  }
  return { query, close: async () => database.close() };
};

const CONSTRAINT = 19;

/** The primary result code, without what an extended one adds; 0 where the error is not SQLite's. */
const resultCodeOf = ({ code }: SqliteFailure): number => Number(/^SQLITE_(\d+)$/.exec(code)?.[1]) & 0xff;

/** Of a unique index, for instance: `data.constraint` is set. */
function sqliteError(path: string, failure: SqliteFailure): StillpointError {
  const { message, code } = failure;
  if (code === 'NO_SQLITE') {
    return new StillpointError('ENGINE_MISSING', 'jobs are kept in SQLite, and there is none', {
      hint: 'Use Node.js 22.13 or later, or install the package `@photostructure/sqlite` (1.x).',
    });
  }
  const isConstraint = resultCodeOf(failure) === CONSTRAINT || /constraint failed/i.test(message);
  return new StillpointError('IO_ERROR', `${path}: ${message}`, {
    path,
    ...(isConstraint && { data: { constraint: true } }),
  });
}
