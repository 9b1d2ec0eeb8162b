import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';
import { Semaphore } from '../../env/concurrency.ts';
import type { Sqlite } from '../../env/sqlite.ts';
import { StillpointError } from '../../errors.ts';

/** Kysely over one connection to SQLite. */
export const sqliteDialect = (sqlite: Sqlite): Dialect => ({
  createAdapter: () => new SqliteAdapter(),
  createDriver: () => new SqliteDriver(sqlite),
  createIntrospector: (db) => new SqliteIntrospector(db),
  createQueryCompiler: () => new SqliteQueryCompiler(),
});

/** There is one connection; whoever needs it waits until it is free. */
class SqliteDriver implements Driver {
  readonly #sqlite: Sqlite;
  readonly #free = new Semaphore(1);
  #giveBack: () => void = () => undefined;

  constructor(sqlite: Sqlite) {
    this.#sqlite = sqlite;
  }

  async init(): Promise<void> {}

  acquireConnection(): Promise<DatabaseConnection> {
    return new Promise((resolve) => {
      void this.#free.run(
        () =>
          new Promise<void>((giveBack) => {
            this.#giveBack = giveBack;
            resolve(new SqliteConnection(this.#sqlite));
          }),
      );
    });
  }

  async releaseConnection(): Promise<void> {
    this.#giveBack();
  }

  /** Immediately: one that begins by reading and writes later could find that somebody else wrote in between. */
  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'));
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('commit'));
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('rollback'));
  }

  destroy(): Promise<void> {
    return this.#sqlite.close();
  }
}

class SqliteConnection implements DatabaseConnection {
  readonly #sqlite: Sqlite;

  constructor(sqlite: Sqlite) {
    this.#sqlite = sqlite;
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    const { rows, changes } = await this.#sqlite.query(sql, parameters);
    return { rows: rows as R[], numAffectedRows: BigInt(changes) };
  }

  // biome-ignore lint/correctness/useYield: required by the interface, and never called
  async *streamQuery<R>(): AsyncIterableIterator<QueryResult<R>> {
    throw new StillpointError('INTERNAL', 'queries are not streamed here');
  }
}
