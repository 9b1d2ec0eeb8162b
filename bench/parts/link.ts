import type { EngineName } from '../../src/index.ts';
import { allocatedBytes, ownFiles, plainCopy } from '../lib/folders.ts';
import { alternate, type Times, type Way } from '../lib/measure.ts';
import { type Bench, compare, type Part, type Row, seconds } from '../lib/part.ts';
import { firstSnapshot, ldbCheckpoint, lifecycleOf, reading, snapshot } from '../lib/ways.ts';
import { removeAll } from '../lib/workspace.ts';

const MOST_FIRST = 1.2;
/** What "the same order" is taken for. */
const SAME_ORDER = 10;
/** And "flat": at most so much longer at the large size. */
const FLAT = 2;

type Size = 'usual' | 'large';
const known = (engine: EngineName, size: Size) => `link, tables known: ${engine}, ${size}`;
const checkpoint = (size: Size) => `ldb checkpoint, ${size}`;
const fresh = (size: Size) => `plain read, write and sync of what is no link, ${size}`;

/** All ways of one size: a link snapshot after another, `ldb checkpoint`, and copying what no link can give. */
async function waysOf(
  bench: Bench,
  size: Size,
  bytes: number,
  engines: readonly EngineName[],
): Promise<Way[]> {
  const { data, target, tools } = bench;
  const ways: Way[] = [];
  for (const engine of engines) {
    const folder = await data.database(engine as 'lsm' | 'leveldb', bytes);
    removeAll(lifecycleOf(folder));
    const { location } = await snapshot(engine, folder, 'link');
    ways.push({
      name: known(engine, size),
      bytes: allocatedBytes(folder),
      work: () => snapshot(engine, folder, 'link'),
    });
    if (engine === 'lsm') {
      ways.push({
        name: fresh(size),
        bytes: allocatedBytes(folder),
        leaves: [target],
        work: () => plainCopy(location, target, ownFiles(location)),
      });
    }
  }
  if (tools.ldb) ways.push(ldbCheckpoint(checkpoint(size), await data.database('rocksdb', bytes), target));
  return ways;
}

function rowsOf(times: Times, engine: 'lsm' | 'leveldb', size: Size): Row {
  return compare(times, {
    measure: 5,
    what: `link snapshot, tables known, ${engine}, ${size} size, by the byte of ldb checkpoint`,
    ours: known(engine, size),
    theirs: checkpoint(size),
    limit: fresh(size),
    most: SAME_ORDER,
  });
}

function flatness(times: Times, bench: Bench): Row {
  const [usual, large] = [times.ms(known('lsm', 'usual')), times.ms(known('lsm', 'large'))];
  const ratio = {
    median: large.median / usual.median,
    min: large.min / usual.max,
    max: large.max / usual.min,
  };
  const { sizeBytes, largeBytes } = bench.options;
  return {
    measure: 5,
    what: `link snapshot, tables known, lsm, at ${largeBytes / 1e9} GB over ${sizeBytes / 1e9} GB`,
    measured: `${seconds(large.median)}; ${seconds(usual.median)}`,
    ratio,
    target: `flat (≤ ${FLAT} ×)`,
    isMet: ratio.median <= FLAT,
    limit: bench.tools.ldb
      ? `ldb checkpoint ${seconds(times.ms(checkpoint('large')).median)}; ${seconds(times.ms(checkpoint('usual')).median)}`
      : '',
  };
}

async function firstLink(engine: 'lsm' | 'leveldb', bench: Bench): Promise<{ times: Times; row: Row }> {
  // A folder of its own, without the snapshots of the others.
  const { data, options, root } = bench;
  const folder = await data.fork(await data.database(engine, options.sizeBytes), `linked-${engine}`);
  const ours = `very first link: ${engine}`;
  const theirs = `plain read: ${engine}`;
  const ways = [firstSnapshot(engine, folder, { name: ours, mode: 'link' }), reading(folder, theirs)];
  const times = await alternate(root, ways, options.rounds);
  const what = `very first link snapshot, ${engine}, over one plain read`;
  const row = compare(times, { measure: 5, what, ours, theirs, limit: theirs, most: MOST_FIRST });
  removeAll(folder);
  return { times, row };
}

export const link: Part = {
  name: 'link',
  measures: '5',
  async run(bench) {
    const { sizeBytes, largeBytes, rounds } = bench.options;
    const firsts = [await firstLink('lsm', bench), await firstLink('leveldb', bench)];
    const hasLarge = largeBytes > 0;
    const ways = await waysOf(bench, 'usual', sizeBytes, ['lsm', 'leveldb']);
    if (hasLarge) ways.push(...(await waysOf(bench, 'large', largeBytes, ['lsm'])));
    const times = await alternate(bench.root, ways, rounds);
    for (const { times: more } of firsts) times.join(more);
    for (const kind of ['lsm', 'leveldb'] as const)
      removeAll(lifecycleOf(await bench.data.database(kind, sizeBytes)));
    return {
      times,
      rows: [
        rowsOf(times, 'lsm', 'usual'),
        rowsOf(times, 'leveldb', 'usual'),
        ...(hasLarge ? [rowsOf(times, 'lsm', 'large'), flatness(times, bench)] : []),
        ...firsts.map(({ row }) => row),
      ],
    };
  },
};
