import { LIFECYCLE } from '../engine/engine.ts';
import { StillpointError } from '../errors.ts';
import { ownerOf } from '../snapshot/store/layout.ts';

const HINT = 'Restore it into a folder first: `stillpoint restore PATH --into DIR`.';

/** @param path A real one, of what is to be a data directory. */
export function refuseKept(path: string): void {
  if (ownerOf(path) === undefined) return;
  throw new StillpointError(
    'INVALID_REQUEST',
    `${path} lies in a folder ${LIFECYCLE}: it is a snapshot, or belongs to the keeping of one`,
    { path, hint: HINT },
  );
}
