/**
 * A process to be killed: four writers on one database. Each acknowledged write is told on stdout, `<writer> <number>`, before the
 * writer goes on; on the way there are checkpoints and compactions.
 */
import { openLsm } from '../../src/lsm-database/database.ts';
import { tell } from './tell.ts';

export const WRITERS = 4;
export const crashOptions = {
  walGeometry: { segmentBytes: 8192, segmentCount: 4 },
  memtableBytes: 64 * 1024,
  compactAtTables: 4,
};

/** What writer `writer` puts as its `number`-th pair. Every seventh time it deletes what it put three times before. */
export const keyOf = (writer: number, number: number): string => `w${writer}:${number}`;
export const contentOf = (writer: number, number: number): string =>
  `${writer}/${number};`.repeat(1 + ((number * 7 + writer) % 40));
export const deletedBy = (number: number): number | undefined =>
  number % 7 === 0 && number >= 3 ? number - 3 : undefined;

const [dir, first] = process.argv.slice(2);
if (import.meta.filename === process.argv[1]) {
  const database = await openLsm(dir!, crashOptions);
  const writer = async (index: number): Promise<void> => {
    for (let number = Number(first); ; number++) {
      const deleted = deletedBy(number);
      await database.batch([
        { type: 'put', key: keyOf(index, number), value: contentOf(index, number) },
        ...(deleted === undefined ? [] : [{ type: 'delete' as const, key: keyOf(index, deleted) }]),
      ]);
      tell(`${index} ${number}`);
      if (number % 200 === 0) await database.checkpoint();
      if (number % 500 === 0) await database.compact();
    }
  };
  await Promise.all(Array.from({ length: WRITERS }, (_, index) => writer(index)));
}
