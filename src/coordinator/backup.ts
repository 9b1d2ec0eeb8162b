import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import type { Engine, Hold } from '../engine/engine.ts';
import { LEVELS, type Level, type Report } from '../engine/report.ts';
import {
  aBoolean,
  aFolder,
  aFunction,
  aSignal,
  type Checks,
  checkOptions,
  oneOf,
  optional,
  optionsOf,
  wholeNumber,
} from '../env/checks.ts';
import { listIfPresent } from '../env/io.ts';
import { callSafely, tell, warn } from '../env/safe-calls.ts';
import { type StillpointError, toStillpointError } from '../errors.ts';
import { callHook, checkHold } from '../operation/hooks.ts';
import { type Admission, Lifecycle } from '../operation/lifecycle.ts';
import type { OperationState } from '../operation/operation-state.ts';
import { aLifecycle, anEngine, sameFolder } from '../operation/option-checks.ts';
import type { RunKind } from '../operation/records.ts';
import { Run } from '../operation/run.ts';
import { findRecord, Runs } from '../operation/runs.ts';
import { THROTTLE, type ThrottleOptions, withThrottle } from '../operation/throttle.ts';
import { MODES, type Mode } from '../snapshot/capture/capture.ts';
import type { Environment } from '../snapshot/environment.ts';
import { freeName, type Layout, nameOf } from '../snapshot/store/layout.ts';
import { latestName } from '../snapshot/store/list.ts';
import { type PruneResult, prune } from '../snapshot/store/prune.ts';
import { type TakeResult, takeSnapshot } from '../snapshot/take-snapshot.ts';
import { CLONE_CHOICES, type CloneChoice } from '../snapshot/tasks/reflinker.ts';
import { TOOL } from '../snapshot/version.ts';
import { chooseEngine, type EngineChoice } from './choose-engine.ts';

// biome-ignore lint/suspicious/noConfusingVoidType: a hook that returns nothing at all is the usual one
type HoldOrNothing = Hold | undefined | void;
export type CheckpointHook = (context: { signal: AbortSignal }) => Promise<HoldOrNothing> | HoldOrNothing;

export interface BackupCoordinatorOptions {
  /** The folder that the engine keeps its files in. */
  readonly dataDir: string;
  /** Default `auto`: found out from the files at every start. */
  readonly engine?: EngineChoice;
  /** Brings the database's state to disk; may return a hold. Without one the capture works from outside. */
  readonly checkpoint?: CheckpointHook;
  /** Default: one minute. */
  readonly checkpointTimeoutMs?: number;
  /** Share it with the restore coordinator of the same data directory. Default: one of its own. */
  readonly lifecycle?: Lifecycle;
  /** Defaults for every start. */
  readonly defaults?: StartBackupOptions;
}

export interface StartBackupOptions extends ThrottleOptions {
  /** Default `copy`. */
  readonly mode?: Mode;
  /** How thoroughly the copy is proven before it counts. Default `full`. */
  readonly level?: Level;
  /** Default true: unchanged immutable files of the newest proven snapshot are shared with it. */
  readonly reuse?: boolean;
  /**
   * Default `never`: a copy shares no block with the database, so one that goes bad damages one of them. With `auto`, in mode
   * `copy`, files that the engine never changes become copy-on-write clones where the file system makes them (btrfs,
   * XFS): that takes no time and no space, and protects against all but bad blocks. `cloned_bytes` of the result tells.
   */
  readonly clone?: CloneChoice;
  /** Default false: shared files carry the proof that they have. With true they are read again. */
  readonly reprove?: boolean;
  /** Afterwards remove all but the newest so many snapshots. Default: keep all. */
  readonly keep?: number;
  /** Where it goes; `latest` of that folder is moved. Default `backup`. */
  readonly kind?: 'backup' | 'archive' | 'export';
  /** The caller's own check, run on a disposable clone of the copy before it counts. */
  readonly probe?: (dir: string) => Promise<unknown>;
  /** Cancels the run. */
  readonly signal?: AbortSignal;
}

/** What a finished snapshot is. */
export interface SnapshotResult {
  readonly id: string;
  readonly name: string;
  readonly location: string;
  readonly engine: string;
  readonly state: OperationState;
  readonly entries: number;
  readonly totalBytes: number;
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
  /** Names of snapshots that `keep` removed. */
  readonly pruned: readonly string[];
}

export interface BackupEvents {
  /** A run of this coordinator changed: a phase began, or it ended. */
  state: [id: string, state: OperationState];
  completed: [result: SnapshotResult];
  failed: [id: string, error: StillpointError];
}

