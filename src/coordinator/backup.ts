import { dirname, join } from 'node:path';
import type { Engine, Hold } from '../engine/engine.ts';
import type { Report } from '../engine/report.ts';
import { orGivenUp } from '../env/concurrency.ts';
import { callSafely, warn } from '../env/safe-calls.ts';
import type { Admission, DataDirectory } from '../operation/data-directory.ts';
import { callHook, checkHold } from '../operation/hooks.ts';
import { directoryOf, Lifecycle, lifecycleOption, requireSameFolder } from '../operation/lifecycle.ts';
import { lineageOf } from '../operation/lineage.ts';
import { folderReplaced } from '../operation/meant-folder.ts';
import type { OperationState } from '../operation/operation-state.ts';
import { KEEP_RUNS } from '../operation/records.ts';
import type { Run } from '../operation/run.ts';
import { type Done, RunCoordinator, type RunEvents } from '../operation/run-coordinator.ts';
import { withThrottle } from '../operation/throttle.ts';
import { type Mode, SNAPSHOT_KINDS } from '../options/choices.ts';
import {
  OptionSet,
  type OptionsOf,
  optional,
  type ResolvedOf,
  required,
  withDefault,
  withoutDefaults,
} from '../options/option.ts';
import {
  type ResolvedBackupOptions,
  type StartBackupOptions,
  startBackupOptions,
} from '../options/snapshot.ts';
import { callback, folder, nested, wholeNumber } from '../options/values.ts';
import { refuseFullDisk } from '../snapshot/capture/next-snapshot.ts';
import { foreignInside, foreignNames } from '../snapshot/foreign-names.ts';
import { freeName, isSnapshotName, type Layout, nameOf, nextName } from '../snapshot/store/layout.ts';
import { latestName, snapshotNames } from '../snapshot/store/list.ts';
import { type PruneResult, prune } from '../snapshot/store/prune.ts';
import { type TakeResult, takeSnapshot } from '../snapshot/take-snapshot.ts';
import { TOOL } from '../snapshot/version.ts';
import { chooseEngine, engineOption } from './choose-engine.ts';

// biome-ignore lint/suspicious/noConfusingVoidType: a hook that returns nothing at all is the usual one
type HoldOrNothing = Hold | undefined | void;
export type CheckpointHook = (context: { signal: AbortSignal }) => Promise<HoldOrNothing> | HoldOrNothing;

export const backupCoordinatorOptions = new OptionSet(() => ({
  dataDir: required(folder(), { description: 'The folder that the engine keeps its files in.' }),
  engine: engineOption('what the files look like, at every start'),
  checkpoint: optional(callback<CheckpointHook>(), {
    description: "Brings the database's state to disk; may return a hold.",
    without: 'the files are captured from outside',
  }),
  checkpointTimeoutMs: withDefault(wholeNumber(1), () => 60 * 1000, {
    description: 'The time limit of the checkpoint hook, and of releasing its hold.',
    unit: 'milliseconds',
  }),
  lifecycle: lifecycleOption(),
  defaults: optional(nested(withoutDefaults(startBackupOptions.fields)), {
    description: 'Options for every start; those of the start come first.',
  }),
}));
export type BackupCoordinatorOptions = OptionsOf<typeof backupCoordinatorOptions>;

/** What a finished snapshot is. */
export interface SnapshotResult {
  readonly id: string;
  readonly name: string;
  readonly location: string;
  readonly engine: string;
  readonly state: OperationState;
  readonly entries: number;
  readonly totalBytes: number;
  /** Without holes: long runs of zeros take no space in the copy. */
  readonly copiedBytes: number;
  readonly linkedBytes: number;
  /** Copy-on-write clones of the database's files. */
  readonly clonedBytes: number;
  readonly reusedBytes: number;
  /** Not read again: an earlier proof of the same file counts. */
  readonly carriedBytes: number;
  /** Had such a proof and were read again: with `reprove`, or for a deeper level. */
  readonly reprovenBytes: number;
  readonly report: Report;
  readonly durationsMs: Readonly<Record<string, number>>;
  /** Names in the data directory that are not the engine's, and are not in the snapshot: up to a hundred. */
  readonly leftOut: readonly string[];
  /** Names of snapshots that `keep` removed. */
  readonly pruned: readonly string[];
}

export type BackupEvents = RunEvents<SnapshotResult>;

