import { dirname, join } from 'node:path';
import * as z from 'zod/mini';
import type { Engine } from '../engine/engine.ts';
import { detectEngine, engineByName } from '../engine/index.ts';
import type { Report } from '../engine/report.ts';
import { removeTree } from '../env/io.ts';
import { warn } from '../env/safe-calls.ts';
import type { DataDirectory } from '../operation/data-directory.ts';
import { callHook } from '../operation/hooks.ts';
import { directoryOf, Lifecycle, lifecycleOption, requireSameFolder } from '../operation/lifecycle.ts';
import type { OperationState } from '../operation/operation-state.ts';
import type { Run } from '../operation/run.ts';
import { type Done, RunCoordinator, type RunEvents } from '../operation/run-coordinator.ts';
import type { RunRecord } from '../operation/run-record.ts';
import { withThrottle } from '../operation/throttle.ts';
import {
  aboutOf,
  OptionSet,
  type OptionsOf,
  optional,
  type ResolvedOf,
  required,
  withDefault,
} from '../options/option.ts';
import { restoreOptions, type StartUndoOptions, startUndoOptions } from '../options/restore.ts';
import { signal } from '../options/snapshot.ts';
import { hostThrottleOptions } from '../options/throttle.ts';
import { callback, folder, paths, text, wholeNumber } from '../options/values.ts';
import type { Environment } from '../snapshot/environment.ts';
import { foreignInside, foreignNames } from '../snapshot/foreign-names.ts';
import { checkExchange, type Exchanged } from '../snapshot/restore/check-exchange.ts';
import { DirectoryExchange, refuseUnnamable } from '../snapshot/restore/directory-exchange.ts';
import { exchangedAt, exchangedBy } from '../snapshot/restore/exchanged.ts';
import { findUndoFolder, newUndoFolder, type Restored, stage } from '../snapshot/restore/restore.ts';
import {
  checkSource,
  openChosen,
  type RestoreSource,
  type SourceChoice,
} from '../snapshot/restore/restore-source.ts';
import { requireRewritable } from '../snapshot/restore/rewrite-manifest.ts';
import { LATEST, type Layout, nameOf } from '../snapshot/store/layout.ts';
import { engineOption } from './choose-engine.ts';
import { lockDatabase, refuseOpenDatabase, unlock } from './lock-database.ts';

export type RestoreMetadata = NonNullable<RunRecord['metadata']>;

/** A hook of the host around the exchange of files. */
type ExchangeHook = (context: { signal: AbortSignal }) => Promise<void> | void;

export const allowedSources = () =>
  withDefault(paths(), (): readonly string[] => [], {
    description:
      'Folders, besides the lifecycle folder, that a restore may come from when its source is a path.',
    flag: { name: 'allow-source', value: 'dir' },
  });

export const restoreCoordinatorOptions = new OptionSet(() => ({
  dataDir: required(folder(), { description: 'The folder that the engine keeps its files in.' }),
  engine: engineOption(
    'the one that wrote the snapshot; a snapshot of another engine than that of the data directory is refused',
  ),
  close: optional(callback<ExchangeHook>(), {
    description: 'Closes the database before its files are exchanged.',
    without: 'nothing has the database open',
  }),
  open: optional(callback<ExchangeHook>(), {
    description: 'Opens the database again: on the new state, or on the old one after a failure.',
    without: 'it stays closed',
  }),
  hookTimeoutMs: withDefault(wholeNumber(1), () => 5 * 60 * 1000, {
    description: 'The time limit of each hook.',
    unit: 'milliseconds',
  }),
  lifecycle: lifecycleOption(),
  allowedSources: allowedSources(),
}));
export type RestoreCoordinatorOptions = OptionsOf<typeof restoreCoordinatorOptions>;

