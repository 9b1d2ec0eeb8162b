import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../lib/command.ts';
import { type Bench, megabytes, type Part, type Row, seconds } from '../lib/part.ts';
import { logSlope, median } from '../lib/stats.ts';
import type { Chart } from '../lib/svg.ts';
import { removeAll } from '../lib/workspace.ts';

const MOST = 1.05;
const CHILD = fileURLToPath(new URL('../lib/fleet-child.js', import.meta.url));

interface Measured {
  readonly count: number;
  readonly operations: number;
  readonly ms: number;
  readonly peakBytes: number;
  readonly journalBytes: number;
  readonly journalSyncs: number;
  readonly otherSyncs: number;
}

interface Quantity {
  readonly name: string;
  readonly of: (measured: Measured) => number;
  readonly format: (value: number) => string;
}

const plain = (value: number): string => value.toLocaleString('en', { maximumFractionDigits: 2 });

const QUANTITIES: readonly Quantity[] = [
  { name: 'bytes written to the journal', of: ({ journalBytes }) => journalBytes, format: plain },
  { name: 'syncs of the journal', of: ({ journalSyncs }) => journalSyncs, format: plain },
  { name: 'other syncs', of: ({ otherSyncs }) => otherSyncs, format: plain },
  { name: 'time', of: ({ ms }) => ms, format: seconds },
  { name: 'peak memory', of: ({ peakBytes }) => peakBytes, format: megabytes },
];

/** What a backup of simulated nodes costs the controller, for each operation. */
export const fleetScaling: Part = {
  name: 'fleet-scaling',
  measures: '14',
  async run({ root, options }: Bench) {
    const counts = options.isQuick ? [10, 30, 100] : [10, 100, 1_000, 10_000];
    const rounds = Array.from({ length: options.rounds }, () => [] as Measured[]);
    for (const taken of rounds) for (const count of counts) taken.push(await measure(root, count));
    const pointsOf = ({ of }: Quantity, perOperation: boolean) =>
      counts.map((x, i) => {
        const values = rounds.map((taken) => of(taken[i]!) / (perOperation ? taken[i]!.operations : 1));
        return { x, y: median(values) };
      });
    const rows = QUANTITIES.map((quantity): Row => {
      const slope = logSlope(pointsOf(quantity, false));
      const each = pointsOf(quantity, true).map(({ y }) => quantity.format(y));
      return {
        measure: 14,
        what: `log-log slope against nodes, ${quantity.name}`,
        measured: `${slope.toFixed(2)} (for each operation, with ${counts.map(plain).join(', ')} nodes: ${each.join(', ')})`,
        ratio: null,
        target: `≤ ${MOST}`,
        isMet: slope <= MOST,
        limit: '',
      };
    });
    const chart: Chart = {
      name: 'fleet-against-nodes',
      title: 'A backup of simulated nodes: what one operation costs',
      xLabel: 'nodes',
      yLabel: 'of the quantity on the right',
      formatX: plain,
      formatY: plain,
      curves: [
        { name: 'time (ms)', quantity: QUANTITIES[3]! },
        { name: 'journal (KB)', quantity: scaled(QUANTITIES[0]!, 1e3) },
        { name: 'syncs of the journal', quantity: QUANTITIES[1]! },
        { name: 'other syncs', quantity: QUANTITIES[2]! },
        { name: 'peak memory (KB)', quantity: scaled(QUANTITIES[4]!, 1e3) },
      ].map(({ name, quantity }, colour) => ({
        name,
        colour,
        isPeer: false,
        points: pointsOf(quantity, true),
      })),
    };
    return { rows, raw: rounds, charts: [chart] };
  },
};

const scaled = (quantity: Quantity, by: number): Quantity => ({
  ...quantity,
  of: (measured) => quantity.of(measured) / by,
});

async function measure(root: string, count: number): Promise<Measured> {
  const layoutDir = join(root, 'fleet-of-many');
  await run('sync', ['-f', root]);
  try {
    return JSON.parse(await run(process.execPath, [CHILD, layoutDir, String(count)]));
  } finally {
    removeAll(layoutDir);
  }
}
