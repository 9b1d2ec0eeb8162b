import { setTimeout } from 'node:timers/promises';
import { quoted, run, shell } from '../lib/command.ts';
import { type Host, levelHost, lsmHost, observe, type Pace, type Phase, repeatFor } from '../lib/host.ts';
import { type Bench, type Part, type Row, seconds } from '../lib/part.ts';
import { median, percentile, ratios, type Spread, spreadOf } from '../lib/stats.ts';
import { removeAll } from '../lib/workspace.ts';

const MOST_DELAY_MS = 5;
const MOST_SLOWER = 1.3;
const SETTLE_MS = 300;

interface Round {
  readonly idle: Phase;
  readonly snapshots: Phase;
  readonly quietSnapshots: Phase;
  readonly writes: Phase;
  readonly writesAndSnapshots: Phase;
  readonly writesAndQuietSnapshots: Phase;
  /** What the disk does to any writer while somebody else copies as much. */
  readonly writesAndCp: Phase;
}

async function measure(host: Host, original: string, { options, root, target }: Bench): Promise<Round[]> {
  const { phaseMs, rounds } = options;
  const atRest = async () => {
    removeAll(target);
    await run('sync', ['-f', root]);
    await setTimeout(SETTLE_MS);
  };
  const phase = async (isWriting: boolean, work: () => Promise<unknown>): Promise<Phase> => {
    await atRest();
    return observe(isWriting ? host.write : undefined, work);
  };
  const idling = () => setTimeout(phaseMs);
  const snapshots = (pace: Pace) => () => repeatFor(phaseMs, () => host.snapshot(pace));
  const copying = () =>
    repeatFor(phaseMs, async () => {
      removeAll(target);
      await shell(`cp -a ${quoted(original)} ${quoted(target)}; sync -f ${quoted(target)}`);
    });
  const results: Round[] = [];
  await host.snapshot('fast'); // warms up
  for (let round = 0; round < rounds; round++) {
    results.push({
      idle: await phase(false, idling),
      snapshots: await phase(false, snapshots('fast')),
      quietSnapshots: await phase(false, snapshots('quiet')),
      writes: await phase(true, idling),
      writesAndSnapshots: await phase(true, snapshots('fast')),
      writesAndQuietSnapshots: await phase(true, snapshots('quiet')),
      writesAndCp: await phase(true, copying),
    });
  }
  await atRest();
  return results;
}

const p99 = (phases: readonly Phase[]): number =>
  percentile(
    phases.flatMap(({ writeMs }) => writeMs),
    0.99,
  );

/** What a pace does to the host: the phases beside an idle host, and beside a writing one. */
const PACES = {
  fast: ['snapshots', 'writesAndSnapshots'],
  quiet: ['quietSnapshots', 'writesAndQuietSnapshots'],
} as const;

function rowsOf(name: string, pace: Pace, rounds: readonly Round[]): Row[] {
  const [alone, beside] = PACES[pace];
  const of = (key: keyof Round): Phase[] => rounds.map((round) => round[key]);
  const delays = (key: keyof Round) => of(key).map(({ delayP999Ms }) => delayP999Ms);
  const more: Spread = spreadOf(rounds.map((round) => round[alone].delayP999Ms - round.idle.delayP999Ms));
  const eachP99 = (key: keyof Round) => of(key).map((phase) => p99([phase]));
  const slower = ratios(eachP99(beside), eachP99('writes'));
  const besideCp = ratios(eachP99('writesAndCp'), eachP99('writes'));
  const most = Math.max(...of(alone).map(({ delayMaxMs }) => delayMaxMs));
  return [
    {
      measure: 8,
      what: `event-loop delay p99.9 during ${pace} snapshots over idle, ${name}`,
      measured: `${seconds(more.median)} more (${seconds(more.min)} to ${seconds(more.max)}); at most ${seconds(most)} late`,
      ratio: null,
      target: `≤ ${MOST_DELAY_MS} ms more`,
      isMet: more.median <= MOST_DELAY_MS,
      limit: `idle ${seconds(median(delays('idle')))}; with writes alone ${seconds(median(delays('writes')))}`,
    },
    {
      measure: 8,
      what: `p99 of acknowledged writes during ${pace} snapshots over before, ${name}`,
      measured: `${seconds(p99(of(beside)))}; ${seconds(p99(of('writes')))}`,
      ratio: slower,
      target: `≤ ${MOST_SLOWER} ×`,
      isMet: slower.median <= MOST_SLOWER,
      limit: `while another process runs cp -a + sync: ${seconds(p99(of('writesAndCp')))}, ${besideCp.median.toFixed(2)} ×`,
    },
  ];
}

/** What the host of a database notices of full snapshots in a row, with the database open in this very process. */
export const host: Part = {
  name: 'host',
  measures: '8',
  async run(bench) {
    const { data, options } = bench;
    const rows: Row[] = [];
    const raw: Record<string, unknown> = {};
    for (const [kind, open] of [
      ['lsm', lsmHost],
      ['leveldb', levelHost],
    ] as const) {
      const original = await data.database(kind, options.sizeBytes);
      const folder = await data.fork(original, `hosted-${kind}`);
      const opened = await open(folder);
      try {
        const rounds = await measure(opened, original, bench);
        rows.push(...rowsOf(kind, 'fast', rounds), ...rowsOf(kind, 'quiet', rounds));
        raw[kind] = rounds.map(summaryOf);
      } finally {
        await opened.close();
        removeAll(folder);
      }
    }
    return { rows, raw };
  },
};

/** Of the writes, what can be kept: there are tens of thousands. */
const summaryOf = (round: Round) =>
  Object.fromEntries(
    Object.entries(round).map(([name, { writeMs, ...delays }]: [string, Phase]) => [
      name,
      {
        ...delays,
        writes: writeMs.length,
        ...(writeMs.length > 0 && {
          writeP50Ms: percentile(writeMs, 0.5),
          writeP99Ms: percentile(writeMs, 0.99),
          writeP999Ms: percentile(writeMs, 0.999),
        }),
      },
    ]),
  );
