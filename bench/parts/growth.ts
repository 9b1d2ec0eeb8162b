import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../lib/command.ts';
import { type Bench, megabytes, type Part, type Row, seconds } from '../lib/part.ts';
import type { Curve } from '../lib/svg.ts';

const CHILD = fileURLToPath(new URL('../lib/growth-child.js', import.meta.url));
const RUNS = [100, 1_000, 2_500, 5_000, 7_500, 10_000];
const FEW_RUNS = [5, 10];
/** What does not fit into it is left out, and the rows say how many runs there were. */
const MOST_MS = 25 * 60 * 1000;
/** Flat: at no mark more than so many times what it was at the first. */
const FLAT = 1.5;

type Figure = 'snapshotMs' | 'statusMs' | 'listMs' | 'loopP99Ms' | 'rssBytes' | 'descriptors' | 'threads';
type Mark = Readonly<Record<Figure | 'runs', number>>;

const count = (value: number): string => value.toFixed(0);
const FIGURES: readonly { of: Figure; name: string; show: (value: number) => string }[] = [
  { of: 'snapshotMs', name: 'time of a snapshot', show: seconds },
  { of: 'statusMs', name: 'time of status', show: seconds },
  { of: 'listMs', name: 'time of list', show: seconds },
  { of: 'loopP99Ms', name: 'event-loop delay p99', show: seconds },
  { of: 'rssBytes', name: 'resident memory', show: megabytes },
  { of: 'descriptors', name: 'open descriptors', show: count },
  { of: 'threads', name: 'threads', show: count },
];

function rowOf(marks: readonly Mark[], { of, name, show }: (typeof FIGURES)[number]): Row {
  const ratios = marks.map((mark) => mark[of] / marks[0]![of]);
  return {
    measure: 16,
    what: `${name} of a host after ${marks.map(({ runs }) => runs.toLocaleString('en')).join('; ')} runs`,
    measured: marks.map((mark) => show(mark[of])).join('; '),
    ratio: { median: ratios.at(-1)!, min: Math.min(...ratios), max: Math.max(...ratios) },
    target: `flat (≤ ${FLAT} ×)`,
    isMet: Math.max(...ratios) <= FLAT,
    limit: `after ${marks[0]!.runs} runs ${show(marks[0]![of])}`,
  };
}

/** What a process holds, and how long it takes, after many snapshots of its own database. */
export const growth: Part = {
  name: 'growth',
  measures: '16',
  async run({ root, options }: Bench) {
    const folder = join(root, 'long-lived');
    mkdirSync(folder);
    const wanted = options.isQuick ? FEW_RUNS : RUNS;
    const lines = await run(process.execPath, [CHILD, folder, String(MOST_MS), ...wanted.map(String)]);
    const marks = lines
      .trim()
      .split('\n')
      .map((line): Mark => JSON.parse(line));
    const curves = FIGURES.map(
      ({ of, name }, colour): Curve => ({
        name,
        colour,
        isPeer: of === 'descriptors' || of === 'threads',
        points: marks.map((mark) => ({ x: mark.runs, y: mark[of] / marks[0]![of] })),
      }),
    );
    const chart = {
      name: 'growth',
      title: 'A host that takes one snapshot after the other',
      xLabel: 'runs',
      yLabel: `times as much as after ${marks[0]!.runs} runs`,
      formatX: (value: number) => value.toLocaleString('en'),
      formatY: String,
      curves,
    };
    return { rows: FIGURES.map((figure) => rowOf(marks, figure)), raw: marks, charts: [chart] };
  },
};