export const startRestoreOptions = new OptionSet(() => ({
  ...restoreOptions.fields,
  ...hostThrottleOptions.fields,
  source: withDefault(
    // A client may have sent it: any text gets the same answer when there is no such snapshot.
    z.union([text(), callback<Exclude<SourceChoice, string>>()], {
      error: 'must be `latest`, a name, an id or a path, or a function that opens a snapshot',
    }),
    () => LATEST,
    aboutOf(restoreOptions.fields.source),
  ),
  signal: signal(),
}));
export type StartRestoreOptions = OptionsOf<typeof startRestoreOptions>;

type ResolvedRestoreOptions = ResolvedOf<typeof startRestoreOptions>;

export interface RestoreResult {
  readonly id: string;
  readonly from: string;
  readonly into: string;
  readonly files: number;
  readonly bytes: number;
  readonly clonedBytes: number;
  /** The folder with what was replaced. */
  readonly undo: string;
  /** Names in the data directory that are not the engine's, and stayed where they were: up to a hundred. */
  readonly leftInPlace: readonly string[];
  /** What lay in a folder of the engine and is not its own, and moved with that into `undo`: up to a hundred. */
  readonly movedAlong: readonly string[];
  readonly state: OperationState;
  readonly metadata: RestoreMetadata;
  /** The proof of what was put in place; null for an undo, which brings back what was there, whatever it was. */
  readonly report: Report | null;
  readonly durationsMs: Readonly<Record<string, number>>;
}

export type RestoreEvents = RunEvents<RestoreResult>;

/**
 * Restores in place, around the host's own closing and opening of its database. Until the staged copy has passed its proof,
 * nothing is touched, the mode included. After a failure the old state comes back. What was replaced stays in an undo folder.
 */
export class RestoreCoordinator extends RunCoordinator<RestoreResult> {
  readonly lifecycle: Lifecycle;
  readonly #options: ResolvedOf<typeof restoreCoordinatorOptions>;
  readonly #directory: DataDirectory;

  constructor(options: RestoreCoordinatorOptions) {
    const resolved = restoreCoordinatorOptions.resolve('RestoreCoordinator', options);
    requireSameFolder('RestoreCoordinator', resolved.dataDir, resolved.lifecycle);
    const lifecycle = resolved.lifecycle ?? new Lifecycle({ dataDir: resolved.dataDir });
    super(directoryOf(lifecycle), ['restore', 'undo']);
    this.#options = resolved;
    this.lifecycle = lifecycle;
    this.#directory = directoryOf(lifecycle);
  }

