import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openLsm } from '../../src/index.ts';
import { run } from '../lib/command.ts';
import { alternate } from '../lib/measure.ts';
import { type Bench, type Part, seconds } from '../lib/part.ts';
import { spreadOf } from '../lib/stats.ts';
import { snapshot } from '../lib/ways.ts';
import { removeAll } from '../lib/workspace.ts';

const MOST_MS = 150;
const CLI = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const OURS = 'stillpoint verify, empty snapshot';
const THEIRS = 'node -e 0';

/** What the command line costs before it does anything. */
export const start: Part = {
  name: 'start',
  measures: '11',
  async run({ root, options }: Bench) {
    const folder = join(root, 'empty');
    await (await openLsm(folder)).close();
    const { location } = await snapshot('lsm', folder);
    const ways = [
      { name: OURS, bytes: 1, work: () => run(process.execPath, [CLI, 'verify', location]) },
      { name: THEIRS, bytes: 1, work: () => run(process.execPath, ['-e', '0']) },
    ];
    const times = await alternate(root, ways, options.starts);
    removeAll(folder);
    const { [OURS]: ours, [THEIRS]: theirs } = times.toJSON();
    const more = spreadOf(ours!.ms.map((ms, round) => ms - theirs!.ms[round]!));
    const row = {
      measure: 11,
      what: 'whole process, verify of an empty snapshot, above node -e 0',
      measured: `${seconds(more.median)} more (${seconds(more.min)} to ${seconds(more.max)})`,
      ratio: times.ratio(OURS, THEIRS),
      target: `≤ ${MOST_MS} ms more`,
      isMet: more.median <= MOST_MS,
      limit: `${THEIRS} ${seconds(times.ms(THEIRS).median)}`,
    };
    return { times, rows: [row] };
  },
};
