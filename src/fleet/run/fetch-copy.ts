import type { Clock } from '../../env/clock.ts';
import { toStillpointError } from '../../errors.ts';
import type { Journal } from '../journal/journal.ts';
import type { OperationRow } from '../journal/operation-states.ts';

const DAMAGED = 3;
/** A bad copy is downloaded once more, since it may have been damaged on its way. */
const DOWNLOADS = 2;

/** Downloads and verifies the copy of a target. `run` executes one operation, unless it is done. */
export async function fetchCopy(
  journal: Journal,
  clock: Clock,
  targetId: string,
  run: (row: OperationRow) => Promise<void>,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await run(journal.execution.row('download', targetId)!);
      await run(journal.execution.row('verify', targetId)!);
      return;
    } catch (error) {
      const known = toStillpointError(error);
      if (known.exitCode !== DAMAGED || attempt === DOWNLOADS) throw error;
      const at_ms = clock.nowMs();
      await journal.commit({ type: 'redownload', target_id: targetId, reason: known.message, at_ms });
    }
  }
}
