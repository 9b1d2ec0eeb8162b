import { performance } from 'node:perf_hooks';
import { run, shell } from '../lib/command.ts';
import { ownFiles, plainCopy } from '../lib/folders.ts';
import { type Bench, megabytes, type Part, type Row, seconds } from '../lib/part.ts';
import { median, ratios } from '../lib/stats.ts';
import { SUBJECTS, type Subject } from '../lib/subjects.ts';
import { lifecycleOf, snapshot } from '../lib/ways.ts';
import { removeAll } from '../lib/workspace.ts';

const MOST = 0.05;

interface Round {
  readonly first: { ms: number; bytes: number };
  readonly second: { ms: number; bytes: number };
  /** Plain read and write of what is new in the second. */
  readonly limitMs: number;
}

async function measure({ engine, make, change }: Subject, bench: Bench): Promise<Round[]> {
  const { data, options, root, target } = bench;
  const original = await make(data, options.sizeBytes);
  const rounds: Round[] = [];
  for (let round = 0; round <= options.rounds; round++) {
    const folder = await data.fork(original, 'changing');
    const take = async () => {
      const before = await allocated(lifecycleOf(folder));
      await run('sync', ['-f', root]);
      const began = performance.now();
      const { location } = await snapshot(engine, folder);
      const ms = performance.now() - began;
      return { ms, bytes: (await allocated(lifecycleOf(folder))) - before, location };
    };
    const { location: _, ...first } = await take();
    await change(folder, data, options.sizeBytes);
    const { location, ...second } = await take();
    const began = performance.now();
    await plainCopy(location, target, ownFiles(location));
    const limitMs = performance.now() - began;
    removeAll(target);
    removeAll(folder);
    if (round > 0) rounds.push({ first, second, limitMs });
  }
  return rounds;
}

/** Each file once, however many names it has. */
async function allocated(folder: string): Promise<number> {
  const output = await shell(`test ! -e '${folder}' || du -s --block-size=1 '${folder}'`);
  return Number.parseInt(output, 10) || 0;
}

function rowsOf(engine: string, rounds: readonly Round[]): Row[] {
  const of = (pick: (round: Round) => number) => rounds.map(pick);
  const middle = (pick: (round: Round) => number) => median(of(pick));
  const time = ratios(
    of(({ second }) => second.ms),
    of(({ first }) => first.ms),
  );
  const bytes = ratios(
    of(({ second }) => second.bytes),
    of(({ first }) => first.bytes),
  );
  const common = { measure: 4, target: `≤ ${MOST} ×` };
  const what = `second snapshot after 1% changed, ${engine}`;
  return [
    {
      ...common,
      what: `${what}: time`,
      measured: `${seconds(middle(({ second }) => second.ms))}; the first ${seconds(middle(({ first }) => first.ms))}`,
      ratio: time,
      isMet: time.median <= MOST,
      limit: `plain read, write and sync of what is new ${seconds(middle(({ limitMs }) => limitMs))}`,
    },
    {
      ...common,
      what: `${what}: blocks written`,
      measured: `${megabytes(middle(({ second }) => second.bytes))}; the first ${megabytes(middle(({ first }) => first.bytes))}`,
      ratio: bytes,
      isMet: bytes.median <= MOST,
      limit: '1% of the data',
    },
  ];
}

export const second: Part = {
  name: 'second',
  measures: '4',
  async run(bench) {
    const rows: Row[] = [];
    const raw: Record<string, Round[]> = {};
    for (const subject of SUBJECTS) {
      const rounds = await measure(subject, bench);
      raw[subject.engine] = rounds;
      rows.push(...rowsOf(subject.engine, rounds));
    }
    return { rows, raw };
  },
};
