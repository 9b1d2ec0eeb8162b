import { dirname } from 'node:path';
import { StillpointError } from '../errors.ts';
import { directoryOf } from '../operation/lifecycle.ts';
import { findSnapshot } from '../snapshot/store/find-snapshot.ts';
import type { ServerContext } from './assemble-server.ts';

/** The folder of a snapshot in `backup`, by its name or id. A path is never followed elsewhere: `NOT_FOUND` or `PATH_OUTSIDE`. */
export async function findStored({ lifecycle, environment }: ServerContext, name: string): Promise<string> {
  const layout = await directoryOf(lifecycle).layout();
  const location = await findSnapshot(environment, layout, name, [layout.backup]);
  if (dirname(location) === layout.backup) return location;
  throw new StillpointError('NOT_FOUND', `there is no snapshot "${name}" in ${layout.dataDir}`);
}
