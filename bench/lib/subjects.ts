import { randomBytes, randomInt } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { openLsm } from '../../src/index.ts';
import { type Data, keyOf, LARGE_VALUES, levelOptions, randomValue } from './data.ts';
import { removeAll } from './workspace.ts';

/** Data of each engine, and a change of one in a hundred of it. */

const CHANGED_SHARE = 0.01;
const FILES = 1000;

export interface Subject {
  readonly engine: 'lsm' | 'leveldb' | 'files';
  readonly make: (data: Data, bytes: number) => Promise<string>;
  /** Overwrites one in a hundred, and brings it into a table as far as the engine does. */
  readonly change: (folder: string, data: Data, bytes: number) => Promise<void>;
}

function* overwrites(data: Data, bytes: number) {
  const keys = data.keysIn(bytes);
  const count = Math.ceil(keys * CHANGED_SHARE);
  for (let i = 0; i < count; i += 256) {
    const length = Math.min(256, count - i);
    yield Array.from({ length }, () => ({
      type: 'put' as const,
      key: keyOf(randomInt(keys)),
      value: randomValue(LARGE_VALUES),
    }));
  }
}

export const SUBJECTS: readonly Subject[] = [
  {
    engine: 'lsm',
    make: (data, bytes) => data.database('lsm', bytes),
    async change(folder, data, bytes) {
      const database = await openLsm(folder, { compactAtTables: 100_000, verifyTablesOnOpen: false });
      for (const ops of overwrites(data, bytes)) await database.batch(ops);
      await database.checkpoint();
      await database.close();
    },
  },
  {
    engine: 'leveldb',
    make: (data, bytes) => data.database('leveldb', bytes),
    async change(folder, data, bytes) {
      const options = levelOptions(LARGE_VALUES, data.tableBytes);
      const database = new ClassicLevel(folder, options);
      for (const ops of overwrites(data, bytes)) await database.batch(ops);
      await database.close();
      const again = new ClassicLevel(folder, options); // opening is what flushes the log into a table
      await again.open();
      await again.close();
    },
  },
  {
    engine: 'files',
    make: (data, bytes) => data.files(FILES, Math.ceil(bytes / FILES)),
    async change(folder, _data, bytes) {
      for (const name of readdirSync(folder).filter((entry) => Number.parseInt(entry, 10) % 100 === 0)) {
        removeAll(join(folder, name)); // others share it
        writeFileSync(join(folder, name), randomBytes(Math.ceil(bytes / FILES)));
      }
    },
  },
];
