import { EventEmitter } from 'node:events';
import { dirname, join } from 'node:path';
import type { Engine, EngineName } from '../engine/engine.ts';
import { detectEngine, engineByName } from '../engine/index.ts';
import type { Report } from '../engine/report.ts';
import {
  aFolder,
  aFunction,
  aListOfPaths,
  aText,
  type Checks,
  checkOptions,
  oneOf,
  optional,
  wholeNumber,
} from '../env/checks.ts';
import { removeTree } from '../env/io.ts';
import type { HeldLock } from '../env/lock.ts';
import { tell, warn } from '../env/safe-calls.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { callHook } from '../operation/hooks.ts';
import { type Admission, Lifecycle } from '../operation/lifecycle.ts';
import type { OperationState } from '../operation/operation-state.ts';
import { aLifecycle, anEngine, sameFolder } from '../operation/option-checks.ts';
import type { RunKind, RunRecord } from '../operation/records.ts';
import { Run } from '../operation/run.ts';
import { findRecord, Runs } from '../operation/runs.ts';
import { THROTTLE, type ThrottleOptions, withThrottle } from '../operation/throttle.ts';
import type { Environment } from '../snapshot/environment.ts';
import { DirectoryExchange, refuseUnnamable } from '../snapshot/restore/directory-exchange.ts';
import { newestUndoFolder, newUndoFolder, type Restored, stage } from '../snapshot/restore/restore.ts';
import {
  checkSource,
  openChosen,
  type RestoreSource,
  type SourceChoice,
} from '../snapshot/restore/restore-source.ts';
import { LATEST, type Layout, nameOf } from '../snapshot/store/layout.ts';
import { CLONE_CHOICES, type CloneChoice } from '../snapshot/tasks/reflinker.ts';

export type RestoreMetadata = NonNullable<RunRecord['metadata']>;

export interface RestoreCoordinatorOptions {
  readonly dataDir: string;
  /** Default `auto`: what wrote the snapshot. A snapshot of another engine is refused. */
  readonly engine?: 'auto' | EngineName | Engine;
  /** Closes the database before its files are exchanged. Leave out only when nobody has it open. */
  readonly close?: (context: { signal: AbortSignal }) => Promise<void> | void;
  /** Opens it again on whatever stands there then: the new state, or the old one after a failure. */
  readonly open?: (context: { signal: AbortSignal }) => Promise<void> | void;
  /** Time limit of each hook. Default: five minutes. */
  readonly hookTimeoutMs?: number;
  readonly lifecycle?: Lifecycle;
  /** Folders, besides the lifecycle folder, that a source given as a path may lie in. Default: none. */
  readonly allowedSources?: readonly string[];
}

export interface StartRestoreOptions extends ThrottleOptions {
  /**
   * `latest`, a name, an id, or a path where that is allowed. Or a function that opens a snapshot which lies elsewhere; it is called
   * once the run is admitted, and what it opened is released when the run ends. Default `latest`.
   */
  readonly source?: SourceChoice;
  /**
   * With `auto`, copy-on-write clones of the snapshot's files where the file system makes them: no time, no space, and a
   * block that goes bad damages both. Default `never`.
   */
  readonly clone?: CloneChoice;
}

export interface RestoreResult {
  readonly id: string;
  readonly from: string;
  readonly into: string;
  readonly files: number;
  readonly bytes: number;
  readonly clonedBytes: number;
  /** The folder with what was replaced. */
  readonly undo: string;
  readonly state: OperationState;
  readonly metadata: RestoreMetadata;
  /** The proof of what was put in place; null for an undo, which brings back what was there, whatever it was. */
  readonly report: Report | null;
  readonly durationsMs: Readonly<Record<string, number>>;
}

export interface RestoreEvents {
  state: [id: string, state: OperationState];
  completed: [result: RestoreResult];
  failed: [id: string, error: StillpointError];
}

