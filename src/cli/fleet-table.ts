import { systemClock } from '../env/clock.ts';
import type { NodeProgress } from '../fleet/node-progress.ts';
import type { Terminal } from './terminal.ts';
import { size, table, visible } from './text.ts';

const INTERVAL_MS = 200;
const LEAST_ROWS = 5;
/** What is finished has nothing more to tell. */
const ORDER = ['failed', 'stop', 'snapshot', 'start', 'verify', 'download', 'done'];

export interface FleetTable {
  readonly show: (progress: NodeProgress) => void;
  /** Takes the table off the screen; may come more than once. */
  readonly stop: () => void;
}

interface Line extends NodeProgress {
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
    const shown = table(
      [['NODE', 'PHASE', 'BYTES', 'RATE', 'LEFT'], ...lines.slice(0, room).map(row)],
      [2, 3, 4],
    );
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
  const left = rate === 0 ? '' : `${Math.ceil((bytesTotal - bytesDone) / rate)} s`;
  return [visible(targetId), phase, `${size(bytesDone)} of ${size(bytesTotal)}`, `${size(rate)}/s`, left];
}
