import { mapConcurrent } from '../../env/concurrency.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { placeOf } from '../../snapshot/store/layout.ts';
import { readManifest } from '../../snapshot/store/manifest-file.ts';
import type { BackupPlan } from '../plan/plan.ts';
import { artifactPathOf } from './artifacts.ts';
import { readFleetManifest } from './manifest.ts';
import { readPushed } from './pushed-backup.ts';

const FILES_AT_ONCE = 16;

export interface FleetGlance {
  /** When the backup was finished, having been read in full; null when nothing says so. */
  readonly endedAtMs: number | null;
  /** What is wrong with the backup as a whole; null for nothing. */
  readonly problem: string | null;
  /** What is wrong with the copy of a target, by its id. */
  readonly damage: ReadonlyMap<string, string>;
}

/**
 * What can be seen of a finished backup without reading its data: the manifests can be read, and each file that they name is there, with its
 * size. Of a copy that was pushed into a repository only the name is looked at. Changes nothing. `verifyFleetBackup` reads the data.
 */
export async function glanceAtBackup(
  env: Environment,
  layout: string,
  { targets, repository }: BackupPlan,
): Promise<FleetGlance> {
  const damage = new Map<string, string>();
  for (const target of targets) {
    const path = artifactPathOf(target);
    const place = placeOf(layout, path);
    const why = await (repository === undefined
      ? missingIn(env, place, path)
      : readPushed(env.fs, place).then(() => undefined)
    ).catch((error) => toStillpointError(error).message);
    if (why !== undefined) damage.set(target.target_id, why);
  }
  try {
    const manifest = await readFleetManifest(env.fs, layout);
    if (manifest === undefined) throw new StillpointError('NOT_FOUND', 'its fleet-manifest.json is gone');
    return { endedAtMs: manifest.created_at_ms, problem: null, damage };
  } catch (error) {
    return { endedAtMs: null, problem: toStillpointError(error).message, damage };
  }
}

/** What the copy in a folder lacks of what its manifest names. `name` is how that folder is called. */
async function missingIn(env: Environment, folder: string, name: string): Promise<string | undefined> {
  if ((await env.fs.inspect(folder))?.kind !== 'folder') return `${name} is gone`;
  const manifest = await readManifest(env, folder);
  if (manifest === undefined) return `${name} has no snapshot.manifest`;
  const wrong = await mapConcurrent(manifest.entries, FILES_AT_ONCE, async ({ path, size }) => {
    const found = await env.fs.inspect(placeOf(folder, path));
    if (found?.kind !== 'file') return [`${path} is gone`];
    return found.sizeBytes === size ? [] : [`${path} has ${found.sizeBytes} bytes, and not ${size}`];
  });
  const [first, ...others] = wrong.flat();
  return others.length === 0 ? first : `${first}, and ${others.length} more files are missing or changed`;
}
