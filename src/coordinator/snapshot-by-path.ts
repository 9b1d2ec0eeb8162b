import { basename, resolve } from 'node:path';
import type { Report } from '../engine/report.ts';
import { checkArgument, OptionSet, type OptionsOf } from '../options/option.ts';
import { folder, path as pathValue } from '../options/values.ts';
import { type Environment, environmentOption, systemEnvironment } from '../snapshot/environment.ts';
import { findSnapshot } from '../snapshot/store/find-snapshot.ts';
import { LATEST, layoutOf } from '../snapshot/store/layout.ts';
import { dataDirOf } from '../snapshot/store/list.ts';
import { realFolder } from '../snapshot/store/real-folder.ts';
import { type ListedSnapshot, listedSnapshot } from '../snapshot/store/standing.ts';
import type { VerifyAllResult } from '../snapshot/verify/verify-all.ts';
import { translated } from './long-call.ts';
import {
  type RestoreIntoResult,
  restoreFolder,
  restoreOptions,
  verifyAllOptions,
  verifyFolder,
  verifyFolders,
  verifyOptions,
} from './snapshot-work.ts';

/**
 * Functions for a folder that is named by its path, wherever it lies. `Snapshots` names the snapshots of one data directory.
 * None needs an open database, and none keeps state.
 */

const environment = () => ({ environment: environmentOption() });

export const getSnapshotOptions = new OptionSet(environment);
export type GetSnapshotOptions = OptionsOf<typeof getSnapshotOptions>;

/** What the snapshot in a folder is, and its state. `NOT_FOUND` when there is no such folder; `problem` says why a manifest is not trusted. */
export async function getSnapshot(path: string, options: GetSnapshotOptions = {}): Promise<ListedSnapshot> {
  checkArgument('getSnapshot: path', pathValue(), path);
  const { environment: env = systemEnvironment } = getSnapshotOptions.resolve('getSnapshot', options);
  return translated(async () => listedSnapshot(env, await folderAt(env, path)));
}

export const verifySnapshotOptions = new OptionSet(() => ({ ...verifyOptions.fields, ...environment() }));
export type VerifySnapshotOptions = OptionsOf<typeof verifySnapshotOptions>;

/**
 * Reads a snapshot, or a live or stopped data directory, and reports everything that is wrong with it. Changes only the
 * ledger of proofs beside a snapshot, where that can be written: no later snapshot then shares what is damaged. Resolves also
 * when it is damaged: look at `ok`. Rejects when nothing can be said: `NOT_FOUND`, `EMPTY_SOURCE`, `ENGINE_MISMATCH`, ….
 */
export async function verifySnapshot(path: string, options: VerifySnapshotOptions = {}): Promise<Report> {
  checkArgument('verifySnapshot: path', pathValue(), path);
  const { environment: env, ...resolved } = verifySnapshotOptions.resolve('verifySnapshot', options);
  return verifyFolder(env ?? systemEnvironment, (env) => folderAt(env, path), resolved);
}

export const verifyAllSnapshotsOptions = new OptionSet(() => ({
  ...verifyAllOptions.fields,
  ...environment(),
}));
export type VerifyAllSnapshotsOptions = OptionsOf<typeof verifyAllSnapshotsOptions>;

/**
 * Verifies all snapshots of a data directory, or those in any folder that holds snapshots, such as `.lifecycle/archive`. Reads
 * each distinct file once: snapshots share files. When each was proven is noted beside the snapshots, and where that is
 * impossible `warnings` says so; nothing else is changed. Resolves also when something is damaged: look at `ok`. With
 * `maxBytes` or `olderThanMs` files are skipped, and their last proof counts; `totals` says how many, and how old the oldest
 * of these proofs is. Rejects with `NOT_FOUND` when there is no snapshot.
 */
export async function verifyAllSnapshots(
  dir: string,
  options: VerifyAllSnapshotsOptions = {},
): Promise<VerifyAllResult> {
  checkArgument('verifyAllSnapshots: dir', folder(), dir);
  const { environment: env, ...resolved } = verifyAllSnapshotsOptions.resolve('verifyAllSnapshots', options);
  return verifyFolders(env ?? systemEnvironment, dir, resolved);
}

export const restoreSnapshotOptions = new OptionSet(() => ({ ...restoreOptions.fields, ...environment() }));
export type RestoreSnapshotOptions = OptionsOf<typeof restoreSnapshotOptions>;

/** Restores the snapshot in a folder into a new folder, which appears complete and proven or not at all. */
export async function restoreSnapshot(
  path: string,
  options: RestoreSnapshotOptions,
): Promise<RestoreIntoResult> {
  checkArgument('restoreSnapshot: path', pathValue(), path);
  const { environment: env, ...resolved } = restoreSnapshotOptions.resolve('restoreSnapshot', options);
  return restoreFolder(env ?? systemEnvironment, (env) => folderAt(env, path), resolved);
}

/** The real path of a folder. `…/backup/latest`, the marker itself, stands for the snapshot that it names. */
async function folderAt(env: Environment, given: string): Promise<string> {
  return (await markedSnapshot(env, given)) ?? realFolder(env.fs, given, 'folder');
}

/** The snapshot that a marker names, when `given` is the path of one. */
export async function markedSnapshot(env: Environment, given: string): Promise<string | undefined> {
  const path = resolve(given);
  const owner = basename(path) === LATEST ? dataDirOf(path) : undefined;
  if (owner === undefined) return undefined;
  return findSnapshot(env, layoutOf(await realFolder(env.fs, owner)), LATEST);
}
