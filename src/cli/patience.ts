import { type Command, Option } from 'commander';
import { pause, systemClock } from '../env/clock.ts';
import { orAborted } from '../env/concurrency.ts';
import { StillpointError } from '../errors.ts';
import type { Cli } from './cli.ts';
import type { Given } from './flags.ts';
import { period } from './quantities.ts';

/** `--wait`: for jobs that may meet each other, as those of a timer do. */
export const addWaitFlag = (command: Command): Command =>
  command.addOption(
    new Option('--wait <time>', 'wait for another process that is at work here (30s, 10m, 2h)').argParser(
      period,
    ),
  );

export const waitMs = ({ wait }: Given): number => (wait as number | undefined) ?? 0;

/** Does the work again and again, for so long, while it is refused because something else is at work on the data directory. */
export async function patiently<T>(
  { output }: Cli,
  limitMs: number,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  const deadline = systemClock.monotonicMs() + limitMs;
  for (let isTold = false; ; isTold = true) {
    try {
      return await work();
    } catch (error) {
      const pauseMs = retryAfterMs(error);
      const leftMs = deadline - systemClock.monotonicMs();
      if (pauseMs === undefined || leftMs <= 0) throw error;
      if (!isTold) output.note(`waiting: ${(error as Error).message}`);
      await orAborted(pause(Math.min(pauseMs, leftMs)), signal).catch(() => {
        throw new StillpointError('CANCELLED', 'cancelled on request');
      });
    }
  }
}

/** Of a refusal that passes by itself. */
function retryAfterMs(error: unknown): number | undefined {
  if (!(error instanceof StillpointError) || error.code !== 'CONFLICT') return undefined;
  const { retry_after_ms: ms } = (error.data ?? {}) as { readonly retry_after_ms?: unknown };
  return typeof ms === 'number' ? ms : undefined;
}
