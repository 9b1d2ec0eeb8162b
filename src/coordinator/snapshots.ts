import { basename, dirname, resolve } from 'node:path';
import type { EngineName } from '../engine/engine.ts';
import { engineByName } from '../engine/index.ts';
import { LEVELS, type Level, type Report } from '../engine/report.ts';
import {
  aBoolean,
  aFolder,
  aFunction,
  aSignal,
  aText,
  type Checks,
  checkOptions,
  must,
  oneOf,
  optional,
  wholeNumber,
} from '../env/checks.ts';
import { RunControl } from '../env/worker-pool.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { Lifecycle } from '../operation/lifecycle.ts';
import {
  aLifecycle,
  anEngineChoice,
  anEnvironment,
  aSnapshot,
  sameFolder,
} from '../operation/option-checks.ts';
import { THROTTLE, type ThrottleOptions, withThrottle } from '../operation/throttle.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { noteSnapshot } from '../snapshot/ledger/note.ts';
import { restoreInto } from '../snapshot/restore/restore.ts';
import { checkSource, openSnapshotFolder } from '../snapshot/restore/restore-source.ts';
import { lockForReading } from '../snapshot/source/folder-source.ts';
import { isSnapshotPlace, LATEST, type Layout, layoutOf } from '../snapshot/store/layout.ts';
import {
  dataDirOf,
  findSnapshot,
  latestName,
  listSnapshotFolders,
  type SnapshotSummary,
  snapshotsFolder,
  summarize,
} from '../snapshot/store/list.ts';
import { type PruneResult, prune, removeSnapshot } from '../snapshot/store/prune.ts';
import { realFolder } from '../snapshot/store/real-folder.ts';
import { CLONE_CHOICES, type CloneChoice } from '../snapshot/tasks/reflinker.ts';
import { prove } from '../snapshot/verify/prove.ts';
import { type VerifyAllResult, verifySnapshots } from '../snapshot/verify/verify-all.ts';

/** What needs no open database and keeps no state: each function reads the folders and is done. */

export interface OperationOptions {
  readonly environment?: Environment;
  /** Of the coordinators at work on the same data directory in this process; default: one of its own. */
  readonly lifecycle?: Lifecycle;
  /** Cancels the work; it then rejects with `CANCELLED`. */
  readonly signal?: AbortSignal;
  /** Called now and then with the bytes read so far and in all. */
  readonly onProgress?: (bytesProcessed: number, bytesTotal: number) => void;
}

const COMMON: Checks<OperationOptions> = {
  environment: optional(anEnvironment),
  lifecycle: optional(aLifecycle),
  signal: optional(aSignal),
  onProgress: optional(aFunction),
};

export interface SnapshotList {
  readonly latest: string | null;
  readonly snapshots: readonly SnapshotSummary[];
}

/** The snapshots of a data directory, oldest first, and which of them `latest` names. */
export async function listSnapshots(dataDir: string, options: OperationOptions = {}): Promise<SnapshotList> {
  aFolder('listSnapshots: dataDir', dataDir);
  checkOptions('listSnapshots', options, COMMON);
  return translated(async () => {
    const env = options.environment ?? systemEnvironment;
    const layout = layoutOf(await realFolder(env.fs, dataDir));
    const snapshots = await listSnapshotFolders(env, layout);
    return { latest: (await latestName(env.fs, layout.backup)) ?? null, snapshots };
  });
}

export interface FindOptions extends OperationOptions {
  /** Needed for `latest`, names and ids; a path needs none. */
  readonly dataDir?: string;
}

const FIND: Checks<FindOptions> = { ...COMMON, dataDir: optional(aFolder) };

/** One snapshot, named by `latest`, name, id or path. */
export async function showSnapshot(snapshot: string, options: FindOptions = {}): Promise<SnapshotSummary> {
  aSnapshot('showSnapshot: snapshot', snapshot);
  checkOptions('showSnapshot', options, FIND);
  return translated(async () => {
    const env = options.environment ?? systemEnvironment;
    return summarize(env, await locate(env, snapshot, options.dataDir));
  });
}

export interface VerifyOptions extends FindOptions, ThrottleOptions {
  /** Default `full`. */
  readonly level?: Level;
  /** Default: what the manifest says, else what the files look like. */
  readonly engine?: 'auto' | EngineName;
}

const VERIFY: Checks<VerifyOptions> = {
  ...FIND,
  ...THROTTLE,
  level: optional(oneOf(LEVELS)),
  engine: optional(anEngineChoice),
};

/**
 * Reads a snapshot, or a live or stopped data directory, and reports all that is wrong with it. Changes nothing but the
 * ledger of proofs beside a snapshot, where that can be written: so no later snapshot shares what is damaged. Resolves also
 * when it is damaged: look at `ok`. Rejects when nothing can be said: `NOT_FOUND`, `EMPTY_SOURCE`, `ENGINE_MISMATCH`, ….
 */
