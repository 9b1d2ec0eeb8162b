import { systemClock } from '../env/clock.ts';
import type { NodeProgress } from '../fleet/run/node-progress.ts';
import type { Cli } from './cli.ts';
import type { Style } from './style.ts';
import type { Terminal } from './terminal.ts';
import { duration, size, table, visible } from './text.ts';

const PARTLY = 6;
const INTERVAL_MS = 200;
const LEAST_ROWS = 5;
/** What is finished has nothing more to tell. */
const ORDER = [
  'failed',
  ...['stop', 'snapshot', 'start', 'verify', 'download', 'push'],
  ...['hold', 'save', 'restore', 'undo', 'probe', 'release', 'send'],
  'done',
];

/** As wide as their cells become, so that the columns stay where they are. */
const HEAD = ['NODE', 'PHASE'.padEnd(8), 'BYTES'.padStart(20), 'RATE'.padStart(10), 'LEFT'.padStart(11)];
/** The first moments of a phase tell nothing of its rate, and nobody waits for days. */
const LEAST_MEASURED_S = 2;
const LONGEST_LEFT_S = 24 * 60 * 60;

interface Progress extends Omit<NodeProgress, 'phase'> {
  readonly phase: string;
}

export interface FleetTable {
  readonly show: (progress: Progress) => void;
  /** Takes the table off the screen; may come more than once. */
  readonly stop: () => void;
}

interface Line extends Progress {
  readonly beganMs: number;
}

/** What each node is at, on a terminal; nothing elsewhere. As many rows as fit, the busy ones first. */
export function openFleetTable({ stderr, env }: Terminal): FleetTable {
  if (!stderr.isTTY || env.TERM === 'dumb') return { show: () => undefined, stop: () => undefined };
  const nodes = new Map<string, Line>();
  let drawn = 0;
  const clear = () => {
    if (drawn > 0) stderr.write(`\u001b[${drawn}A\u001b[J`);
    drawn = 0;
  };
  const draw = () => {
    clear();
    const room = Math.max(LEAST_ROWS, (stderr.rows ?? 24) - 3);
    const width = (stderr.columns ?? 80) - 1;
    const lines = [...nodes.values()].sort((a, b) => ORDER.indexOf(a.phase) - ORDER.indexOf(b.phase));
    const shown = table([HEAD, ...lines.slice(0, room).map(row)], [2, 3, 4]);
    if (lines.length > room) shown.push(`… and ${lines.length - room} more`);
    for (const line of shown) stderr.write(`${line.slice(0, width)}\n`);
    drawn = shown.length;
  };
  const end = systemClock.every(INTERVAL_MS, () => nodes.size > 0 && draw());
  return {
    show(progress) {
      const before = nodes.get(progress.targetId);
      const beganMs = before?.phase === progress.phase ? before.beganMs : systemClock.monotonicMs();
      nodes.set(progress.targetId, { ...progress, beganMs });
    },
    stop() {
      end();
      clear();
    },
  };
}

function row({ targetId, phase, bytesDone, bytesTotal, beganMs }: Line): string[] {
  const seconds = (systemClock.monotonicMs() - beganMs) / 1000;
  if (bytesTotal === 0 || phase === 'done' || phase === 'failed')
    return [visible(targetId), phase, '', '', ''];
  const rate = bytesDone / Math.max(seconds, 0.001);
  const bytes = `${size(bytesDone)} of ${size(bytesTotal)}`;
  if (seconds < LEAST_MEASURED_S) return [visible(targetId), phase, bytes, '', ''];
  const left = (bytesTotal - bytesDone) / rate;
  return [
    visible(targetId),
    phase,
    bytes,
    `${size(rate)}/s`,
    left < LONGEST_LEFT_S ? duration(Math.ceil(left) * 1000).replace('.0 s', ' s') : '',
  ];
}

/** Does work on a fleet with the live table on the screen, prints its result, and exits with 6 where something is left to do. */
export async function withFleetTable<T>(
  cli: Cli,
  {
    doing,
    work,
    describe,
    isDone = () => true,
  }: {
    /** What is done after an interruption, for people. */
    readonly doing: string;
    readonly work: (signal: AbortSignal, show: FleetTable['show']) => Promise<T>;
    readonly describe: (result: T, style: Style) => string[];
    readonly isDone?: (result: T) => boolean;
  },
): Promise<void> {
  const view = openFleetTable(cli.terminal);
  try {
    const result = await cli.interruptible((signal) => work(signal, view.show), doing, view.stop);
    view.stop();
    cli.output.result(result, (style) => describe(result, style));
    if (!isDone(result)) cli.exitCode = PARTLY;
  } finally {
    view.stop();
  }
}
