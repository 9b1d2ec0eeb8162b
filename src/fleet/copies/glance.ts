import { MANIFEST } from '../../engine/engine.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import { walk } from '../../env/folder-tree.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { placeOf } from '../../snapshot/store/layout.ts';
import { readManifest } from '../../snapshot/store/manifest-file.ts';
import type { BackupPlan } from '../plan/plan.ts';
import { artifactPathOf } from './artifacts.ts';
import { readFleetManifest } from './manifest.ts';
import { PUSHED, readPushed } from './pushed-backup.ts';

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
 * What can be seen of a finished backup without reading its data: the manifests can be read, each file that they name is there, with its
 * size, and no other file is. Of a copy that was pushed into a repository only the name is looked at. Changes nothing. `verifyFleetBackup` reads the data.
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
      ? wrongIn(env, place, path)
      : readPushed(env.fs, place).then(async () => (await othersIn(env, place, [PUSHED]))[0])
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

/** Where the copy in a folder is not as its manifest says. `name` is how that folder is called. */
async function wrongIn(env: Environment, folder: string, name: string): Promise<string | undefined> {
  if ((await env.fs.inspect(folder))?.kind !== 'folder') return `${name} is gone`;
  const manifest = await readManifest(env, folder);
  if (manifest === undefined) return `${name} has no snapshot.manifest`;
  const wrong = await mapConcurrent(manifest.entries, FILES_AT_ONCE, async ({ path, size }) => {
    const found = await env.fs.inspect(placeOf(folder, path));
    if (found?.kind !== 'file') return [`${path} is gone`];
    return found.sizeBytes === size ? [] : [`${path} has ${found.sizeBytes} bytes, and not ${size}`];
  });
  const extra = await othersIn(env, folder, [MANIFEST, ...manifest.entries.map(({ path }) => path)]);
  const [first, ...others] = [...wrong.flat(), ...extra];
  return others.length === 0
    ? first
    : `${first}, and ${others.length} more files are missing, changed or do not belong there`;
}

async function othersIn({ fs }: Environment, folder: string, named: readonly string[]): Promise<string[]> {
  const known = new Set(named);
  const others: string[] = [];
  for await (const { path, kind } of walk(fs, folder))
    if (kind !== 'folder' && !known.has(path)) others.push(`${path} does not belong there`);
  return others;
}
