import { importClassicLevel } from '../engine/leveldb/classic-level.ts';
import { leveldbError } from '../engine/leveldb/probe.ts';
import type { Row, Store } from './store.ts';

/** REQUIRES: nothing at `dir`. `ENGINE_MISSING` without the package `classic-level`. */
export async function createLeveldb(dir: string): Promise<Store> {
  const { ClassicLevel } = await importClassicLevel();
  const database = new ClassicLevel<Buffer, Buffer>(dir, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    errorIfExists: true,
  });
  await database.open().catch((cause) => {
    throw leveldbError(`a new database cannot be made in ${dir}`, dir, cause);
  });
  return {
    getMany: (keys) => database.getMany([...keys]),
    put: (rows) => database.batch(rows.map(([key, value]) => ({ type: 'put', key, value }))),
    rows: () => database.iterator() as AsyncIterable<Row>,
    close: () => database.close(),
  };
}
