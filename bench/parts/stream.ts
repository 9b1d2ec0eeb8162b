import { ClassicLevel } from 'classic-level';
import { run } from '../lib/command.ts';
import { LARGE_VALUES, levelOptions } from '../lib/data.ts';
import { allocatedBytes } from '../lib/folders.ts';
import { alternate, type Way } from '../lib/measure.ts';
import { type Bench, compare, type Part } from '../lib/part.ts';
import { copyingPlainly, firstSnapshot, PLAIN } from '../lib/ways.ts';

const ENTRIES_AT_ONCE = 1000;
const STREAMED = 'every entry into a second database';

/** The way that LevelDB's maintainers advise, done as well as it can be: many entries at a time, one sync at the end. */
function streaming(folder: string, target: string, tableBytes: number): Way {
  const options = {
    ...levelOptions(LARGE_VALUES, tableBytes),
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
  };
  return {
    name: STREAMED,
    bytes: allocatedBytes(folder),
    leaves: [target],
    async work() {
      const from = new ClassicLevel<Buffer, Buffer>(folder, options);
      const to = new ClassicLevel<Buffer, Buffer>(target, options);
      const iterator = from.iterator();
      for (;;) {
        const entries = await iterator.nextv(ENTRIES_AT_ONCE);
        if (entries.length === 0) break;
        await to.batch(entries.map(([key, value]) => ({ type: 'put', key, value })));
      }
      await iterator.close();
      await from.close();
      await to.close();
      await run('sync', ['-f', target]);
    },
  };
}

export const stream: Part = {
  name: 'stream',
  measures: '3',
  async run({ root, data, target, options }: Bench) {
    // Opening it may move tables about; the others' data stays as it is.
    const folder = await data.fork(await data.database('leveldb', options.sizeBytes), 'streamed');
    const ways = [
      copyingPlainly(folder, target),
      firstSnapshot('leveldb', folder),
      streaming(folder, target, data.tableBytes),
    ];
    const times = await alternate(root, ways, options.rounds);
    const ours = 'snapshot, proven: leveldb';
    const what = 'first snapshot, leveldb, by the byte of streaming it into a second database';
    return {
      times,
      rows: [compare(times, { measure: 3, what, ours, theirs: STREAMED, most: 0.1, limit: PLAIN })],
    };
  },
};