export async function verifySnapshot(path: string, options: VerifyOptions = {}): Promise<Report> {
  aSnapshot('verifySnapshot: path', path);
  checkOptions('verifySnapshot', options, VERIFY);
  return translated(async () => {
    const env = options.environment ?? systemEnvironment;
    const folder = await locate(env, path, options.dataDir);
    const { engine: name = 'auto', level } = options;
    const engine = name === 'auto' ? undefined : engineByName(name);
    return watched(env, options, async (env, control, watch) => {
      const lock = await lockForReading(env, folder);
      const sinceMs = env.clock.nowMs();
      try {
        const proof = await prove(env, folder, {
          control,
          ...(level && { level }),
          ...(engine && { engine }),
          onPlanned: (_files, bytesTotal) => watch(bytesTotal),
        });
        const { report, manifest } = proof;
        if (manifest !== undefined && isSnapshotPlace(folder)) {
          const read = manifest.entries.map((entry) => ({ path: entry.path }));
          const note = noteSnapshot(env, folder, read, proof, { level: report.level, sinceMs });
          await note.catch(() => undefined); // nobody asked for it
        }
        return report;
      } finally {
        await lock?.release();
      }
    });
  });
}

export interface VerifyAllOptions extends OperationOptions, ThrottleOptions {
  /** Default `full`. */
  readonly level?: Level;
  /** Stop reading after about so many bytes; what has the oldest proof is read first. Default: read everything. */
  readonly maxBytes?: number;
  /** Leave out files whose last proof is younger than this. Default 0: leave out nothing. */
  readonly olderThanMs?: number;
}

const VERIFY_ALL: Checks<VerifyAllOptions> = {
  ...COMMON,
  ...THROTTLE,
  level: optional(oneOf(LEVELS)),
  maxBytes: optional(wholeNumber(1)),
  olderThanMs: optional(
    must('a number of milliseconds, 0 or more', (ms) => Number.isFinite(ms) && Number(ms) >= 0),
  ),
};

/**
 * Verifies all snapshots of a data directory (or those in any folder that holds snapshots, such as `.lifecycle/archive`) and
 * reads each distinct file once: snapshots share files. When each was proven is put on record beside the snapshots, and
 * where that is impossible `warnings` says so; nothing else is changed. Resolves also when something is damaged: look at
 * `ok`. With `maxBytes` or `olderThanMs` files are skipped, and for those the last proof stands; `totals` tells how many,
 * and how old the oldest of these proofs is. Rejects with `NOT_FOUND` when there is no snapshot.
 */
export async function verifyAll(dir: string, options: VerifyAllOptions = {}): Promise<VerifyAllResult> {
  aFolder('verifyAll: dir', dir);
  checkOptions('verifyAll', options, VERIFY_ALL);
  const { level = 'full', maxBytes = Number.POSITIVE_INFINITY, olderThanMs = 0 } = options;
  return translated(async () => {
    const env = options.environment ?? systemEnvironment;
    const parent = await snapshotsFolder(env.fs, await realFolder(env.fs, dir));
    return watched(env, options, (throttled, control, onPlanned) =>
      verifySnapshots(throttled, { parent, level, maxBytes, olderThanMs, control, onPlanned }),
    );
  });
}

export interface RestoreIntoOptions extends FindOptions, ThrottleOptions {
  /** The new folder; must not exist or be empty. */
  readonly into: string;
  /** How thoroughly the restored files are proven. Default `full`. */
  readonly level?: Level;
  /** With `auto`, copy-on-write clones of the snapshot's files where the file system makes them. Default `never`. */
  readonly clone?: CloneChoice;
}

export interface RestoreIntoResult {
  readonly from: string;
  readonly into: string;
  readonly files: number;
  readonly bytes: number;
  readonly clonedBytes: number;
  readonly undo: null;
  readonly report: Report;
}

const RESTORE_INTO: Checks<RestoreIntoOptions> = {
  ...FIND,
  ...THROTTLE,
  into: aFolder,
  level: optional(oneOf(LEVELS)),
  clone: optional(oneOf(CLONE_CHOICES)),
};

/** Restores a snapshot into a new folder, which appears whole and proven or not at all. */
export async function restoreSnapshot(
  snapshot: string,
  options: RestoreIntoOptions,
): Promise<RestoreIntoResult> {
  aSnapshot('restoreSnapshot: snapshot', snapshot);
  checkOptions('restoreSnapshot', options, RESTORE_INTO);
  return translated(async () => {
    const env = options.environment ?? systemEnvironment;
    const folder = await locate(env, snapshot, options.dataDir);
    return watched(env, options, async (env, control, watch) => {
      const source = await checkSource(env, await openSnapshotFolder(env, folder), control);
      try {
        watch(2 * source.bytes); // read once for the copy and once for its proof
        const { into, level = 'full', clone = 'never' } = options;
        const { report, clonedBytes } = await restoreInto(env, source, into, level, clone, control);
        const { location: from, manifest, bytes } = source;
        return {
          from,
          into: resolve(into),
          files: manifest.entries.length,
          bytes,
          clonedBytes: clonedBytes,
          undo: null,
          report,
        };
      } finally {
        await source.release();
      }
    });
  });
}