/**
 * Restores in place, around the host's own closing and opening of its database. Until the proof of the staged copy has
 * passed, nothing is touched, the mode included; after a failure the old state comes back; what was replaced stays in an
 * undo folder.
 */
export class RestoreCoordinator extends EventEmitter<RestoreEvents> {
  readonly lifecycle: Lifecycle;
  readonly #options: RestoreCoordinatorOptions;
  readonly #runs = new Runs<RestoreResult>();
  readonly #pastRecall = new Set<string>();

  constructor(options: RestoreCoordinatorOptions) {
    super();
    checkOptions('RestoreCoordinator', options, OPTIONS);
    sameFolder('RestoreCoordinator', options.dataDir, options.lifecycle);
    this.#options = options;
    this.lifecycle = options.lifecycle ?? new Lifecycle({ dataDir: options.dataDir });
  }

  /**
   * Admits a restore and begins it. Rejects with `NOT_FOUND`, `PATH_OUTSIDE`, `CONFLICT`, or with `RESTORE_INTEGRITY_MISMATCH` and `ENGINE_MISMATCH` when
   * names and sizes show already that it cannot be restored. Damage inside the files fails the run. Nothing is changed.
   */
  async startRestore(options: StartRestoreOptions = {}): Promise<{ id: string; location: string }> {
    checkOptions('startRestore', options, START);
    const { source = LATEST } = options;
    const admission = await this.lifecycle.admit('restore');
    try {
      const { layout } = admission;
      const engine = await this.#wantedEngine(layout);
      const allowed = [layout.lifecycle, ...(this.#options.allowedSources ?? [])];
      const files = await openChosen(this.#env, layout, source, allowed);
      const { location } = files;
      const run = this.#newRun('restore', location);
      const opened = await checkSource(this.#env, files, run.control, engine);
      run.plan(opened.manifest.entries.length, 2 * opened.bytes);
      await admission.records.append(run.record).catch(async (error) => {
        await opened.release(); // else nobody could remove that snapshot until this process ends
        throw error;
      });
      this.#runs.follow(run, this.#restore(run, opened, options, admission));
      return { id: run.id, location };
    } catch (error) {
      await admission.release();
      throw toStillpointError(error);
    }
  }

  /** Admits the way back: the newest undo folder takes the place of the present files, which become an undo folder. */
  async startUndo(): Promise<{ id: string; location: string }> {
    if (await this.lifecycle.isUnused()) throw nothingToUndo(await this.lifecycle.layout());
    const admission = await this.lifecycle.admit('undo');
    try {
      const { layout } = admission;
      const location = await newestUndoFolder(this.#env, layout);
      if (location === undefined) throw nothingToUndo(layout);
      const run = this.#newRun('undo', location);
      await admission.records.append(run.record);
      this.#runs.follow(run, this.#undo(run, location, admission));
      return { id: run.id, location };
    } catch (error) {
      await admission.release();
      throw toStillpointError(error);
    }
  }

  async restore(options: StartRestoreOptions = {}): Promise<RestoreResult> {
    return this.finished((await this.startRestore(options)).id);
  }

  async undo(): Promise<RestoreResult> {
    return this.finished((await this.startUndo()).id);
  }

  async status(id: string): Promise<OperationState> {
    return this.#runs.get(id)?.state ?? (await findRecord(this.lifecycle, id, KINDS)).state;
  }

  /** What a completed restore brought back; null before. */
  async metadata(id: string): Promise<RestoreMetadata | null> {
    return (this.#runs.get(id)?.record ?? (await findRecord(this.lifecycle, id, KINDS))).metadata;
  }

  finished(id: string): Promise<RestoreResult> {
    return this.#runs.finished(id);
  }

  /** False when it had ended, or when the files are being exchanged already: that goes to its end. */
  cancel(id: string): boolean {
    return !this.#pastRecall.has(id) && this.#runs.cancel(id);
  }

  get #env(): Environment {
    return this.lifecycle.environment;
  }

  #newRun(kind: RunKind, location: string): Run {
    return new Run(this.#env.clock, this.#env.newId(), kind, location, (run) =>
      tell(this, 'state', run.id, run.state),
    );
  }

  async #wantedEngine(layout: Layout): Promise<Engine | undefined> {
    const { engine = 'auto' } = this.#options;
    if (typeof engine === 'object') return engine;
    return engine === 'auto' ? detectEngine(this.#env.fs, layout.dataDir) : engineByName(engine);
  }

  async #restore(
    run: Run,
    source: RestoreSource,
    options: StartRestoreOptions,
    admission: Admission,
  ): Promise<RestoreResult> {
    const { layout } = admission;
    const staged = join(layout.restore, run.id, 'data');
    return this.#finish(run, admission, async () => {
      try {
        run.enter('stage');
        const { report, clonedBytes } = await this.#stage(run, source, staged, options);
        const undo = await this.#exchange(run, layout, staged, source.engine);
        const { manifest, bytes } = source;
        return { files: manifest.entries.length, bytes, clonedBytes: clonedBytes, undo, report };
      } finally {
        await source.release();
      }
    });
  }

  async #stage(
    run: Run,
    source: RestoreSource,
    staged: string,
    options: StartRestoreOptions,
  ): Promise<Restored> {
    try {
      return await withThrottle(this.#env, run.control, options, (env) =>
        stage(env, source, staged, 'full', options.clone ?? 'never', run.control),
      );
    } catch (error) {
      await removeTree(this.#env.fs, dirname(staged)).catch(() => undefined); // else the next admission sweeps it
      throw error;
    }
  }

  async #undo(run: Run, from: string, admission: Admission): Promise<RestoreResult> {
    return this.#finish(run, admission, async () => {
      const { fs } = this.#env;
      const engine = (await detectEngine(fs, from)) ?? (await this.#wantedEngine(admission.layout));
      const undo = await this.#exchange(run, admission.layout, from, engine);
      return { files: 0, bytes: 0, clonedBytes: 0, undo, report: null };
    });
  }

  async #finish(
    run: Run,
    { layout, records, release }: Admission,
    work: () => Promise<Pick<RestoreResult, 'files' | 'bytes' | 'clonedBytes' | 'undo' | 'report'>>,
  ): Promise<RestoreResult> {
    try {
      const done = await work();
      const metadata = {
        backupId: nameOf(run.location),
        location: run.location,
        restoredAtMs: this.#env.clock.nowMs(),
        sizeBytes: done.bytes,
      };
      run.complete(metadata);
      await records.append(run.record).catch(warn);
      const about = { id: run.id, from: run.location, into: layout.dataDir, state: run.state, metadata };
      const result = { ...done, ...about, durationsMs: run.durationsMs };
      tell(this, 'completed', result);
      return result;
    } catch (error) {
      const reason = run.fail(error);
      await records.append(run.record).catch(() => undefined);
      tell(this, 'failed', run.id, reason);
      throw reason;
    } finally {
      this.#pastRecall.delete(run.id);
      await release();
    }
  }

  /** Closes, exchanges, opens; on a failure everything back. Resolves to the undo folder. */
  async #exchange(run: Run, layout: Layout, from: string, engine: Engine | undefined): Promise<string> {
    const { fs } = this.#env;
    run.control.checkCancelled(); // the last moment: an exchange that has begun goes to its end
    const modeBefore = this.lifecycle.mode;
    const keep = engine?.lockFile === undefined ? [] : [engine.lockFile];
    const undo = await newUndoFolder(this.#env, layout);
    await refuseUnnamable(fs, layout.dataDir);
    run.enter('close');
    this.#pastRecall.add(run.id);
    this.lifecycle.setMode('maintenance');
    let isClosed = false;
    let swap: DirectoryExchange | undefined;
    try {
      await this.#hook('close', () => this.#openLate());
      isClosed = true;
      const locks = await this.#lockEngine(layout, keep);
      try {
        swap = await DirectoryExchange.begin(fs, layout, { id: run.id, from, undo, keep });
        run.enter('swap');
        await swap.forward();
      } finally {
        for (const lock of locks) await lock.release();
      }
      run.enter('open');
      await this.#hook('open');
    } catch (error) {
      if (await this.#back(layout, swap, isClosed)) this.lifecycle.setMode(modeBefore);
      else this.lifecycle.setMode('read_only');
      throw error;
    }
    // The new state stands and is open. What is left of the exchange can also be cleared away by the next run.
    await swap.finish().catch(warn);
    this.lifecycle.setMode(modeBefore);
    return undo;
  }

  /** A close hook that was given up has closed the database after all, and everybody has gone on. */
  #openLate(): void {
    this.#hook('open').catch((error) => {
      this.lifecycle.setMode('read_only');
      warn(error);
    });
  }

  /** False when the old state could not be brought back and opened. */
  async #back(layout: Layout, swap: DirectoryExchange | undefined, isClosed: boolean): Promise<boolean> {
    if (!isClosed) return true; // the host's database was never closed, or says that it could not be
    try {
      if (swap !== undefined) {
        if (swap.phase === 'opening') await this.#hook('close').catch(() => undefined); // half open, perhaps
        const locks = await this.#lockEngine(layout, swap.keep);
        try {
          await swap.back();
          await swap.finish();
        } finally {
          for (const lock of locks) await lock.release();
        }
      }
      await this.#hook('open');
      return true;
    } catch {
      return false;
    }
  }

  async #hook(name: 'close' | 'open', onLate?: () => void): Promise<void> {
    const hook = this.#options[name];
    if (hook === undefined) return;
    // Not the run's signal: once it has begun, the exchange goes to its end.
    const timeoutMs = this.#options.hookTimeoutMs ?? 5 * 60 * 1000;
    const signal = new AbortController().signal;
    const limit = '`hookTimeoutMs` of the RestoreCoordinator';
    await callHook(name, hook, { timeoutMs, limit, signal, ...(onLate && { onLate }) });
  }

  /** Keeps other processes from opening the database while its files are exchanged; `CONFLICT` when one has. */
  async #lockEngine(layout: Layout, names: readonly string[]): Promise<HeldLock[]> {
    const { fs, locks } = this.#env;
    const held: HeldLock[] = [];
    try {
      for (const name of names) {
        const lock = await locks.tryAcquireEngineLock(fs, join(layout.dataDir, name));
        if (lock === undefined) throw databaseOpen(layout);
        held.push(lock);
      }
      return held;
    } catch (error) {
      for (const lock of held) await lock.release();
      throw error;
    }
  }
}

const KINDS: readonly RunKind[] = ['restore', 'undo'];

const START: Checks<StartRestoreOptions> = {
  ...THROTTLE,
  // A client may have sent it: whatever does not exist gets one and the same answer.
  source: optional((name, value) => typeof value === 'function' || aText(name, value)),
  clone: optional(oneOf(CLONE_CHOICES)),
};
const OPTIONS: Checks<RestoreCoordinatorOptions> = {
  dataDir: aFolder,
  engine: optional(anEngine),
  close: optional(aFunction),
  open: optional(aFunction),
  hookTimeoutMs: optional(wholeNumber(1)),
  lifecycle: optional(aLifecycle),
  allowedSources: optional(aListOfPaths),
};

const databaseOpen = ({ dataDir }: Layout): StillpointError =>
  new StillpointError('CONFLICT', `the database in ${dataDir} is open`, {
    path: dataDir,
    hint: 'Close it first, or restore through the server that has it open.',
  });

const nothingToUndo = ({ dataDir, undo }: Layout): StillpointError =>
  new StillpointError('NOT_FOUND', `there is nothing to undo in ${dataDir}`, {
    path: undo,
    hint: 'Nothing was restored in place here, or its undo folder was removed.',
  });
