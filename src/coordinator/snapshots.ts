import { dirname, join } from 'node:path';
import * as z from 'zod/mini';
import type { Report } from '../engine/report.ts';
import { StillpointError } from '../errors.ts';
import { DataDirectory } from '../operation/data-directory.ts';
import { directoryOf, lifecycleOption, requireSameFolder } from '../operation/lifecycle.ts';
import { RUN_STATUSES } from '../operation/operation-state.ts';
import { RECORD_KINDS, type RunRecord } from '../operation/run-record.ts';
import { onUpkeepRecord, type Upkeep, type UpkeepOutcome } from '../operation/upkeep.ts';
import type { SnapshotKind } from '../options/choices.ts';
import {
  checkArgument,
  OptionSet,
  type OptionsOf,
  optional,
  required,
  withDefault,
} from '../options/option.ts';
import { folder, snapshotName, text, wholeNumber } from '../options/values.ts';
import {
  type DeleteOptions,
  deleteOptions,
  type ListOptions,
  listOptions,
  type PruneOptions,
  type PruneUndoOptions,
  pruneOptions,
  pruneUndoOptions,
} from '../options/verify.ts';
import { compareSnapshots, type SnapshotDifference } from '../snapshot/compare-snapshots.ts';
import { type Environment, environmentOption, systemEnvironment } from '../snapshot/environment.ts';
import {
  type DeletableSnapshot,
  deleteRefusal,
  withDeleteRefusals,
} from '../snapshot/store/delete-refusal.ts';
import { bytesFreed, filesBelow } from '../snapshot/store/disk-use.ts';
import { findSnapshot } from '../snapshot/store/find-snapshot.ts';
import type { SnapshotSummary } from '../snapshot/store/known-snapshot.ts';
import { LATEST, type Layout } from '../snapshot/store/layout.ts';
import { leftBehind } from '../snapshot/store/left-behind.ts';
import { latestName, summarize } from '../snapshot/store/list.ts';
import { type PruneResult, prune, removeSnapshot } from '../snapshot/store/prune.ts';
import { type PruneUndoResult, pruneUndo } from '../snapshot/store/prune-undo.ts';
import { pinnedSnapshots } from '../snapshot/store/snapshot-pins.ts';
import {
  type ListedSnapshot,
  listedSnapshot,
  listWithState,
  lookAtAll,
  newestGood,
  type SnapshotStates,
  standings,
} from '../snapshot/store/standing.ts';
import type { VerifyAllResult } from '../snapshot/verify/verify-all.ts';
import { translated } from './long-call.ts';
import { markedSnapshot } from './snapshot-by-path.ts';
import {
  type RestoreIntoOptions,
  type RestoreIntoResult,
  restoreFolder,
  restoreOptions,
  type VerifyAllOptions,
  type VerifyOptions,
  verifyAllOptions,
  verifyFolder,
  verifyFolders,
  verifyOptions,
} from './snapshot-work.ts';
import { type SnapshotsStatus, type StatusOptions, statusFrom, statusOptions } from './status.ts';
import { gather } from './status-findings.ts';
import { undoStandings } from './undo-standing.ts';

export const snapshotsOptions = new OptionSet(() => ({
  dataDir: required(folder(), { description: 'The data directory whose snapshots are meant.' }),
  lifecycle: lifecycleOption(),
  environment: environmentOption(),
}));
export type SnapshotsOptions = OptionsOf<typeof snapshotsOptions>;

export const runsOptions = new OptionSet(() => ({
  kind: optional(z.enum(RECORD_KINDS), { description: 'Only runs of this kind.', without: 'all kinds' }),
  status: optional(z.enum(RUN_STATUSES), {
    description: 'Only runs that have this status.',
    without: 'whatever came of them',
  }),
  limit: withDefault(wholeNumber(1), () => 100, { description: 'How many at most.' }),
}));
export type RunsOptions = OptionsOf<typeof runsOptions>;

/** A snapshot that was removed, or would be. */
export interface DeletedSnapshot extends SnapshotSummary {
  /** What the disk gets back: files that other snapshots share stay. */
  readonly freedBytes: number;
  /** Whether the database went back after it: then it may have held writes that no newer one has. */
  readonly leftBehind: boolean;
}

export interface SnapshotList extends SnapshotStates {
  /** Oldest first. */
  readonly snapshots: readonly DeletableSnapshot[];
  /** The name in the `latest` marker; null when there is none. */
  readonly latest: string | null;
}

/**
 * The snapshots of a data directory. The database may be open or closed. A snapshot is named by `latest`, its name, its id or
 * its path. Keeps no state: each call reads the folders.
 *
 * ```ts
 * const snapshots = new Snapshots({ dataDir: './data' });
 * const { ok } = await snapshots.verify('latest');
 * ```
 */
export class Snapshots {
  readonly dataDir: string;
  readonly #directory: DataDirectory;

