import { sep } from 'node:path';
import { getSnapshot } from '../coordinator/snapshot-by-path.ts';
import { Snapshots } from '../coordinator/snapshots.ts';
import { nodeFileSystem } from '../env/node-file-system.ts';
import { StillpointError } from '../errors.ts';
import type { ListedSnapshot } from '../snapshot/store/standing.ts';

/** The snapshot that an operand names: by its path, or with a data directory also by `latest`, a name or an id. */
export const findOperand = (snapshot: string, dataDir: string | undefined): Promise<ListedSnapshot> =>
  dataDir === undefined ? getSnapshot(snapshot) : new Snapshots({ dataDir }).get(snapshot);

/**
 * Without `--data-dir` an operand is a path, and with it one without a separator is a name: who meant the other is told
 * how to say it.
 */
export async function explainNotFound<T>(
  snapshot: string,
  dataDir: string | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (snapshot.includes(sep) || !(error instanceof StillpointError) || error.code !== 'NOT_FOUND')
      throw error;
    const hint = await hintFor(snapshot, dataDir, error);
    if (hint === undefined) throw error;
    throw new StillpointError('NOT_FOUND', error.message, {
      hint,
      path: error.path ?? snapshot,
      cause: error.cause,
    });
  }
}

async function hintFor(
  snapshot: string,
  dataDir: string | undefined,
  { path }: StillpointError,
): Promise<string | undefined> {
  if (dataDir === undefined)
    return 'For "latest", a name or an id add `--data-dir DIR` or set STILLPOINT_DATA_DIR; a path must exist.';
  const isMeantAsPath = path === snapshot && (await nodeFileSystem.inspect(snapshot)) !== undefined;
  return isMeantAsPath
    ? `It was looked for among the snapshots of ${dataDir}; for a path write .${sep}${snapshot}`
    : undefined;
}