/**
 * Takes snapshots of one data directory while its database stays open. One at a time, in this process and across
 * processes. Publishes nothing that has not passed its proof.
 */
export class BackupCoordinator extends EventEmitter<BackupEvents> {
  readonly lifecycle: Lifecycle;
  readonly #options: BackupCoordinatorOptions;
  readonly #runs = new Runs<SnapshotResult>();

  constructor(options: BackupCoordinatorOptions) {
    super();
    checkOptions('BackupCoordinator', options, OPTIONS);
    sameFolder('BackupCoordinator', options.dataDir, options.lifecycle);
    this.#options = options;
    this.lifecycle = options.lifecycle ?? new Lifecycle({ dataDir: options.dataDir });
  }

  /**
   * Admits a snapshot and begins it. Resolves as soon as it is admitted; `finished(id)` tells the outcome. Rejects with
   * `CONFLICT` while anything else is at work on the data directory, `NOT_FOUND` or `NOT_A_FOLDER` when there is none,
   * `ENGINE_MISMATCH` or `EMPTY_SOURCE` when it holds nothing to capture. Nothing is changed then.
   */
  async startBackup(options: StartBackupOptions = {}): Promise<{ id: string; location: string }> {
    checkOptions('startBackup', options, START);
    const chosen = { ...this.#options.defaults, ...options };
    const kind = chosen.kind ?? 'backup';
    // What is refused leaves no folder behind.
    if (await this.lifecycle.isUnused()) await this.#engine(await this.lifecycle.layout(), chosen);
    const admission = await this.lifecycle.admit(kind);
    try {
      const engine = await this.#engine(admission.layout, chosen);
      const parent = admission.layout[kind];
      const run = await this.#begin(kind, parent);
      await admission.records.append(run.record);
      const cancel = () => run.cancel();
      chosen.signal?.addEventListener('abort', cancel, { once: true });
      if (chosen.signal?.aborted) cancel();
      const outcome = this.#work(run, engine, chosen, parent, admission).finally(() =>
        chosen.signal?.removeEventListener('abort', cancel),
      );
      this.#runs.follow(run, outcome);
      return { id: run.id, location: run.location };
    } catch (error) {
      await admission.release();
      throw toStillpointError(error);
    }
  }

  /** `startBackup` and `finished` in one. */
  async backup(options: StartBackupOptions = {}): Promise<SnapshotResult> {
    const { id } = await this.startBackup(options);
    return this.finished(id);
  }

  /** How far a run is, also one of an earlier process; `NOT_FOUND` when there was none. */
  async status(id: string): Promise<OperationState> {
    return this.#runs.get(id)?.state ?? (await findRecord(this.lifecycle, id, KINDS)).state;
  }

  /** Where a run writes, or wrote, its snapshot; `NOT_FOUND`. */
  async location(id: string): Promise<string> {
    return this.#runs.get(id)?.location ?? (await findRecord(this.lifecycle, id, KINDS)).location;
  }

  /** The newest proven snapshot, undefined when there is none. */
  async latestLocation(): Promise<string | undefined> {
    const { backup } = await this.lifecycle.layout();
    const name = await latestName(this.#env.fs, backup);
    return name === undefined ? undefined : join(backup, name);
  }

  /** The outcome of a run of this coordinator; rejects with its `StillpointError`. */
  finished(id: string): Promise<SnapshotResult> {
    return this.#runs.finished(id);
  }

  /** Cancels a run of this coordinator; false when it had ended already. Await `finished` for the end. */
  cancel(id: string): boolean {
    return this.#runs.cancel(id);
  }

  get #env(): Environment {
    return this.lifecycle.environment;
  }

  #engine({ dataDir }: Layout, { mode = 'copy' }: StartBackupOptions): Promise<Engine> {
    return chooseEngine(this.#env.fs, dataDir, this.#options.engine ?? 'auto', mode);
  }

  async #begin(kind: RunKind, parent: string): Promise<Run> {
    const { fs, clock } = this.#env;
    const taken = new Set((await listIfPresent(fs, parent)).map(({ name }) => name));
    const location = join(parent, freeName(clock.nowMs(), taken));
    return new Run(clock, this.#env.newId(), kind, location, (run) => tell(this, 'state', run.id, run.state));
  }

