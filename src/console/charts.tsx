import { useState } from 'preact/hooks';
import type { Run, Snapshots } from './api.ts';
import { type Offsite, tookMs } from './offsite.ts';
import { bytes, span, time } from './text.ts';

interface Point {
  readonly atMs: number;
  readonly value: number;
}

interface Props {
  readonly list: Snapshots;
  /** Newest first. */
  readonly runs: readonly Run[];
  readonly offsite: Offsite | undefined;
}

/** How is it going? Each chart has its figures in a table; one with fewer than two points says nothing and is left out. */
export function Charts({ list, runs, offsite }: Props) {
  const charts = [
    { name: 'Size of each snapshot', points: sizes(list), format: bytes },
    { name: 'Of that, shared with others', points: shared(list), format: bytes },
    { name: 'Time that each snapshot took', points: durations(runs), format: span },
    { name: 'Time to restore, by each drill', points: drillTimes(offsite), format: span },
  ].filter(({ points }) => points.length >= 2);
  if (charts.length === 0) return null;
  return (
    <section aria-labelledby="trend" class="card">
      <h2 id="trend">How is it going?</h2>
      <div class="charts">
        {charts.map((chart) => (
          <Chart key={chart.name} {...chart} />
        ))}
      </div>
    </section>
  );
}

const sizes = ({ snapshots }: Snapshots): Point[] =>
  snapshots.flatMap(({ created_at_ms: atMs, disk_bytes: value }) =>
    value === null ? [] : [{ atMs, value }],
  );

const shared = ({ snapshots }: Snapshots): Point[] =>
  snapshots.flatMap(({ created_at_ms: atMs, disk_bytes, own_bytes }) =>
    disk_bytes === null || own_bytes === null ? [] : [{ atMs, value: disk_bytes - own_bytes }],
  );

const durations = (runs: readonly Run[]): Point[] =>
  runs
    .flatMap(({ kind, state: { status, started_at_ms: atMs, finished_at_ms: end } }) =>
      kind === 'backup' && status === 'completed' && atMs !== null && end !== null
        ? [{ atMs, value: end - atMs }]
        : [],
    )
    .reverse();

const drillTimes = (offsite: Offsite | undefined): Point[] =>
  (offsite?.drills ?? []).map((drill) => ({ atMs: drill.started_at_ms, value: tookMs(drill) })).reverse();

interface ChartProps {
  readonly name: string;
  /** Oldest first, two at least. */
  readonly points: readonly Point[];
  readonly format: (value: number) => string;
}

const WIDTH = 300;
const HEIGHT = 100;

/** A line from zero up. It is stretched to its place, so all that is text stands beside it. */
function Chart({ name, points, format }: ChartProps) {
  const [isOpen, setOpen] = useState(false);
  const first = points[0]!;
  const last = points.at(-1)!;
  const most = Math.max(...points.map(({ value }) => value));
  const x = ({ atMs }: Point) => ((atMs - first.atMs) / Math.max(1, last.atMs - first.atMs)) * WIDTH;
  const y = ({ value }: Point) => HEIGHT - (value / Math.max(1, most)) * HEIGHT;
  const line = points.map((point) => `${x(point).toFixed(1)},${y(point).toFixed(1)}`).join(' ');
  return (
    <figure>
      <figcaption>
        {name}: <strong>{format(last.value)}</strong> <span class="small">now, {format(most)} at most</span>
      </figcaption>
      <svg viewBox={`0 -4 ${WIDTH} ${HEIGHT + 8}`} preserveAspectRatio="none" aria-hidden="true">
        <polyline class="axis" points={`0,${HEIGHT} ${WIDTH},${HEIGHT}`} />
        <polyline points={line} />
      </svg>
      <p class="small ends">
        <span>{time(first.atMs)}</span>
        <span>{time(last.atMs)}</span>
      </p>
      <details onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
        <summary class="small">As a table</summary>
        {isOpen && <Figures name={name} points={points} format={format} />}
      </details>
    </figure>
  );
}

function Figures({ name, points, format }: ChartProps) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached with the keyboard
    <section class="scroll" tabIndex={0} aria-label={name}>
      <table>
        <thead>
          <tr>
            <th scope="col">When</th>
            <th scope="col">{name}</th>
          </tr>
        </thead>
        <tbody>
          {[...points].reverse().map(({ atMs, value }, i) => (
            <tr key={`${atMs}-${i}`}>
              <th scope="row">{time(atMs)}</th>
              <td>{format(value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
