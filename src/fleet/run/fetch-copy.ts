import type { Clock } from '../../env/clock.ts';
import { toStillpointError } from '../../errors.ts';
import type { OperationRow } from '../journal/operation-states.ts';
import type { Lane } from '../steps/steps.ts';

const DAMAGED = 3;
/** A bad copy is downloaded or pushed once more, since it may have been damaged on its way. */
const DOWNLOADS = 2;

/** Downloads or pushes the copy of a target, and verifies it. `run` executes one operation, unless it is done. */
export async function fetchCopy(
  lane: Lane,
  clock: Clock,
  targetId: string,
  run: (row: OperationRow) => Promise<void>,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await run(lane.execution.row('copy', targetId)!);
      await run(lane.execution.row('verify', targetId)!);
      return;
    } catch (error) {
      const known = toStillpointError(error);
      if (known.exitCode !== DAMAGED || attempt === DOWNLOADS) throw error;
      await lane.decide(`download ${targetId} again`, () => ({
        type: 'redownload',
        target_id: targetId,
        reason: known.message,
        at_ms: clock.nowMs(),
      }));
    }
  }
}