  async #work(
    run: Run,
    engine: Engine,
    options: StartBackupOptions,
    parent: string,
    { layout, records, release }: Admission,
  ): Promise<SnapshotResult> {
    let hold: Hold | undefined;
    const releaseHold = async () => {
      const held = hold;
      hold = undefined;
      if (held !== undefined) await callHook('release', () => held.release(), this.#hookOptions(NEVER));
    };
    try {
      run.enter('checkpoint');
      hold = await this.#checkpoint(run);
      const taken = await withThrottle(this.#env, run.control, options, (env) =>
        takeSnapshot(env, {
          id: run.id,
          layout,
          engine,
          location: run.location,
          parent,
          mode: options.mode ?? 'copy',
          level: options.level ?? 'full',
          clone: options.clone ?? 'never',
          reuse: options.reuse ?? true,
          reprove: options.reprove ?? false,
          tool: TOOL,
          control: run.control,
          plan: hold?.plan,
          probe: options.probe && ((dir) => this.#probe(run, dir, options.probe!)),
          onCaptured: releaseHold,
          onPhase: (phase) => run.enter(phase),
          onPlanned: (files, bytes) => run.plan(files, bytes),
        }),
      );
      const keep = options.keep;
      // From here on the snapshot stands and `latest` names it: what still goes wrong is a warning.
      const pruned = keep === undefined ? [] : await this.#prune(layout, keep);
      run.complete();
      await records.append(run.record).catch(warn);
      const result = toResult(
        run,
        engine,
        taken,
        pruned.map(({ name }) => name),
      );
      tell(this, 'completed', result);
      return result;
    } catch (error) {
      // The failure that counts is the first one; a hold that cannot be released then is the host's to see in its logs.
      await releaseHold().catch(() => undefined);
      const reason = run.fail(error);
      await records.append(run.record).catch(() => undefined);
      tell(this, 'failed', run.id, reason);
      throw reason;
    } finally {
      await release();
    }
  }

  async #prune(layout: Layout, keep: number): Promise<PruneResult['removed']> {
    try {
      return (await prune(this.#env, layout, keep, false)).removed;
    } catch (error) {
      warn(error);
      return [];
    }
  }

  async #checkpoint(run: Run): Promise<Hold | undefined> {
    const { checkpoint } = this.#options;
    if (checkpoint === undefined) return undefined;
    const onLate = (value: unknown) => {
      // Nobody waits for it any more, and what it holds must not be held for ever.
      const late = value as Partial<Hold> | null | undefined;
      if (typeof late?.release !== 'function') return;
      callSafely(() => void Promise.resolve(late.release?.()).catch(warn));
    };
    const value = await callHook('checkpoint', checkpoint, { ...this.#hookOptions(run.signal), onLate });
    try {
      return checkHold(value);
    } catch (error) {
      onLate(value); // unusable, and yet it may hold something
      throw error;
    }
  }

  #probe(run: Run, dir: string, probe: NonNullable<StartBackupOptions['probe']>): Promise<unknown> {
    return callHook('probe', () => probe(dir), { timeoutMs: PROBE_LIMIT_MS, signal: run.signal });
  }

  #hookOptions(signal: AbortSignal) {
    const timeoutMs = this.#options.checkpointTimeoutMs ?? 60 * 1000;
    return { timeoutMs, limit: '`checkpointTimeoutMs` of the BackupCoordinator', signal };
  }
}

const KINDS: readonly RunKind[] = ['backup', 'archive', 'export'];
const NEVER = new AbortController().signal;
/** Opening a large database may take long; for ever it must not. */
const PROBE_LIMIT_MS = 60 * 60 * 1000;

/** The options of a snapshot wherever it is started from. */
export const SNAPSHOT: Checks<Omit<StartBackupOptions, 'kind' | 'signal'>> = {
  ...THROTTLE,
  mode: optional(oneOf(MODES)),
  level: optional(oneOf(LEVELS)),
  clone: optional(oneOf(CLONE_CHOICES)),
  reuse: optional(aBoolean),
  reprove: optional(aBoolean),
  keep: optional(wholeNumber(1)),
  probe: optional(aFunction),
};
const START: Checks<StartBackupOptions> = {
  ...SNAPSHOT,
  kind: optional(oneOf(KINDS)),
  signal: optional(aSignal),
};
const OPTIONS: Checks<BackupCoordinatorOptions> = {
  dataDir: aFolder,
  engine: optional(anEngine),
  checkpoint: optional(aFunction),
  checkpointTimeoutMs: optional(wholeNumber(1)),
  lifecycle: optional(aLifecycle),
  defaults: optional(optionsOf(START)),
};

function toResult(run: Run, engine: Engine, taken: TakeResult, pruned: readonly string[]): SnapshotResult {
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
    pruned,
  };
}
