import { dirname, join } from 'node:path';
import type { Engine } from '../engine/engine.ts';
import type { Environment } from '../snapshot/environment.ts';
import { isSnapshotPlace, layoutAround } from '../snapshot/store/layout.ts';
import { leftBehind } from '../snapshot/store/left-behind.ts';
import { summarize } from '../snapshot/store/list.ts';
import type { Manifest } from '../snapshot/store/manifest.ts';
import type { BackupManifest } from './backup-manifest.ts';

/** A snapshot that is about to be backed up. */
interface Taken {
  readonly folder: string;
  readonly manifest: Manifest;
  /** How far its database had come; undefined where that is not known. */
  readonly position: unknown;
}

/** Why the database cannot have come to this state from that of the last backup; undefined when it can, or nobody knows. */
export async function setbackSince(
  env: Environment,
  { name, history }: Engine,
  taken: Taken,
  previous: BackupManifest | undefined,
): Promise<string | undefined> {
  if (previous === undefined || previous.engine !== name) return undefined;
  const { position } = taken;
  const fellBehind =
    position === undefined || previous.position === undefined
      ? undefined
      : history?.setbackOf(position, previous.position);
  return fellBehind ?? leftBehindSince(env, taken, previous);
}

/** A snapshot between the two after which the database went back, however far it has come since. */
async function leftBehindSince(
  env: Environment,
  { folder, manifest }: Taken,
  previous: BackupManifest,
): Promise<string | undefined> {
  const layout = isSnapshotPlace(folder) ? layoutAround(dirname(folder)) : undefined;
  const now = manifest.snapshot?.sequence;
  const before = previous.snapshot.snapshot?.sequence;
  if (layout === undefined || now === undefined || before === undefined) return undefined;
  for (const name of await leftBehind(env.fs, layout)) {
    const { sequence } = await summarize(env, join(layout.backup, name));
    if (sequence !== null && before <= sequence && sequence < now)
      return `it went back after the snapshot ${name}`;
  }
  return undefined;
}
