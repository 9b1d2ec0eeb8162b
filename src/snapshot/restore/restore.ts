import { dirname, join, relative } from 'node:path';
import { isDamaged, type Report } from '../../engine/report.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { listIfPresent, makeFolders, removeTree } from '../../env/io.ts';
import type { RunControl } from '../../env/run-control.ts';
import { warn } from '../../env/safe-calls.ts';
import { StillpointError } from '../../errors.ts';
import type { CloneChoice, Level } from '../../options/choices.ts';
import { size } from '../../options/size.ts';
import type { Environment } from '../environment.ts';
import { noteFailedRestore } from '../ledger/write-proofs.ts';
import type { SnapshotSource } from '../source/snapshot-source.ts';
import { keptLayout } from '../store/home.ts';
import {
  compareNames,
  isSnapshotName,
  isSnapshotPlace,
  type Layout,
  layoutOf,
  nameOf,
  nextName,
  ownerOf,
  partialFolder,
} from '../store/layout.ts';
import { dataDirOf, snapshotNames } from '../store/list.ts';
import type { ManifestEntry } from '../store/manifest.ts';
import { describeFindings } from '../verify/describe-findings.ts';
import { prove } from '../verify/prove.ts';
import { copySnapshot } from './copy-snapshot.ts';
import { DirectoryExchange } from './directory-exchange.ts';
import { mismatch, type RestoreSource } from './restore-source.ts';
import { requireRewritable, rewriteStaged } from './rewrite-manifest.ts';
import { checkTarget, moveToTarget, type Outside } from './target.ts';

export interface Restored {
  /** The proof of what was restored. */
  readonly report: Report;
  /** Bytes in copy-on-write clones of the snapshot's files. */
  readonly clonedBytes: number;
}

/** How a copy is made and proven. */
export interface Staging {
  readonly level: Level;
  /** Default `never`. */
  readonly clone?: CloneChoice;
  /** Whether the engine writes its list of files anew in the copy. */
  readonly rewriteManifest?: boolean;
}

/**
 * Copies a snapshot into `folder`, which must not exist, and proves the copy: checksums are compared with the manifest while
 * copying, then every file is read again from the disk. Rejects with `RESTORE_INTEGRITY_MISMATCH`; what it wrote is the caller's to
 * remove.
 */
export async function stage(
  env: Environment,
  source: RestoreSource,
  folder: string,
  how: Staging,
  control: RunControl,
): Promise<Restored> {
  try {
    return await copyAndProve(env, source, folder, how, control);
  } catch (error) {
    throw (await source.files.explain?.(error).catch(warn)) ?? error;
  }
}

async function copyAndProve(
  env: Environment,
  source: RestoreSource,
  folder: string,
  { level, clone = 'never', rewriteManifest = false }: Staging,
  control: RunControl,
): Promise<Restored> {
  if (rewriteManifest) requireRewritable(source);
  await makeFolders(env.fs, dirname(folder));
  const { manifest, engine, files, location } = source;
  const copying = copySnapshot(env, {
    source: files,
    into: folder,
    entries: manifest.entries,
    engine,
    level,
    isLasting: true,
    clone,
    control,
    beforeCopying: (entries) => checkSpace(env, files, entries, folder),
  });
  const { checks, clonedBytes } = await copying.catch(async (error) => {
    const isDamage = error instanceof StillpointError && error.code === 'RESTORE_INTEGRITY_MISMATCH';
    if (isDamage && files.folder !== undefined && isSnapshotPlace(location)) {
      const path = relative(files.folder, error.path ?? '');
      await noteFailedRestore(env, location, [path], 'files').catch(warn); // the restore fails all the same
    }
    throw error;
  });
  const proof = await prove(env, folder, { manifest, engine, level, control, known: checks });
  await requireGood(env, source, proof.report);
  if (!rewriteManifest) return { report: proof.report, clonedBytes };
  const { report } = await rewriteStaged(env, folder, { engine, manifest, level, control }, proof.checks);
  await requireGood(env, source, report);
  return { report, clonedBytes };
}

async function requireGood(env: Environment, source: RestoreSource, report: Report): Promise<void> {
  if (!isDamaged(report)) return;
  const errors = report.findings.filter(({ severity }) => severity === 'error');
  // A copy that differs from its source says nothing of the source.
  if (report.verdict === 'source-damaged') {
    await source.files.noteDamage?.().catch(warn);
    const { files, location, manifest } = source;
    const wrong = new Set(errors.map(({ path }) => path));
    const paths = manifest.entries.map(({ path }) => path).filter((path) => wrong.has(path));
    if (files.folder !== undefined && isSnapshotPlace(location))
      await noteFailedRestore(env, location, paths, report.level).catch(warn);
  }
  throw mismatch(source.location, describeFindings(errors), {
    data: { findings: errors, verdict: report.verdict },
  });
}