  /**
   * Admits a restore and begins it. Rejects with `NOT_FOUND`, `PATH_OUTSIDE`, `CONFLICT`, or with `RESTORE_INTEGRITY_MISMATCH` and
   * `ENGINE_MISMATCH` when names and sizes already show that it cannot be restored. Damage inside the files fails the run.
   * Nothing is changed then.
   */
  async startRestore(options: StartRestoreOptions = {}): Promise<{ id: string; location: string }> {
    const chosen = startRestoreOptions.resolve('startRestore', options);
    return this.start('restore', chosen.signal, async ({ layout }, newRun) => {
      const engine = await this.#wantedEngine(layout);
      const allowed = [layout.lifecycle, ...this.#options.allowedSources];
      const files = await openChosen(this.#env, layout, chosen.source, allowed);
      const run = newRun(files.location);
      const source = await checkSource(this.#env, files, run.control, engine);
      try {
        if (chosen.rewriteManifest) requireRewritable(source);
        await this.#checkBefore(layout, exchangedBy(source.engine));
      } catch (error) {
        await source.release();
        throw error;
      }
      run.plan(source.manifest.entries.length, 2 * source.bytes);
      return {
        run,
        work: () => this.#restore(run, source, chosen, layout),
        abandon: source.release, // otherwise nobody could remove that snapshot until this process ends
      };
    });
  }

  /** Admits an undo: the newest undo folder, or the one that `to` names, replaces the present files, which become an undo folder. `NOT_FOUND`. */
  async startUndo(options: StartUndoOptions = {}): Promise<{ id: string; location: string }> {
    const { to } = startUndoOptions.resolve('startUndo', options);
    if (await this.#directory.isUnused()) await findUndoFolder(this.#env, await this.#directory.layout(), to);
    return this.start('undo', undefined, async ({ layout }, newRun) => {
      const location = await findUndoFolder(this.#env, layout, to);
      const exchanged = await exchangedAt(this.#env.fs, location, () => this.#wantedEngine(layout));
      await this.#checkBefore(layout, exchanged, location);
      const run = newRun(location);
      return { run, work: () => this.#undo(run, location, layout, exchanged) };
    });
  }

  /** `startRestore` and `finished` in one. */
  async restore(options: StartRestoreOptions = {}): Promise<RestoreResult> {
    return this.finished((await this.startRestore(options)).id);
  }

  /** `startUndo` and `finished` in one. */
  async undo(options: StartUndoOptions = {}): Promise<RestoreResult> {
    return this.finished((await this.startUndo(options)).id);
  }

  /** What a completed restore brought back; null before that. `NOT_FOUND`. */
  async metadata(id: string): Promise<RestoreMetadata | null> {
    return (await this.record(id)).metadata;
  }

  get #env(): Environment {
    return this.#directory.environment;
  }

  async #wantedEngine(layout: Layout): Promise<Engine | undefined> {
    const { engine } = this.#options;
    if (typeof engine === 'object') return engine;
    return engine === 'auto' ? detectEngine(this.#env.fs, layout.dataDir) : engineByName(engine);
  }

  async #restore(
    run: Run,
    source: RestoreSource,
    options: ResolvedRestoreOptions,
    layout: Layout,
  ): Promise<Done<RestoreResult>> {
    const staged = join(layout.restore, run.id, 'data');
    run.enter('stage');
    const { report, clonedBytes } = await this.#stage(run, source, staged, options).finally(source.release);
    const exchange = await this.#exchange(run, layout, staged, exchangedBy(source.engine));
    const foreign = await this.#foreign(layout, exchange, source.engine);
    const { manifest, bytes } = source;
    return this.#done(run, layout, exchange, {
      files: manifest.entries.length,
      bytes,
      clonedBytes,
      ...foreign,
      report,
    });
  }

  async #stage(
    run: Run,
    source: RestoreSource,
    staged: string,
    options: ResolvedRestoreOptions,
  ): Promise<Restored> {
    try {
      return await withThrottle(this.#env, run.control, options, (env) =>
        stage(env, source, staged, options, run.control),
      );
    } catch (error) {
      await removeTree(this.#env.fs, dirname(staged)).catch(() => undefined); // otherwise the next admission sweeps it
      throw error;
    }
  }

  async #undo(run: Run, from: string, layout: Layout, exchanged: Exchanged): Promise<Done<RestoreResult>> {
    const exchange = await this.#exchange(run, layout, from, exchanged);
    const foreign = await this.#foreign(layout, exchange, exchanged.engine);
    const restored = { files: 0, bytes: 0, clonedBytes: 0, ...foreign, report: null };
    return this.#done(run, layout, exchange, restored);
  }

  /** The exchange is over: a folder that cannot be listed does not undo it. */
  async #foreign(
    { dataDir }: Layout,
    { undoFolder }: DirectoryExchange,
    engine: Engine | undefined,
  ): Promise<Pick<RestoreResult, 'leftInPlace' | 'movedAlong'>> {
    const { fs } = this.#env;
    try {
      return {
        leftInPlace: await foreignNames(fs, dataDir, engine),
        movedAlong: await foreignInside(fs, undoFolder, engine),
      };
    } catch (error) {
      warn(error);
      return { leftInPlace: [], movedAlong: [] };
    }
  }

  #done(
    run: Run,
    { dataDir }: Layout,
    exchange: DirectoryExchange,
    restored: Pick<
      RestoreResult,
      'files' | 'bytes' | 'clonedBytes' | 'leftInPlace' | 'movedAlong' | 'report'
    >,
  ): Done<RestoreResult> {
    const { id, location } = run;
    const metadata = {
      backupId: nameOf(location),
      location,
      restoredAtMs: this.#env.clock.nowMs(),
      sizeBytes: restored.bytes,
    };
    return {
      metadata,
      undo: nameOf(exchange.undoFolder),
      // While its journal stands, a crash leaves the run on record as complete.
      cleanUp: () => exchange.finish(),
      result: () => ({
        ...restored,
        undo: exchange.undoFolder,
        id,
        from: location,
        into: dataDir,
        state: run.state,
        metadata,
        durationsMs: run.durationsMs,
      }),
    };
  }

