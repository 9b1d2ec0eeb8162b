import { join } from 'node:path';
import { LIFECYCLE } from '../engine/engine.ts';
import { aFolder, type Checks, checkOptions, optional } from '../env/checks.ts';
import { listIfPresent, makeFolders, removeTree } from '../env/io.ts';
import type { HeldLock } from '../env/lock.ts';
import { callSafely } from '../env/safe-calls.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { DirectoryExchange } from '../snapshot/restore/directory-exchange.ts';
import { type Layout, layoutOf, ownerOf } from '../snapshot/store/layout.ts';
import { sweep } from '../snapshot/store/prune.ts';
import { realFolder } from '../snapshot/store/real-folder.ts';
import { anEnvironment } from './option-checks.ts';
import { type RunKind, RunRecords } from './records.ts';

/**
 * - `normal`: reads and writes.
 * - `read_only`: reads; the host refuses writes.
 * - `maintenance`: the database is closed, or about to be.
 */
export const LIFECYCLE_MODES = ['normal', 'read_only', 'maintenance'] as const;
export type LifecycleMode = (typeof LIFECYCLE_MODES)[number];

export interface Recovery {
  /** Set when an in-place restore had been cut off: which state stands now. */
  readonly restore: 'old' | 'new' | null;
  /** Ids of runs that had been cut off; they read as failed, `INTERRUPTED`, from now on. */
  readonly interrupted: readonly string[];
  /** Partial folders that were removed. */
  readonly swept: readonly string[];
}

export interface Admission {
  readonly layout: Layout;
  readonly records: RunRecords;
  release(): Promise<void>;
}

export interface LifecycleOptions {
  readonly dataDir: string;
  readonly environment?: Environment;
}

/**
 * What is at work on one data directory. Share one among the coordinators of a process; between processes the kernel's
 * lock on `.lifecycle/lock` keeps the order.
 *
 * Call `recover()` before the database is opened: a restore that a crash cut off is brought to its end then.
 */
export class Lifecycle {
  readonly environment: Environment;
  readonly #dataDir: string;
  readonly #listeners = new Set<(mode: LifecycleMode) => void>();
  #mode: LifecycleMode = 'normal';
  #running: RunKind | 'recovery' | 'prune' | undefined;

  constructor(options: LifecycleOptions) {
    checkOptions('Lifecycle', options, OPTIONS);
    this.#dataDir = options.dataDir;
    this.environment = options.environment ?? systemEnvironment;
    this.environment.pool.load();
  }

  /** As it was given. */
  get dataDir(): string {
    return this.#dataDir;
  }

  get mode(): LifecycleMode {
    return this.#mode;
  }