/**
 * Takes snapshots of one data directory while its database stays open. One at a time, in this process and across
 * processes. A snapshot is published only after its copy has passed its proof.
 */
export class BackupCoordinator extends RunCoordinator<SnapshotResult> {
  readonly lifecycle: Lifecycle;
  readonly #options: ResolvedOf<typeof backupCoordinatorOptions>;
  readonly #directory: DataDirectory;

  constructor(options: BackupCoordinatorOptions) {
    const resolved = backupCoordinatorOptions.resolve('BackupCoordinator', options);
    requireSameFolder('BackupCoordinator', resolved.dataDir, resolved.lifecycle);
    const lifecycle = resolved.lifecycle ?? new Lifecycle({ dataDir: resolved.dataDir });
    super(directoryOf(lifecycle), SNAPSHOT_KINDS);
    this.#options = resolved;
    this.lifecycle = lifecycle;
    this.#directory = directoryOf(lifecycle);
  }

  /**
   * Admits a snapshot and begins it. Resolves as soon as it is admitted; `finished(id)` tells the outcome. Rejects with
   * `CONFLICT` while anything else is at work on the data directory, `NOT_FOUND` or `NOT_A_FOLDER` when there is none,
   * `ENGINE_MISMATCH` or `EMPTY_SOURCE` when it holds nothing to capture. Nothing is changed then.
   */
  async startBackup(options: StartBackupOptions = {}): Promise<{ id: string; location: string }> {
    const chosen = startBackupOptions.resolve('startBackup', options, this.#options.defaults);
    const { kind, mode, signal } = chosen;
    // A start that is refused leaves no folder behind.
    if (await this.#directory.isUnused())
      await orGivenUp(this.#engine(await this.#directory.layout(), mode), signal);
    return this.start(kind, signal, async (admission, newRun) => {
      const engine = await this.#engine(admission.layout, mode);
      const parent = admission.layout[kind];
      const run = newRun(await this.#newLocation(admission, parent));
      return { run, work: () => this.#take(run, engine, chosen, parent, admission) };
    });
  }

  /** `startBackup` and `finished` in one. */
  async backup(options: StartBackupOptions = {}): Promise<SnapshotResult> {
    const { id } = await this.startBackup(options);
    return this.finished(id);
  }

  /** Where a run writes, or wrote, its snapshot; `NOT_FOUND`. */
  async location(id: string): Promise<string> {
    return (await this.record(id)).location;
  }

  /** The newest proven snapshot, undefined when there is none. */
  async latestLocation(): Promise<string | undefined> {
    const { backup } = await this.#directory.layout();
    const name = await latestName(this.#directory.environment.fs, backup);
    return name === undefined ? undefined : join(backup, name);
  }

  #engine({ dataDir }: Layout, mode: Mode): Promise<Engine> {
    return chooseEngine(this.#directory.environment.fs, dataDir, this.#options.engine, mode);
  }

  /** A name is never used twice, also when the snapshot was removed or its run failed: somebody may still ask by that name. */
  async #newLocation({ records }: Admission, parent: string): Promise<string> {
    const { fs, clock } = this.#directory.environment;
    const runs = await records.read();
    const locations = runs.map(({ location }) => location).filter((location) => dirname(location) === parent);
    const names = [...(await snapshotNames(fs, parent)), ...locations.map(nameOf).filter(isSnapshotName)];
    // Of older runs nobody knows the names, only that none was higher.
    const name =
      runs.length < KEEP_RUNS ? freeName(clock.nowMs(), new Set(names)) : nextName(clock.nowMs(), names);
    return join(parent, name);
  }

  async #take(
    run: Run,
    engine: Engine,
    options: ResolvedBackupOptions,
    parent: string,
    { layout, records }: Admission,
  ): Promise<Done<SnapshotResult>> {
    const { putBackFrom } = lineageOf(await records.read());
    let hold: Hold | undefined;
    const releaseHold = async () => {
      const held = hold;
      hold = undefined;
      if (held !== undefined) await callHook('release', () => held.release(), this.#hookOptions(NEVER));
    };
    const { probe, keep } = options;
    let taken: TakeResult;
    try {
      await refuseFullDisk(this.#directory.environment, layout, engine, options);
      run.enter('checkpoint');
      hold = await this.#checkpoint(run);
      if (hold?.isIn && !(await hold.isIn(layout.dataDir))) throw folderReplaced(layout.dataDir);
      // The host of an open database would wait for the disk whenever the copy has filled the memory of the operating system.
      const paced = { pace: hold === undefined ? ('fast' as const) : ('quiet' as const), ...options };
      taken = await withThrottle(this.#directory.environment, run.control, paced, (env) =>
        takeSnapshot(env, {
          id: run.id,
          layout,
          engine,
          location: run.location,
          parent,
          mode: options.mode,
          level: options.level,
          clone: options.clone,
          reuse: options.reuse,
          reprove: options.reprove,
          allowUnread: options.allowUnread,
          tool: TOOL,
          putBackFrom,
          control: run.control,
          // The plan of a hold has the files of one database. What it holds stays valid until its release, so all is planned from outside.
          plan: engine.forFiles === undefined ? hold?.plan : undefined,
          probe: probe && ((dir) => this.#probe(run, dir, probe)),
          onFixed: releaseHold,
          onCaptured: async () => {
            await this.#directory.layout(); // still the folder that was meant
          },
          onPhase: (phase) => run.enter(phase),
          onPlanned: (files, bytes) => run.plan(files, bytes),
        }),
      );
    } catch (error) {
      // The first failure is the one to report. A hold that cannot be released then is in the logs of the host.
      await releaseHold().catch(() => undefined);
      throw error;
    }
    // From here on the snapshot stands and `latest` names it: what still goes wrong is a warning.
    const pruned = keep === undefined ? [] : await this.#prune(layout, keep);
    const { fs } = this.#directory.environment;
    const leftOut = await Promise.all([
      foreignNames(fs, layout.dataDir, engine),
      foreignInside(fs, layout.dataDir, engine),
    ]).catch((error) => {
      warn(error);
      return [];
    });
    const removed = pruned.map(({ name }) => name);
    return { result: () => ({ ...toResult(run, engine, taken), leftOut: leftOut.flat(), pruned: removed }) };
  }

  async #prune(layout: Layout, keep: number): Promise<PruneResult['removed']> {
    try {
      return (await prune(this.#directory.environment, layout, { keep, dryRun: false })).removed;
    } catch (error) {
      warn(error);
      return [];
    }
  }

  async #checkpoint(run: Run): Promise<Hold | undefined> {
    const { checkpoint } = this.#options;
    if (checkpoint === undefined) return undefined;
    const onLate = (value: unknown) => {
      // The hook was given up. A hold that it still returns is released.
      const late = value as Partial<Hold> | null | undefined;
      if (typeof late?.release !== 'function') return;
      callSafely(() => void Promise.resolve(late.release?.()).catch(warn));
    };
    const value = await callHook('checkpoint', checkpoint, { ...this.#hookOptions(run.signal), onLate });
    try {
      return checkHold(value);
    } catch (error) {
      onLate(value); // unusable, but it may still be a hold
      throw error;
    }
  }

  #probe(run: Run, dir: string, probe: NonNullable<ResolvedBackupOptions['probe']>): Promise<unknown> {
    return callHook('probe', () => probe(dir), { timeoutMs: PROBE_LIMIT_MS, signal: run.signal });
  }

  #hookOptions(signal: AbortSignal) {
    const { checkpointTimeoutMs: timeoutMs } = this.#options;
    return { timeoutMs, limit: '`checkpointTimeoutMs` of the BackupCoordinator', signal };
  }
}

const NEVER = new AbortController().signal;
/** Opening a large database may take long, but a probe must end. */
const PROBE_LIMIT_MS = 60 * 60 * 1000;

function toResult(run: Run, engine: Engine, taken: TakeResult): Omit<SnapshotResult, 'leftOut' | 'pruned'> {
  const { manifest, report, capture } = taken;
  return {
    id: run.id,
    name: nameOf(run.location),
    location: run.location,
    engine: engine.name,
    state: run.state,
    entries: manifest.entries.length,
    totalBytes: manifest.snapshot?.total_bytes ?? 0,
    copiedBytes: capture.copiedBytes,
    linkedBytes: capture.linkedBytes,
    clonedBytes: capture.clonedBytes,
    reusedBytes: capture.reusedBytes,
    carriedBytes: capture.entries.reduce((sum, { size, proven_at_ms }) => sum + (proven_at_ms ? size : 0), 0),
    reprovenBytes: capture.reprovenBytes,
    report,
    durationsMs: run.durationsMs,
  };
}
