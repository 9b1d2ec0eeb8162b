import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { BackupCoordinator, type Report } from '../../src/index.ts';
import { run } from '../lib/command.ts';
import { shuffled, Times } from '../lib/measure.ts';
import { besideNeighbour } from '../lib/neighbour.ts';
import { type Bench, compare, type Part, type Row, seconds } from '../lib/part.ts';
import { percentile, ratios, type Spread, spreadOf } from '../lib/stats.ts';
import { CP, cp, lifecycleOf } from '../lib/ways.ts';
import { removeAll } from '../lib/workspace.ts';

const SETTLE_MS = 300;
const PACED_BYTES = 200e6;
const QUIET = 'quiet snapshot, the medium proven';
const PACED = `quiet snapshot at ${PACED_BYTES / 1e6} MB/s`;
const FAST = 'fast snapshot';
const IDLE = 'idle';

/** The most: p99 over idle, and the longest wait of all. */
const TARGETS: readonly { readonly name: string; readonly ratio: number; readonly longestMs?: number }[] = [
  { name: QUIET, ratio: 3, longestMs: 10 },
  { name: PACED, ratio: 1.5 },
];

const p99 = (waits: readonly number[]): number => percentile(waits, 0.99);

/** How long another process on the same disk waits for its durable writes while a folder at rest is copied. */
export const neighbour: Part = {
  name: 'neighbour',
  measures: '17',
  async run({ root, data, target, options }: Bench) {
    const folder = await data.database('lsm', options.sizeBytes);
    const backup = new BackupCoordinator({ dataDir: folder, engine: 'lsm', defaults: { reuse: false } });
    const copying = cp(folder, target);
    const ways: Readonly<Record<string, () => Promise<unknown>>> = {
      [IDLE]: () => setTimeout(options.phaseMs),
      [QUIET]: async () => requireMedium((await backup.backup({ pace: 'quiet' })).report),
      [PACED]: () => backup.backup({ pace: 'quiet', maxBytesPerSecond: PACED_BYTES }),
      [FAST]: () => backup.backup({ pace: 'fast' }),
      [CP]: () => copying.work(),
    };
    const times = new Times(Object.keys(ways).map((name) => ({ name, bytes: copying.bytes })));
    const waits: Record<string, number[][]> = {};
    for (let round = 0; round <= options.rounds; round++) {
      for (const [name, work] of shuffled(Object.entries(ways))) {
        removeAll(target);
        removeAll(lifecycleOf(folder));
        await run('sync', ['-f', root]);
        await setTimeout(SETTLE_MS);
        let ms = 0;
        const seen = await besideNeighbour(join(root, 'neighbour.log'), async () => {
          const began = performance.now();
          await work();
          ms = performance.now() - began;
        });
        if (round === 0) continue; // warms up
        times.add(name, ms);
        waits[name] = [...(waits[name] ?? []), seen];
      }
    }
    removeAll(target);
    removeAll(lifecycleOf(folder));
    const rows = TARGETS.map((row) => rowOf(row, waits));
    rows.push(
      compare(times, {
        measure: 17,
        what: `${QUIET}: time`,
        ours: QUIET,
        theirs: CP,
        most: 2.5,
        limit: FAST,
      }),
    );
    const raw = Object.fromEntries(
      Object.entries(waits).map(([name, rounds]) => [
        name,
        rounds.map((ms) => ({ writes: ms.length, p99: p99(ms), longest: Math.max(...ms) })),
      ]),
    );
    return { times, rows, raw };
  },
};

function rowOf(
  { name, ratio: most, longestMs }: (typeof TARGETS)[number],
  waits: Readonly<Record<string, readonly number[][]>>,
): Row {
  const over = (way: string): Spread => ratios(waits[way]!.map(p99), waits[IDLE]!.map(p99));
  const longest = (way: string): Spread => spreadOf(waits[way]!.map((ms) => Math.max(...ms)));
  const told = (way: string) =>
    `p99 ${over(way).median.toFixed(1)} × idle, longest ${seconds(longest(way).median)}`;
  const isShort = longestMs === undefined || longest(name).median <= longestMs;
  return {
    measure: 17,
    what: `another process's fdatasync beside a ${name}: p99 over idle; longest wait`,
    measured: `p99 ${seconds(p99(waits[name]!.flat()))}; longest ${seconds(longest(name).median)} (${seconds(longest(name).min)} to ${seconds(longest(name).max)})`,
    ratio: over(name),
    target: `≤ ${most} ×${longestMs === undefined ? '' : `; ≤ ${longestMs} ms`}`,
    isMet: over(name).median <= most && isShort,
    limit: `idle p99 ${seconds(p99(waits[IDLE]!.flat()))}, longest ${seconds(longest(IDLE).median)}; beside ${FAST}: ${told(FAST)}; beside ${CP}: ${told(CP)}`,
  };
}

function requireMedium({ medium }: Report): void {
  if (medium !== true)
    throw new Error('this file system does not let a snapshot be read past the page cache');
}
