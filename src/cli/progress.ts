import { systemClock } from '../env/clock.ts';
import type { Terminal } from './terminal.ts';
import { duration, size } from './text.ts';

/** Shows how far long work is. Quick work ends before the first call, and shows nothing. */
export interface Progress {
  show(phase: string, bytesDone: number, bytesTotal: number): void;
  /** Calls `look` now and then until `stop`, which may come more than once. Without a terminal, never. */
  follow(look: () => Promise<void>): void;
  stop(): void;
}

const INTERVAL_MS = 100;
export const NO_PROGRESS: Progress = {
  show: () => undefined,
  follow: () => undefined,
  stop: () => undefined,
};

/** A bar on a terminal, nothing elsewhere. It is gone from the screen once it is stopped. */
export async function openProgress(
  { stderr: stream, env }: Terminal,
  maxBytesPerSecond?: number,
): Promise<Progress> {
  if (!stream.isTTY || env.TERM === 'dumb') return NO_PROGRESS;
  const { default: progress } = await import('cli-progress');
  const bar = new progress.SingleBar({
    stream,
    format: '{phase} [{bar}]{done}{left}',
    // A line that reaches the terminal's edge is not the one that is cleared when Ctrl-C has been echoed behind it.
    barsize: maxBytesPerSecond === undefined ? 30 : 18,
    clearOnComplete: true,
    linewrap: true, // else it is switched off in the terminal, and stays so when we are killed
  });
  const left = (bytes: number): string => {
    if (maxBytesPerSecond === undefined) return '';
    const seconds = Math.ceil(bytes / maxBytesPerSecond);
    if (seconds <= 0) return '';
    const time = seconds < 60 ? `${seconds} s` : duration(1000 * seconds);
    return `, ${time} left at ${size(maxBytesPerSecond)}/s`;
  };
  let isStarted = false;
  let isStopped = false;
  const ends: (() => void)[] = [];
  return {
    show(phase, bytesDone, bytesTotal) {
      if (isStopped) return;
      const total = Math.max(bytesTotal, 1);
      const percent = Math.floor((100 * Math.min(bytesDone, total)) / total);
      const done = bytesTotal === 0 ? '' : ` ${percent}% of ${size(bytesTotal)}`; // not known yet
      const payload = { phase: phase.padEnd(8), done, left: left(bytesTotal - bytesDone) };
      if (!isStarted) bar.start(total, 0, payload);
      isStarted = true;
      bar.setTotal(total);
      bar.update(Math.min(bytesDone, total), payload);
    },
    follow(look) {
      // A look that fails is no reason to fail: the work itself tells what is wrong.
      ends.push(systemClock.every(INTERVAL_MS, () => void look().catch(() => undefined)));
    },
    stop() {
      if (isStopped) return;
      isStopped = true;
      for (const end of ends) end();
      if (isStarted) bar.stop();
    },
  };
}
