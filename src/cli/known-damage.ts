import type { Snapshots } from '../coordinator/snapshots.ts';
import { lineageOf } from '../operation/lineage.ts';

/** Whether the database itself is on record as damaged. Not known where the records cannot be read: then something else says why. */
export const isKnownDamaged = (snapshots: Snapshots): Promise<boolean> =>
  snapshots.runs({ limit: Number.MAX_SAFE_INTEGER }).then(
    ({ runs }) => lineageOf(runs.toReversed()).now.damage !== undefined,
    () => false,
  );