async function checkSpace(
  { fs }: Environment,
  source: SnapshotSource,
  entries: readonly ManifestEntry[],
  folder: string,
): Promise<void> {
  const { folder: from } = source;
  let needed = 0;
  for (const { path, size: sizeBytes } of entries) {
    // A sparse file takes less than its size, and so does its copy.
    if (from === undefined) needed += source.storedBytes?.(path) ?? sizeBytes;
    else needed += (await fs.inspect(join(from, path)))?.allocatedBytes ?? 0;
  }
  const free = await fs.freeBytes(folder);
  if (needed <= free) return;
  const target = ownerOf(folder) ?? dirname(folder); // what is staged is removed
  throw new StillpointError(
    'NO_SPACE',
    `restoring needs ${size(needed)}, and ${size(free)} are free on the disk of ${target}`,
    { path: target, data: { neededBytes: needed, freeBytes: free } },
  );
}

/**
 * Restores into a new folder. `into` must be absent or empty (`TARGET_NOT_EMPTY`). It appears whole and proven, or not at all.
 */
export async function restoreInto(
  env: Environment,
  source: RestoreSource,
  into: string,
  how: Staging,
  control: RunControl,
): Promise<Restored> {
  const { fs } = env;
  const { folder: target, isMount } = await checkTarget(fs, into, await outsideOf(fs, source.files.folder));
  if (isMount) return restoreIntoMount(env, source, target, how, control);
  await makeFolders(fs, dirname(target));
  const staged = partialFolder(dirname(target), env.newId());
  try {
    const restored = await stage(env, source, staged, how, control);
    control.checkCancelled();
    await moveToTarget(fs, staged, target);
    return restored;
  } catch (error) {
    await removeTree(fs, staged);
    throw error;
  }
}

/** A new database does not belong in the folder of the one that the snapshot was taken of. */
export async function outsideOf(fs: FileSystem, snapshot: string | undefined): Promise<Outside | undefined> {
  const home = snapshot && dataDirOf(snapshot);
  return home === undefined
    ? undefined
    : {
        folder: (await keptLayout(fs, home)).dataDir,
        what: 'the data directory that the snapshot was taken of',
        hint: 'Name a folder outside of it, or restore with `--in-place`.',
      };
}

/**
 * Restores into the root of a mount, which no other folder can replace. Stages inside it, then exchanges the files under a journal:
 * when a crash cuts the moves off, an engine refuses to open it, and `recover` finishes it.
 */
async function restoreIntoMount(
  env: Environment,
  source: RestoreSource,
  target: string,
  how: Staging,
  control: RunControl,
): Promise<Restored> {
  const { fs } = env;
  const layout = layoutOf(target);
  const id = env.newId();
  const from = join(layout.restore, id, 'data');
  const undo = await newUndoFolder(env, layout);
  try {
    const restored = await stage(env, source, from, how, control);
    control.checkCancelled();
    const exchange = await DirectoryExchange.begin(fs, layout, { id, from, undo, keep: [] });
    await exchange.forward();
    await exchange.finish();
    return restored;
  } finally {
    // There was none before. From the first move on until the last, it holds the way to go on.
    const exchange = await DirectoryExchange.findInterrupted(fs, layout);
    if (exchange === undefined || exchange.phase === 'staging') await removeTree(fs, layout.lifecycle);
  }
}

/** The place of a new undo folder: `restore-backup/ts-<seconds>`, after all others by name even if the clock was set back. */
export async function newUndoFolder(env: Environment, layout: Layout): Promise<string> {
  const names = (await listIfPresent(env.fs, layout.undo)).map(({ name }) => name).filter(isSnapshotName);
  return join(layout.undo, nextName(env.clock.nowMs(), names));
}

/** The undo folders with files, oldest first. An empty one was left by a crash or by a restore into an empty directory. */
export async function undoFolders({ fs }: Environment, layout: Layout): Promise<string[]> {
  const names = (await snapshotNames(fs, layout.undo)).sort(compareNames);
  const folders: string[] = [];
  for (const name of names) {
    const folder = join(layout.undo, name);
    if ((await fs.list(folder)).length > 0) folders.push(folder);
  }
  return folders;
}

export const newestUndoFolder = async (env: Environment, layout: Layout): Promise<string | undefined> =>
  (await undoFolders(env, layout)).at(-1);

/** The undo folder of that name, or the newest. `NOT_FOUND` names those that are there. */
export async function findUndoFolder(
  env: Environment,
  layout: Layout,
  name: string | undefined,
): Promise<string> {
  const folders = await undoFolders(env, layout);
  const newest = folders.at(-1);
  if (newest === undefined) {
    throw new StillpointError('NOT_FOUND', `there is nothing to undo in ${layout.dataDir}`, {
      path: layout.undo,
      hint: 'Nothing was restored in place here, or its undo folder was removed.',
    });
  }
  const found = name === undefined ? newest : folders.find((folder) => nameOf(folder) === name);
  if (found !== undefined) return found;
  throw new StillpointError('NOT_FOUND', `there is no undo folder "${name}" in ${layout.dataDir}`, {
    path: layout.undo,
    hint: `There are: ${folders.map(nameOf).join(', ')}.`,
  });
}