  setMode(mode: LifecycleMode): void {
    if (!LIFECYCLE_MODES.includes(mode))
      throw new TypeError(`mode must be one of ${LIFECYCLE_MODES.join(', ')}`);
    this.#mode = mode;
    for (const listener of this.#listeners) callSafely(() => listener(mode));
  }

  onMode(listener: (mode: LifecycleMode) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What is under way in this process. */
  get running(): string | undefined {
    return this.#running;
  }

  /**
   * Of the real path; `NOT_FOUND` or `NOT_A_FOLDER` when there is no data directory, `INVALID_REQUEST` when it is a snapshot, or
   * anything else inside a folder `.lifecycle`: to work on that would change it.
   */
  async layout(): Promise<Layout> {
    const dataDir = await realFolder(this.environment.fs, this.#dataDir);
    refuseKept(dataDir);
    return layoutOf(dataDir);
  }

  /** Whether nothing was ever kept of this directory: nobody need make the folder to find that nothing is in it. */
  async isUnused(): Promise<boolean> {
    try {
      const { lifecycle } = await this.layout();
      return (await this.environment.fs.inspect(lifecycle)) === undefined;
    } catch (error) {
      throw toStillpointError(error);
    }
  }

  async records(): Promise<RunRecords> {
    return new RunRecords(this.environment.fs, await this.layout());
  }

  /**
   * Takes the one place that there is for work on this directory, after what a crash may have left is swept. `CONFLICT`
   * when it is taken, and when a restore was cut off: that needs `recover`, with the database closed.
   */
  async admit(kind: RunKind | 'recovery' | 'prune'): Promise<Admission> {
    if (this.#running !== undefined) throw alreadyRunning(this.#running);
    this.#running = kind;
    try {
      const layout = await this.layout();
      const lock = await this.#lock(layout);
      try {
        const swap = await DirectoryExchange.findInterrupted(this.environment.fs, layout);
        // Once the new state stands whole, only clearing away is left; before that, files would move beneath the database.
        if (swap?.phase === 'opening') await swap.finish();
        else if (swap !== undefined) throw needsRecovery(layout);
        await this.#putInOrder(layout);
      } catch (error) {
        await lock.release();
        throw error;
      }
      const release = async () => {
        this.#running = undefined;
        await lock.release();
      };
      return { layout, records: new RunRecords(this.environment.fs, layout), release };
    } catch (error) {
      this.#running = undefined;
      throw toStillpointError(error);
    }
  }

  /**
   * Brings to an end what a crash cut off: rolls an interrupted restore forward or back, records cut-off runs, removes
   * partial folders. `CONFLICT` when another process is in the middle of a restore. Where there is no data directory yet, there
   * is nothing to recover.
   */
  async recover(): Promise<Recovery> {
    try {
      return await this.#recover();
    } catch (error) {
      throw toStillpointError(error);
    }
  }

  async #recover(): Promise<Recovery> {
    const layout = await this.layout().catch((error) => {
      if (error instanceof StillpointError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    });
    if (layout === undefined || (await this.environment.fs.inspect(layout.lifecycle)) === undefined)
      return NOTHING;
    let lock: HeldLock;
    try {
      lock = await this.#lock(layout);
    } catch (error) {
      // Somebody is at work, so nothing was cut off. A snapshot being taken does not disturb; a restore does.
      const isRestoring =
        (await DirectoryExchange.findInterrupted(this.environment.fs, layout)) !== undefined;
      if (isRestoring || !(error instanceof StillpointError) || error.code !== 'CONFLICT') throw error;
      return NOTHING;
    }
    try {
      const swap = await DirectoryExchange.findInterrupted(this.environment.fs, layout);
      const restore = swap === undefined ? null : await this.#finishSwap(swap, layout);
      return { restore, ...(await this.#putInOrder(layout)) };
    } finally {
      await lock.release();
    }
  }

  async #lock(layout: Layout): Promise<HeldLock> {
    const { fs, locks } = this.environment;
    await makeFolders(fs, layout.lifecycle);
    const lock = await locks.tryAcquire(fs, layout.lock, 'exclusive');
    if (lock !== undefined) return lock;
    throw new StillpointError(
      'CONFLICT',
      `backup already running: another process is at work on ${layout.dataDir}`,
      {
        path: layout.lock,
      },
    );
  }

  async #finishSwap(swap: DirectoryExchange, layout: Layout): Promise<'old' | 'new'> {
    const { fs, locks } = this.environment;
    const held: HeldLock[] = [];
    try {
      for (const name of swap.keep) {
        const lock = await locks.tryAcquireEngineLock(fs, join(layout.dataDir, name));
        if (lock === undefined) throw needsRecovery(layout);
        held.push(lock);
      }
      return await swap.recover();
    } finally {
      for (const lock of held) await lock.release();
    }
  }

  async #putInOrder(layout: Layout): Promise<Omit<Recovery, 'restore'>> {
    const { fs, clock } = this.environment;
    for (const { name } of await listIfPresent(fs, layout.restore))
      await removeTree(fs, join(layout.restore, name));
    const swept = await sweep(this.environment, layout);
    const interrupted = await new RunRecords(fs, layout).closeInterrupted(clock.nowMs());
    return { interrupted, swept };
  }
}

const OPTIONS: Checks<LifecycleOptions> = { dataDir: aFolder, environment: optional(anEnvironment) };

const NOTHING: Recovery = { restore: null, interrupted: [], swept: [] };

/** @param path A real one, of what is to be a data directory. */
export function refuseKept(path: string): void {
  if (ownerOf(path) === undefined) return;
  throw new StillpointError(
    'INVALID_REQUEST',
    `${path} lies in a folder ${LIFECYCLE}: it is a snapshot, or belongs to the keeping of one`,
    { path, hint: 'Restore it into a folder first: `stillpoint restore PATH --into DIR`.' },
  );
}

const needsRecovery = (layout: Layout): StillpointError =>
  new StillpointError('CONFLICT', `a restore of ${layout.dataDir} was cut off and is not finished yet`, {
    path: layout.restore,
    hint: 'Close the database, then run `stillpoint recover DIR`, or call `lifecycle.recover()` before opening it.',
  });

const alreadyRunning = (kind: string): StillpointError =>
  new StillpointError('CONFLICT', `${kind === 'recovery' ? 'a recovery is' : kind} already running`);
