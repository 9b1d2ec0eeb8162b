import { parentPort, workerData } from 'node:worker_threads';

// A thread that owns one SQLite database. Self-contained: it is started by its own file name.

interface Statement {
  all(...parameters: unknown[]): unknown[];
  run(...parameters: unknown[]): { changes: number | bigint };
}

interface Database {
  prepare(sql: string): Statement;
  exec(sql: string): void;
  close(): void;
}

interface Request {
  readonly id: number;
  readonly sql: string;
  readonly parameters: readonly unknown[];
}

const { path } = workerData as { path: string };
const port = parentPort!;

/** The one of Node.js from 22.13 on; before, the same API as a package. */
async function loadSqlite(): Promise<{ DatabaseSync: new (path: string) => Database }> {
  for (const name of ['node:sqlite', '@photostructure/sqlite']) {
    try {
      return await import(name);
    } catch {
      // the next one
    }
  }
  throw Object.assign(new Error('there is no SQLite'), { code: 'NO_SQLITE' });
}

// That Node.js calls its SQLite experimental is not for the users of this package.
const { emitWarning } = process;
process.emitWarning = (warning: string | Error, ...rest: unknown[]) => {
  if (!String(warning).startsWith('SQLite is an experimental'))
    Reflect.apply(emitWarning, process, [warning, ...rest]);
};

function open(DatabaseSync: new (path: string) => Database): Database {
  const database = new DatabaseSync(path);
  // This thread may wait: nobody's event loop runs here.
  database.exec('PRAGMA busy_timeout = 10000');
  // Not WAL: SQLite before 3.51.3 can corrupt it, and which SQLite opens the file next is not ours to choose.
  database.exec('PRAGMA journal_mode = DELETE');
  database.exec('PRAGMA synchronous = FULL');
  return database;
}

function answer(database: Database, { sql, parameters }: Request): { rows: unknown[]; changes: number } {
  const statement = database.prepare(sql);
  const returnsRows = /^\s*(select|with|pragma)\b|\breturning\b/i.test(sql);
  if (returnsRows)
    return { rows: statement.all(...parameters).map((row) => ({ ...(row as object) })), changes: 0 };
  return { rows: [], changes: Number(statement.run(...parameters).changes) };
}

const toError = (error: unknown): { message: string; code?: string } => {
  const { message, code, errcode } = error as { message: string; code?: string; errcode?: number };
  return { message, code: errcode === undefined ? (code ?? '') : `SQLITE_${errcode}` };
};

try {
  const database = open((await loadSqlite()).DatabaseSync);
  port.on('message', (request: Request | 'close') => {
    if (request === 'close') {
      database.close();
      port.close();
      return;
    }
    try {
      port.postMessage({ id: request.id, ...answer(database, request) });
    } catch (error) {
      port.postMessage({ id: request.id, error: toError(error) });
    }
  });
  port.postMessage({ id: 0 });
} catch (error) {
  port.postMessage({ id: 0, error: toError(error) });
  port.close();
}
