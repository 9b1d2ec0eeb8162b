import { join } from 'node:path';
import { alternate, type Way } from '../lib/measure.ts';
import { type Bench, compare, type Part } from '../lib/part.ts';
import { copyingPlainly, cp, lifecycleOf, PLAIN, restore as restoring, snapshot } from '../lib/ways.ts';
import { removeAll } from '../lib/workspace.ts';

const ENGINES = ['files', 'lsm', 'leveldb'] as const;

const ours = (engine: string) => `restore, proven: ${engine}`;
const theirs = (engine: string) => `cp -a + sync: ${engine}`;

/** A restore into a new folder beside a bare copy of the same snapshot. */
export const restore: Part = {
  name: 'restore',
  measures: '7',
  async run({ root, data, target, options }: Bench) {
    const { sizeBytes } = options;
    const folders = {
      files: await data.likeTables(sizeBytes),
      lsm: await data.database('lsm', sizeBytes),
      leveldb: await data.database('leveldb', sizeBytes),
    };
    const ways: Way[] = [];
    for (const engine of ENGINES) {
      const { location } = await snapshot(engine, folders[engine]);
      const into = join(target, 'restored');
      ways.push({ ...restoring(ours(engine), location, into), leaves: [target] });
      ways.push(cp(location, target, theirs(engine)));
      if (engine === 'files') ways.push(copyingPlainly(location, target));
    }
    const times = await alternate(root, ways, options.rounds);
    for (const folder of Object.values(folders)) removeAll(lifecycleOf(folder));
    const rows = ENGINES.map((engine) =>
      compare(times, {
        measure: 7,
        what: `restore into a new folder, ${engine}`,
        ours: ours(engine),
        theirs: theirs(engine),
        limit: PLAIN,
        most: 1.3,
      }),
    );
    return { times, rows };
  },
};
