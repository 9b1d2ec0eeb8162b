import { LIFECYCLE } from '../engine/engine.ts';
import { RunControl } from '../env/run-control.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { ownerOf } from '../snapshot/store/layout.ts';
import { readManifest } from '../snapshot/store/manifest-file.ts';
import { compareTree } from '../snapshot/verify/compare-tree.ts';

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

/** `INVALID_REQUEST` for a snapshot, wherever it lies: a folder with exactly the files of its manifest, in their sizes. */
export async function refuseSnapshot(env: Environment, path: string): Promise<void> {
  const manifest = await readManifest(env, path).catch((error) => {
    if (error instanceof StillpointError && error.code === 'MANIFEST_INVALID') return undefined;
    throw error;
  });
  if (manifest === undefined || manifest.entries.length === 0) return;
  const { findings } = await compareTree(env.fs, path, manifest.entries, new RunControl());
  if (findings.length > 0) return; // a database went on from there, or the file is no manifest of these
  throw new StillpointError('INVALID_REQUEST', `${path} is a snapshot: working on it would change it`, {
    path,
    hint: HINT,
  });
}