  /** Where nothing closes the database, one that is open now is refused before all of the snapshot was read in vain. */
  async #checkBefore(layout: Layout, exchanged: Exchanged, from?: string): Promise<void> {
    await this.#checkExchange(layout, exchanged, from);
    if (this.#options.close !== undefined) return;
    await refuseOpenDatabase(this.#env, layout.dataDir, exchanged.keep, exchanged.engine);
  }

  /** What would stop an exchange is known before anything is copied, and before the database is closed. */
  async #checkExchange(layout: Layout, exchanged: Exchanged, from?: string): Promise<void> {
    await refuseUnnamable(this.#env.fs, layout.dataDir);
    await checkExchange(this.#env.fs, layout, exchanged, from);
  }

  /** Closes, exchanges, opens. On a failure the old state comes back. Resolves to the exchange, whose journal still stands. */
  async #exchange(run: Run, layout: Layout, from: string, exchanged: Exchanged): Promise<DirectoryExchange> {
    const { fs } = this.#env;
    const { engine, keep } = exchanged;
    const modeBefore = this.lifecycle.mode;
    const undo = await newUndoFolder(this.#env, layout);
    await this.#checkExchange(layout, exchanged, dirname(from) === layout.undo ? from : undefined);
    run.passRecall(); // an exchange that has begun finishes
    run.enter('close');
    this.lifecycle.setMode('maintenance');
    let isClosed = false;
    let swap: DirectoryExchange | undefined;
    try {
      await this.#hook('close', () => this.#openLate());
      isClosed = true;
      const locks = await lockDatabase(this.#env, layout.dataDir, keep, engine);
      try {
        swap = await DirectoryExchange.begin(fs, layout, { id: run.id, from, undo, keep, engine });
        run.enter('swap');
        await swap.forward();
      } finally {
        await unlock(locks);
      }
      run.enter('open');
      await this.#hook('open');
    } catch (error) {
      if (await this.#back(layout, swap, isClosed, engine)) this.lifecycle.setMode(modeBefore);
      else this.lifecycle.setMode('read_only');
      throw error;
    }
    this.lifecycle.setMode(modeBefore);
    return swap;
  }

  /** A close hook that timed out has closed the database after all: open it again. */
  #openLate(): void {
    this.#hook('open').catch((error) => {
      this.lifecycle.setMode('read_only');
      warn(error);
    });
  }

  /** False when the old state could not be brought back and opened. */
  async #back(
    layout: Layout,
    swap: DirectoryExchange | undefined,
    isClosed: boolean,
    engine: Engine | undefined,
  ): Promise<boolean> {
    if (!isClosed) return true; // the host's database was never closed, or says that it could not be
    try {
      if (swap !== undefined) {
        if (swap.phase === 'opening') await this.#hook('close').catch(() => undefined); // it may be half open
        const locks = await lockDatabase(this.#env, layout.dataDir, swap.keep, engine);
        try {
          await swap.back();
          await swap.finish();
        } finally {
          await unlock(locks);
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
    // Not the signal of the run: an exchange that has begun finishes.
    const { hookTimeoutMs: timeoutMs } = this.#options;
    const signal = new AbortController().signal;
    const limit = '`hookTimeoutMs` of the RestoreCoordinator';
    await callHook(name, hook, { timeoutMs, limit, signal, ...(onLate && { onLate }) });
  }
}
