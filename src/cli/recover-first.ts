import type { Lifecycle } from '../operation/lifecycle.ts';
import type { Cli } from './cli.ts';

/** Finishes what a crash interrupted, and says so, before anything new begins. */
export async function recoverFirst({ output }: Cli, lifecycle: Lifecycle): Promise<void> {
  const { restore, interrupted } = await lifecycle.recover();
  if (restore !== null) {
    const what =
      restore === 'new' ? 'finished: the restored state stands' : 'taken back: the old state stands';
    output.note(`a restore was interrupted and is now ${what}`);
  }
  for (const id of interrupted)
    output.note(`run ${id} did not finish because its process ended; it is on record as failed`);
}
