interface Statement {
  all(...parameters: unknown[]): unknown[];
  run(...parameters: unknown[]): { changes: number | bigint };
}

interface Database {
  prepare(sql: string): Statement;
  exec(sql: string): void;
  close(): void;
}

export interface QueryAnswer {
  readonly rows: Record<string, unknown>[];
  readonly changes: number;
}

/** A SQLite database whose calls block the thread. */
export interface SqliteDatabase {
  query(sql: string, parameters: readonly unknown[]): QueryAnswer;
  close(): void;
}

/** What a thread can send of an error of SQLite. */
export interface SqliteFailure {
  readonly message: string;
  readonly code: string;
}

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

/** @param busyMs How long a call waits while another process has the file locked, before it fails. */
export async function openDatabase(path: string, busyMs: number): Promise<SqliteDatabase> {
  const { DatabaseSync } = await loadSqlite();
  const database = new DatabaseSync(path);
  database.exec(`PRAGMA busy_timeout = ${busyMs}`);
  return {
    query(sql, parameters) {
      const statement = database.prepare(sql);
      const returnsRows = /^\s*(select|with|pragma)\b|\breturning\b/i.test(sql);
      if (returnsRows)
        return { rows: statement.all(...parameters).map((row) => ({ ...(row as object) })), changes: 0 };
      return { rows: [], changes: Number(statement.run(...parameters).changes) };
    },
    close: () => database.close(),
  };
}

/** To be run first. Each may have to wait for another process. */
export const SETTINGS: readonly string[] = [
  // Not WAL: SQLite before 3.51.3 can corrupt it, and which SQLite opens the file next is not ours to choose.
  'PRAGMA journal_mode = DELETE',
  'PRAGMA synchronous = FULL',
];

export function failureOf(error: unknown): SqliteFailure {
  const { message, code, errcode } = error as { message: string; code?: string; errcode?: number };
  return { message, code: errcode === undefined ? (code ?? '') : `SQLITE_${errcode}` };
}
