import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { type OpenSqlite, openSqlite, openSqliteHere, type Sqlite } from '../../src/env/sqlite.ts';
import { temporaryFolder } from '../support/temp.ts';

const WAYS = [
  ['in a thread', openSqlite],
  ['in the same thread', openSqliteHere],
] as const;

async function opened(open: OpenSqlite, path: string): Promise<Sqlite> {
  const sqlite = await open(path);
  onTestFinished(() => sqlite.close());
  return sqlite;
}

const TABLE = 'create table kept (name text primary key, size integer)';

test.each(WAYS)('SQLite %s keeps rows, and tells what it refuses', async (_, open) => {
  const path = join(await temporaryFolder(), 'kept.sqlite');
  const sqlite = await opened(open, path);
  await sqlite.query(TABLE, []);
  expect(await sqlite.query('insert into kept values (?, ?)', ['a', 1])).toEqual({ rows: [], changes: 1 });
  const again = sqlite.query('insert into kept values (?, ?)', ['a', 2]);
  await expect(again).rejects.toMatchObject({ code: 'IO_ERROR', path, data: { constraint: true } });
  await expect(sqlite.query('insert into none values (1)', [])).rejects.toMatchObject({ code: 'IO_ERROR' });
  expect((await sqlite.query('select * from kept', [])).rows).toEqual([{ name: 'a', size: 1 }]);
  expect((await sqlite.query('pragma journal_mode', [])).rows).toEqual([{ journal_mode: 'delete' }]);
  expect((await sqlite.query('pragma synchronous', [])).rows).toEqual([{ synchronous: 2 }]);
});

test.each(WAYS)('SQLite %s cannot open what is no database', async (_, open) => {
  const path = await temporaryFolder();
  await expect(open(path)).rejects.toMatchObject({ code: 'IO_ERROR', path });
});

// Whoever blocked this thread would keep the holder from its end.
test.each(WAYS)('SQLite %s waits for another connection, and blocks nobody', async (_, open) => {
  const path = join(await temporaryFolder(), 'kept.sqlite');
  const holder = await opened(openSqlite, path);
  const sqlite = await opened(open, path);
  await holder.query(TABLE, []);
  await holder.query('begin immediate', []);
  let isOver = false;
  const waiting = sqlite.query('insert into kept values (?, ?)', ['a', 1]).then((answer) => {
    isOver = true;
    return answer;
  });
  await holder.query('insert into kept values (?, ?)', ['b', 2]);
  await holder.query('select 1', []);
  expect(isOver).toBe(false);
  await holder.query('commit', []);
  expect(await waiting).toEqual({ rows: [], changes: 1 });
});