  constructor(options: SnapshotsOptions) {
    const { dataDir, lifecycle, environment } = snapshotsOptions.resolve('Snapshots', options);
    requireSameFolder('Snapshots', dataDir, lifecycle);
    if (lifecycle !== undefined && environment !== undefined)
      throw new TypeError('Snapshots: a lifecycle has its environment; leave environment out');
    this.dataDir = dataDir;
    this.#directory =
      lifecycle === undefined
        ? new DataDirectory(dataDir, environment ?? systemEnvironment)
        : directoryOf(lifecycle);
  }

  /** All snapshots with their state, oldest first, and which of them `latest` names. Reads no file but manifests and the ledger. */
  async list(options: ListOptions = {}): Promise<SnapshotList> {
    const { kind } = listOptions.resolve('Snapshots.list', options);
    return translated(async () => {
      const layout = ofKind(await this.#layout(), kind);
      const states = await listWithState(this.#env, layout);
      const latest = (await latestName(this.#env.fs, layout.backup)) ?? null;
      const snapshots = await withDeleteRefusals(this.#env, layout, { ...states, latest });
      return { latest, ...states, snapshots };
    });
  }

  /** Whether the data can be brought back, and what speaks against it. Reads no data. */
  async status(options: StatusOptions = {}): Promise<SnapshotsStatus> {
    const { maxAgeMs } = statusOptions.resolve('Snapshots.status', options);
    return translated(async () => {
      const runs = await this.#directory.runs();
      const findings = await gather(this.#env, await this.#layout(), runs);
      return statusFrom(findings, this.#env.clock.nowMs(), maxAgeMs);
    });
  }

  /** What was done here, newest first: at least the last thousand runs are on record, also of other processes. */
  async runs(options: RunsOptions = {}): Promise<{ readonly runs: readonly RunRecord[] }> {
    const { kind, status, limit } = runsOptions.resolve('Snapshots.runs', options);
    return translated(async () => {
      const all = await this.#directory.runs();
      const wanted = all.filter(
        (run) => (kind ?? run.kind) === run.kind && (status ?? run.state.status) === run.state.status,
      );
      return { runs: wanted.slice(-limit).reverse() };
    });
  }

  /** One snapshot with its state. `NOT_FOUND` when there is none; `problem` says why a manifest is not trusted. */
  async get(snapshot: string): Promise<ListedSnapshot> {
    checkArgument('Snapshots.get: snapshot', snapshotName(), snapshot);
    return translated(async () => {
      const env = this.#env;
      return listedSnapshot(env, await this.#find(snapshot));
    });
  }

  /** Which files two snapshots have of each other, by their manifests. Reads no data. */
  async compare(from: string, to: string): Promise<SnapshotDifference> {
    checkArgument('Snapshots.compare: from', snapshotName(), from);
    checkArgument('Snapshots.compare: to', snapshotName(), to);
    return translated(async () => compareSnapshots(this.#env, await this.#find(from), await this.#find(to)));
  }

  /** Reads a snapshot and reports everything that is wrong with it, as `verifySnapshot` does. */
  async verify(snapshot: string, options: VerifyOptions = {}): Promise<Report> {
    checkArgument('Snapshots.verify: snapshot', snapshotName(), snapshot);
    const resolved = verifyOptions.resolve('Snapshots.verify', options);
    return verifyFolder(this.#env, () => this.#find(snapshot), resolved);
  }

  /** Verifies all snapshots and reads what they share once, as `verifyAllSnapshots` does. */
  async verifyAll(options: VerifyAllOptions = {}): Promise<VerifyAllResult> {
    const resolved = verifyAllOptions.resolve('Snapshots.verifyAll', options);
    return verifyFolders(this.#env, this.#directory.folder.path, resolved);
  }

  /**
   * Restores a snapshot into a new folder, which appears complete and proven or not at all. A `RestoreCoordinator` restores in
   * place.
   */
  async restore(snapshot: string, options: RestoreIntoOptions): Promise<RestoreIntoResult> {
    checkArgument('Snapshots.restore: snapshot', snapshotName(), snapshot);
    const resolved = restoreOptions.resolve('Snapshots.restore', options);
    return restoreFolder(this.#env, () => this.#find(snapshot), resolved);
  }

  /**
   * Removes all but the newest `keep` snapshots that are not known to be damaged. Neither the one that `latest` names goes nor the newest of
   * the deepest proof (`latest-good`), nor one that is being read or is pinned. `decisions` says why each stays or goes.
   */
  async prune(options: PruneOptions): Promise<PruneResult> {
    const { kind, ...how } = pruneOptions.resolve('Snapshots.prune', options);
    const nothing = () => ({ removed: [], kept: [], busy: [], decisions: [], freedBytes: 0 });
    return this.#locked(nothing, (layout) => {
      const ofThisKind = ofKind(layout, kind);
      const record = { kind: 'prune', location: ofThisKind.backup, ...how, outcomeOf: pruned } as const;
      return this.#onRecord(layout, record, () => prune(this.#env, ofThisKind, how));
    });
  }

  /**
   * Removes all but the newest `keep` undo folders: what restores in place replaced. Without any left, the last restore cannot be undone.
   * Those that may hold writes that no snapshot has stay, unless `discardWrites`.
   */
  async pruneUndo(options: PruneUndoOptions): Promise<PruneUndoResult> {
    const { dryRun, ...how } = pruneUndoOptions.resolve('Snapshots.pruneUndo', options);
    const nothing = () => ({ removed: [], kept: [], freedBytes: 0 });
    return this.#locked(nothing, (layout) => {
      const record = { kind: 'prune', location: layout.undo, dryRun, outcomeOf: pruned } as const;
      return this.#onRecord(layout, record, async () => {
        const runs = await this.#directory.runs();
        const { states } = await lookAtAll(this.#env, layout);
        const folders = await undoStandings(this.#env, layout, states.snapshots, runs);
        return pruneUndo(this.#env, layout, folders, { ...how, dryRun });
      });
    });
  }

  /** Removes one snapshot by name or id. `CONFLICT` for those that `latest` and `latest-good` name and for one that is being read or is pinned. */
  async delete(snapshot: string, options: DeleteOptions = {}): Promise<DeletedSnapshot> {
    checkArgument('Snapshots.delete: snapshot', text(), snapshot); // a client may have sent it
    const { kind, dryRun } = deleteOptions.resolve('Snapshots.delete', options);
    const absent = () => {
      throw new StillpointError('NOT_FOUND', `there is no snapshot "${snapshot}" in ${this.dataDir}`, {
        path: snapshot,
      });
    };
    return this.#locked(absent, async (own) => {
      const env = this.#env;
      const layout = ofKind(own, kind);
      const summary = await summarize(env, await findSnapshot(env, layout, snapshot, [layout.backup]));
      const { name, location } = summary;
      if (dirname(location) !== layout.backup) absent();
      const refusal = deleteRefusal(name, {
        latest: (await latestName(env.fs, layout.backup)) ?? null,
        latestGood: newestGood(await standings(env, layout))?.snapshot.name ?? null,
        pinned: await pinnedSnapshots(env, layout),
      });
      if (refusal !== undefined)
        throw new StillpointError('CONFLICT', refusal.why, { path: location, hint: refusal.hint });
      const record = { kind: 'delete', location, dryRun, outcomeOf: deleted } as const;
      return this.#onRecord(own, record, async () => {
        const freedBytes = bytesFreed(await filesBelow(env.fs, location));
        const isLeftBehind = (await leftBehind(env.fs, layout)).has(name);
        if (await removeSnapshot(env, layout, summary, dryRun))
          return { ...summary, freedBytes, leftBehind: isLeftBehind };
        throw new StillpointError('CONFLICT', `${name} is being read or is pinned`, { path: location });
      });
    });
  }

  get #env(): Environment {
    return this.#directory.environment;
  }

  #layout(): Promise<Layout> {
    return this.#directory.places();
  }

  async #find(snapshot: string): Promise<string> {
    const marked = snapshot === LATEST ? undefined : await markedSnapshot(this.#env, snapshot);
    return marked ?? findSnapshot(this.#env, await this.#layout(), snapshot);
  }

  /** A dry run is not put on record: nothing was done. */
  #onRecord<T>(
    layout: Layout,
    { dryRun, ...record }: Pick<Upkeep<T>, 'kind' | 'location' | 'outcomeOf'> & { readonly dryRun: boolean },
    work: () => Promise<T>,
  ): Promise<T> {
    return onUpkeepRecord(this.#env, { ...record, layout: dryRun ? undefined : layout }, work);
  }

  /** @param nothing The result where there is no lifecycle folder: none is made to find that out. */
  #locked<T>(nothing: () => T, work: (layout: Layout) => Promise<T>): Promise<T> {
    return translated(async () => {
      if (await this.#directory.isUnused()) return nothing();
      const { layout, release } = await this.#directory.admit('prune');
      try {
        return await work(layout);
      } finally {
        await release();
      }
    });
  }
}

const pruned = ({
  removed,
  kept,
  freedBytes,
}: {
  readonly removed: readonly unknown[];
  readonly kept: readonly unknown[];
  readonly freedBytes: number;
}): UpkeepOutcome => ({
  upkeep: { folders: removed.length + kept.length, removed: removed.length, freedBytes },
});

const deleted = ({ freedBytes }: DeletedSnapshot): UpkeepOutcome => ({
  upkeep: { folders: 1, removed: 1, freedBytes },
});

/** Snapshots of every kind are kept alike, in a folder with a marker of its own. */
const ofKind = (layout: Layout, kind: SnapshotKind): Layout => ({
  ...layout,
  backup: layout[kind],
  latest: join(layout[kind], LATEST),
});
