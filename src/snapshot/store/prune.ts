import { join } from 'node:path';
import { MANIFEST } from '../../engine/engine.ts';
import { listIfPresent, removeTree } from '../../env/io.ts';
import type { Environment } from '../environment.ts';
import { removeLedger } from '../ledger/ledger-file.ts';
import { deletedFolder, isLeftOver, type Layout } from './layout.ts';
import { latestName, listSnapshotFolders, type SnapshotSummary } from './list.ts';
import { isPinned } from './snapshot-pins.ts';

export interface PruneResult {
  readonly removed: readonly SnapshotSummary[];
  readonly kept: readonly SnapshotSummary[];
  /** Not removed because somebody is reading them or has pinned them. */
  readonly busy: readonly SnapshotSummary[];
}

/**
 * Removes all but the newest `keep` snapshots. The one that `latest` names always stays, and so does one that is being
 * read or is pinned. The caller holds the lifecycle lock. With `dryRun` nothing is removed and the answer is the same.
 */
export async function prune(
  env: Environment,
  layout: Layout,
  keep: number,
  dryRun: boolean,
): Promise<PruneResult> {
  const all = await listSnapshotFolders(env, layout);
  // By sequence, the order in which they were taken: a clock that was set back gives later ones smaller names.
  all.sort((a, b) => (a.sequence ?? -1) - (b.sequence ?? -1));
  const latest = await latestName(env.fs, layout.backup);
  const surplus = all.slice(0, Math.max(0, all.length - keep)).filter(({ name }) => name !== latest);
  const removed: SnapshotSummary[] = [];
  const busy: SnapshotSummary[] = [];
  for (const snapshot of surplus) {
    (await removeSnapshot(env, layout, snapshot, dryRun)) ? removed.push(snapshot) : busy.push(snapshot);
  }
  const gone = new Set(removed);
  return { removed, busy, kept: all.filter((snapshot) => !gone.has(snapshot)) };
}

/**
 * False when somebody is reading the snapshot or has pinned it. The reverse of publishing: first the name vanishes, then the
 * content.
 */
export async function removeSnapshot(
  env: Environment,
  layout: Layout,
  { name, location }: SnapshotSummary,
  dryRun = false,
): Promise<boolean> {
  const { fs, locks } = env;
  const manifest = join(location, MANIFEST);
  const hasManifest = (await fs.inspect(manifest))?.kind === 'file';
  const lock = hasManifest ? await locks.tryAcquire(fs, manifest, 'exclusive') : undefined;
  if (hasManifest && lock === undefined) return false;
  try {
    // Under the lock: whoever pins it holds it shared.
    if (await isPinned(env, layout, name)) return false;
    if (dryRun) return true;
    await removeLedger(fs, location);
    const doomed = deletedFolder(layout.backup, name);
    await removeTree(fs, doomed);
    await fs.rename(location, doomed);
    await fs.syncFolder(layout.backup);
    await removeTree(fs, doomed);
  } finally {
    await lock?.release();
  }
  return true;
}

/** Removes what a run that died left behind. The caller holds the lifecycle lock, so nobody is using it. */
export async function sweep(env: Environment, layout: Layout): Promise<string[]> {
  const swept: string[] = [];
  for (const parent of [layout.backup, layout.archive, layout.export]) {
    for (const { name } of await listIfPresent(env.fs, parent)) {
      if (!isLeftOver(name)) continue;
      await removeTree(env.fs, join(parent, name));
      swept.push(join(parent, name));
    }
  }
  return swept;
}
