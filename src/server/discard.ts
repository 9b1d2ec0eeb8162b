import { Snapshots } from '../coordinator/snapshots.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import { directoryOf } from '../operation/lifecycle.ts';
import { latestName } from '../snapshot/store/list.ts';
import { discardedSnapshots, noteDiscarded } from '../snapshot/store/snapshot-pins.ts';
import type { ServerContext } from './assemble-server.ts';

/**
 * Deletes the snapshots that are not needed any more, save the newest, and those that are pinned or being read: these go the next time.
 * Best effort: what goes wrong becomes a warning.
 */
export async function deleteDiscarded({ lifecycle, environment, pinning }: ServerContext): Promise<void> {
  const { fs } = environment;
  try {
    const layout = await directoryOf(lifecycle).layout();
    const discarded = await discardedSnapshots(fs, layout);
    if (discarded.length === 0) return;
    const snapshots = new Snapshots({ dataDir: lifecycle.dataDir, lifecycle });
    const latest = await latestName(fs, layout.backup);
    const gone: string[] = [];
    for (const name of discarded) {
      if (name === latest) continue;
      try {
        await snapshots.delete(name);
        gone.push(name);
      } catch (error) {
        if (!(error instanceof StillpointError)) throw error;
        if (error.code === 'NOT_FOUND') gone.push(name);
        else if (error.code !== 'CONFLICT') throw error;
      }
    }
    if (gone.length > 0) await pinning.run(() => noteDiscarded(fs, layout, { remove: gone }));
  } catch (error) {
    warn(error);
  }
}
