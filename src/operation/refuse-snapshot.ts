import { LIFECYCLE } from '../engine/engine.ts';
import { detectEngine } from '../engine/index.ts';
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

/**
 * `INVALID_REQUEST` for a snapshot, wherever it lies: a folder with the files of its manifest, in their sizes. A file beside them that no
 * engine writes, such as `.DS_Store`, makes it no other folder.
 */
export async function refuseSnapshot(env: Environment, path: string): Promise<void> {
  const manifest = await readManifest(env, path).catch((error) => {
    if (error instanceof StillpointError && error.code === 'MANIFEST_INVALID') return undefined;
    throw error;
  });
  if (manifest === undefined || manifest.entries.length === 0) return;
  const { findings } = await compareTree(env.fs, path, manifest.entries, new RunControl());
  const isForeign = await foreignTo(env, path);
  // A database went on from there, or the file is no manifest of these.
  if (findings.some(({ code, path }) => code !== 'FILE_EXTRA' || !isForeign(path))) return;
  throw new StillpointError('INVALID_REQUEST', `${path} is a snapshot: working on it would change it`, {
    path,
    hint: HINT,
  });
}

/** Whether a file is none of the engine that the files look like; of an engine that does not say which are its own, every file is. */
async function foreignTo(env: Environment, path: string): Promise<(file: string) => boolean> {
  const { ownsName } = (await detectEngine(env.fs, path).catch(() => undefined)) ?? {};
  return (file) => ownsName !== undefined && !file.startsWith(LIFECYCLE) && !ownsName(file.split('/')[0]!);
}
