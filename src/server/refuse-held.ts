import { StillpointError } from '../errors.ts';
import { alreadyRunning } from '../operation/data-directory.ts';
import type { Lifecycle } from '../operation/lifecycle.ts';
import type { RestoreHold } from './restore-hold.ts';
import type { WriteLease } from './write-lease.ts';

/** `CONFLICT` while a run other than `run` keeps writes away from the database: by its lease, or because it restores a fleet. */
export function refuseHeld(
  { lease, hold }: { readonly lease: WriteLease; readonly hold: RestoreHold },
  run: string | undefined,
): void {
  lease.refuseOthers(run);
  if (hold.run === undefined || hold.run === run) return;
  throw new StillpointError('CONFLICT', `the server is held by the restore ${hold.run}`, {
    data: { run: hold.run },
    hint: 'Finish it or take it back: `stillpoint fleet restore` or `fleet undo` with its folder.',
  });
}

/** `CONFLICT`, with `retry-after`, while this process is at work on the data directory. */
export function refuseBusy({ lifecycle }: { readonly lifecycle: Lifecycle }): void {
  if (lifecycle.running !== undefined) throw alreadyRunning(lifecycle.running);
}