export interface PruneOptions extends OperationOptions {
  readonly keep: number;
  /** Tells what would go and removes nothing. */
  readonly dryRun?: boolean;
}

const PRUNE: Checks<PruneOptions> = { ...COMMON, keep: wholeNumber(1), dryRun: optional(aBoolean) };

/** Removes all but the newest `keep` snapshots; never the one that `latest` names, nor one that is being read or is pinned. */
export async function pruneSnapshots(dataDir: string, options: PruneOptions): Promise<PruneResult> {
  checkOptions('pruneSnapshots', options, PRUNE);
  const { keep, dryRun = false } = options;
  const nothing = () => ({ removed: [], kept: [], busy: [] });
  return locked('pruneSnapshots', dataDir, options, nothing, (env, layout) =>
    prune(env, layout, keep, dryRun),
  );
}

/** Removes one snapshot by name or id. `CONFLICT` for the one that `latest` names, and for one that is being read or is pinned. */
export async function deleteSnapshot(
  dataDir: string,
  snapshot: string,
  options: OperationOptions = {},
): Promise<SnapshotSummary> {
  aText('deleteSnapshot: snapshot', snapshot);
  checkOptions('deleteSnapshot', options, COMMON);
  const absent = () => {
    throw new StillpointError('NOT_FOUND', `there is no snapshot "${snapshot}"`, { path: snapshot });
  };
  return locked('deleteSnapshot', dataDir, options, absent, async (env, layout) => {
    const summary = await summarize(env, await findSnapshot(env, layout, snapshot, [layout.backup]));
    if (dirname(summary.location) !== layout.backup) absent();
    if (summary.name === (await latestName(env.fs, layout.backup))) {
      throw new StillpointError('CONFLICT', `${summary.name} is the newest proven snapshot and stays`, {
        path: summary.location,
        hint: 'Take another snapshot first.',
      });
    }
    if (await removeSnapshot(env, layout, summary)) return summary;
    throw new StillpointError('CONFLICT', `${summary.name} is being read or is pinned`, {
      path: summary.location,
    });
  });
}

/** @param nothing What it comes to where nothing was ever kept: no folder is made to find that out. */
async function locked<T>(
  what: string,
  dataDir: string,
  options: OperationOptions,
  nothing: () => T,
  work: (env: Environment, layout: Layout) => Promise<T>,
): Promise<T> {
  aFolder(`${what}: dataDir`, dataDir);
  sameFolder(what, dataDir, options.lifecycle);
  return translated(async () => {
    const environment = options.environment ?? systemEnvironment;
    const lifecycle = options.lifecycle ?? new Lifecycle({ dataDir, environment });
    if (await lifecycle.isUnused()) return nothing();
    const { layout, release } = await lifecycle.admit('prune');
    try {
      return await work(environment, layout);
    } finally {
      await release();
    }
  });
}

/** Without a data directory a snapshot is a path; `…/backup/latest`, the marker itself, stands for what it names. */
async function locate(env: Environment, snapshot: string, dataDir: string | undefined): Promise<string> {
  const path = resolve(snapshot);
  const owner = basename(path) === LATEST && snapshot !== LATEST ? dataDirOf(path) : undefined;
  if (owner !== undefined) return findSnapshot(env, layoutOf(await realFolder(env.fs, owner)), LATEST);
  if (dataDir === undefined) return realFolder(env.fs, snapshot, 'folder');
  return findSnapshot(env, layoutOf(await realFolder(env.fs, dataDir)), snapshot);
}

const TICK_MS = 100;

/** Lets the caller cancel the work and see how far it is, and keeps the manners asked for. */
async function watched<T>(
  env: Environment,
  options: OperationOptions & ThrottleOptions,
  work: (env: Environment, control: RunControl, watch: (bytesTotal: number) => void) => Promise<T>,
): Promise<T> {
  const { signal, onProgress } = options;
  const control = new RunControl();
  const cancel = () => control.cancel();
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  let stop = () => {};
  const watch = (bytesTotal: number) => {
    if (onProgress !== undefined)
      stop = env.clock.every(TICK_MS, () => onProgress(control.bytes, bytesTotal));
  };
  try {
    return await withThrottle(env, control, options, (throttled) => work(throttled, control, watch));
  } finally {
    stop();
    signal?.removeEventListener('abort', cancel);
  }
}

async function translated<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toStillpointError(error);
  }
}
