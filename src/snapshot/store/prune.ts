import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { MANIFEST } from '../../engine/engine.ts';
import type { FileStat, FileSystem } from '../../env/file-system.ts';
import { listIfPresent, removeIfPresent, removeTree } from '../../env/io.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { removeLedger } from '../ledger/ledger-file.ts';
import { bytesFreed, filesBelow } from './disk-use.ts';
import type { SnapshotSummary } from './known-snapshot.ts';
import { deletedFolder, isLeftOver, isSnapshotName, type Layout } from './layout.ts';
import { leftBehind } from './left-behind.ts';
import { latestName } from './list.ts';
import { withReserve } from './reserve.ts';
import { decideRetention, type RetentionDecision } from './retention.ts';
import { pinnedSnapshots } from './snapshot-pins.ts';
import { standings } from './standing.ts';

export interface PruneResult {
  readonly removed: readonly SnapshotSummary[];
  readonly kept: readonly SnapshotSummary[];
  /** Not removed because somebody is reading them or has pinned them. */
  readonly busy: readonly SnapshotSummary[];
  /** For each snapshot, in the order in which they were taken, why it stays or goes. */
  readonly decisions: readonly RetentionDecision[];
  /** What the disk gets back: of files that several snapshots share, only those whose last name goes. */
  readonly freedBytes: number;
}

/**
 * Removes all but the newest `keep` snapshots that are not known to be damaged; `decideRetention` says which stay. One that is being
 * read or is pinned stays too. The caller holds the lifecycle lock. With `dryRun` nothing is removed and the answer is the same.
 */
export async function prune(
  env: Environment,
  layout: Layout,
  { keep, dryRun, expected }: { keep: number; dryRun: boolean; expected?: readonly string[] | undefined },
): Promise<PruneResult> {
  const known = await standings(env, layout);
  const latest = await latestName(env.fs, layout.backup);
  const ahead = await leftBehind(env.fs, layout);
  const decided = decideRetention({ known, latest, ahead }, keep).map(
    ({ standing: { snapshot }, ...decision }) => ({ snapshot, ...decision }),
  );
  const surplus = decided.filter(({ stays }) => !stays);
  const free: SnapshotSummary[] = [];
  for (const { snapshot } of expected === undefined ? [] : surplus)
    if (await removeSnapshot(env, layout, snapshot, true)) free.push(snapshot);
  requireExpected(free, expected);
  const mayGo = ({ name }: SnapshotSummary) => expected?.includes(name) ?? true; // another one was busy then
  // Before the first is removed: each removal takes a name off the files that it shares with others.
  const files = new Map<SnapshotSummary, readonly FileStat[]>();
  for (const { snapshot } of surplus) files.set(snapshot, await filesBelow(env.fs, snapshot.location));
  const removed: SnapshotSummary[] = [];
  const busy: SnapshotSummary[] = [];
  for (const { snapshot } of surplus)
    mayGo(snapshot) && (await removeSnapshot(env, layout, snapshot, dryRun))
      ? removed.push(snapshot)
      : busy.push(snapshot);
  const gone = new Set(removed);
  return {
    removed,
    busy,
    kept: decided.map(({ snapshot }) => snapshot).filter((snapshot) => !gone.has(snapshot)),
    decisions: decided.map(({ name, stays, reason }) => ({ name, stays, reason })),
    freedBytes: bytesFreed(removed.flatMap((snapshot) => files.get(snapshot)!)),
  };
}

/** What goes is what was shown: a snapshot that was taken or damaged meanwhile can be the reason that another one goes. `CONFLICT`. */
export function requireExpected(
  doomed: readonly { readonly name: string }[],
  expected: readonly string[] | undefined,
): void {
  if (expected === undefined) return;
  const names = doomed.map(({ name }) => name);
  if (isDeepStrictEqual(new Set(names), new Set(expected))) return;
  throw new StillpointError(
    'CONFLICT',
    `what would go is not what was expected: ${names.join(', ') || 'nothing'} instead of ${expected.join(', ') || 'nothing'}`,
    { hint: 'Nothing was removed. Look again with a dry run.' },
  );
}

/**
 * False when somebody is reading the snapshot or has pinned it. The reverse of publishing: first the name vanishes, then the
 * content.
 */
export async function removeSnapshot(
  env: Environment,
  layout: Layout,
  { name, location }: Pick<SnapshotSummary, 'name' | 'location'>,
  dryRun = false,
): Promise<boolean> {
  const { fs, locks } = env;
  const manifest = join(location, MANIFEST);
  const hasManifest = (await fs.inspect(manifest))?.kind === 'file';
  const lock = hasManifest ? await locks.tryAcquire(fs, manifest, 'exclusive') : undefined;
  if (hasManifest && lock === undefined) return false;
  try {
    // Under the lock: whoever pins it holds it shared.
    if ((await pinnedSnapshots(env, layout)).has(name)) return false;
    if (dryRun) return true;
    await removeLedger(fs, location);
    const doomed = deletedFolder(layout.backup, name);
    await removeTree(fs, doomed);
    try {
      await withReserve(fs, layout, () => fs.rename(location, doomed));
    } catch (error) {
      if (systemCode(error) !== 'EXDEV') throw error;
      await removeInPlace(fs, location);
      return true;
    }
    await fs.syncFolder(layout.backup);
    await removeTree(fs, doomed);
  } finally {
    await lock?.release();
  }
  return true;
}

/** A folder of a lower layer of overlayfs cannot be renamed. Without its manifest it is no snapshot any more. */
async function removeInPlace(fs: FileSystem, location: string): Promise<void> {
  await removeIfPresent(fs, join(location, MANIFEST));
  await fs.syncFolder(location);
  await removeTree(fs, location);
}

/** Removes what a run that died left behind in `parents`. The caller holds the lifecycle lock, so nobody is using it. */
export async function sweep(env: Environment, parents: readonly string[]): Promise<string[]> {
  const swept: string[] = [];
  for (const parent of parents) {
    for (const { name } of await listIfPresent(env.fs, parent)) {
      if (!isLeftOver(name)) continue;
      await removeTree(env.fs, join(parent, name));
      swept.push(join(parent, name));
    }
  }
  return swept;
}

/** Removes the snapshots that nobody reads and nobody needs any more. The caller holds the lifecycle lock. */
export async function removeTransient(env: Environment, layout: Layout): Promise<string[]> {
  const removed: string[] = [];
  for (const { name } of await listIfPresent(env.fs, layout.transient)) {
    const location = join(layout.transient, name);
    if (isSnapshotName(name) && (await removeSnapshot(env, layout, { name, location })))
      removed.push(location);
  }
  return removed;
}
