import { join, resolve } from 'node:path';
import { isoTime } from '../env/clock.ts';
import { listIfPresent, makeFolders, removeTree } from '../env/io.ts';
import type { HeldLock } from '../env/lock.ts';
import { lockHolder } from '../env/lock-holder.ts';
import { warn } from '../env/safe-calls.ts';
import { isRefusal, StillpointError, toStillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { DirectoryExchange } from '../snapshot/restore/directory-exchange.ts';
import { chosenLayout, isRefused, keptLayout, noteHome, refuseBareHome } from '../snapshot/store/home.ts';
import { type Layout, nameOf, ownLayout } from '../snapshot/store/layout.ts';
import { removeTransient, sweep } from '../snapshot/store/prune.ts';
import { keepReserves } from '../snapshot/store/reserve.ts';
import { carryIdentity } from '../snapshot/store/store-identity.ts';
import { MeantFolder } from './meant-folder.ts';
import { isFinished } from './operation-state.ts';
import { RunRecords } from './records.ts';
import { refuseKept, refuseSnapshot } from './refuse-snapshot.ts';
import { gone, type RunKind, type RunRecord } from './run-record.ts';
import { inOrder, upkeepRecords } from './upkeep.ts';

/** What an interrupted restore or snapshot left, and what was done about it. */
export interface Recovery {
  /** Set when a restore in place was interrupted: the state that stands now. */
  readonly restore: 'old' | 'new' | null;
  /** Ids of runs that were interrupted and did not do their work. From now on they are on record as failed, `INTERRUPTED`. */
  readonly interrupted: readonly string[];
  /** Partial folders that were removed. */
  readonly swept: readonly string[];
}

/** The right to work on a data directory, until `release`. */
export interface Admission {
  readonly layout: Layout;
  readonly records: RunRecords;
  release(): Promise<void>;
}

interface HeldLocks {
  /** Whether the lock in the data directory itself is among them. */
  readonly hasOwn: boolean;
  release(): Promise<void>;
}

/** What can occupy a data directory. */
export type Work = RunKind | 'recovery' | 'prune';

/**
 * One data directory as a place of work: at most one run at a time, in this process and, by a kernel lock on
 * `.lifecycle/lock`, across processes.
 */
export class DataDirectory {
  readonly environment: Environment;
  /** As the caller gave it. */
  readonly path: string;
  /** What `path` meant when this was made. */
  readonly folder: MeantFolder;
  /** Where its snapshots are to be kept, when the caller said so; absolute. */
  readonly #chosenHome: string | undefined;
  /** Found once: a run that began with one home does not end with another. */
  #places: { readonly folder: string; readonly layout: Layout } | undefined;
  #isDatabase = false;
  #running: Work | undefined;
  #records: { readonly file: string; readonly runs: RunRecords; readonly upkeep: RunRecords } | undefined;

  constructor(path: string, environment: Environment, home?: string) {
    this.path = path;
    this.environment = environment;
    this.folder = new MeantFolder(environment.fs, path);
    this.#chosenHome = home && resolve(home);
    environment.pool.load();
  }

  /** What runs in this process. */
  get running(): Work | undefined {
    return this.#running;
  }

  /**
   * Of the real path; `NOT_FOUND` or `NOT_A_FOLDER` when there is no data directory, `FOLDER_REPLACED` when it is another one than
   * before, `INVALID_REQUEST` when it is a snapshot, or anything else inside a folder `.lifecycle`: to work on that would change it.
   */
  async layout(): Promise<Layout> {
    const layout = await this.places();
    refuseKept(layout.home);
    if (!this.#isDatabase) await refuseSnapshot(this.environment, layout.dataDir);
    this.#isDatabase = true; // what is not one snapshot now does not become one
    return layout;
  }

  /** The same of any folder, for calls that only read. `CONFLICT` and `NOT_FOUND` as of `keptLayout`. */
  async places(): Promise<Layout> {
    const { fs } = this.environment;
    const folder = await this.folder.realPath();
    if (this.#places?.folder !== folder) {
      const home = this.#chosenHome;
      const layout = await (home === undefined ? keptLayout(fs, folder) : chosenLayout(fs, folder, home));
      this.#places = { folder, layout };
    }
    return this.#places.layout;
  }

  /** Whether there is no lifecycle folder yet. Ask before a check that would make it. */
  async isUnused(): Promise<boolean> {
    try {
      const { lifecycle } = await this.layout();
      return (await this.environment.fs.inspect(lifecycle)) === undefined;
    } catch (error) {
      throw toStillpointError(error);
    }
  }

  async records(): Promise<RunRecords> {
    return this.#recordsOf(await this.layout()).runs;
  }

  /**
   * All runs, oldest first, and what was verified and removed. A run whose process is gone, and which nobody has put in order yet, reads as
   * failed. Writes nothing.
   */
  async runs(): Promise<readonly RunRecord[]> {
    const { upkeep } = this.#recordsOf(await this.layout());
    // Who may not look into the ledger's folder is told so of each snapshot.
    const kept = await upkeep.read().catch((error) => {
      if (isRefusal(error)) return [];
      throw error;
    });
    return inOrder(await this.#settledRuns(), kept);
  }

  /** One run, as `runs` has it. */
  async run(id: string): Promise<RunRecord | undefined> {
    const record = await (await this.records()).find(id);
    if (record === undefined || isFinished(record.state)) return record;
    return (await this.#settledRuns()).find((one) => one.id === id);
  }

  async #settledRuns(): Promise<readonly RunRecord[]> {
    const records = await this.records();
    const first = await records.read();
    const open = new Set(first.filter(({ state }) => !isFinished(state)).map(({ id }) => id));
    if (open.size === 0 || (await this.#isAtWork())) return first;
    // One that began after the look at the lock was not open before.
    return (await records.read()).map((record) => (open.has(record.id) ? gone(record) : record));
  }

  /** Whether anybody, this process or another, has the place of a run. */
  async #isAtWork(): Promise<boolean> {
    if (this.#running !== undefined) return true;
    const { fs, locks } = this.environment;
    const { lock: path } = await this.layout();
    if ((await fs.inspect(path)) === undefined) return false;
    const lock = await locks.tryAcquire(fs, path, 'shared');
    await lock?.release();
    return lock === undefined;
  }

  /** One for all calls: it reads only what is new. */
  #recordsOf(layout: Layout): { readonly runs: RunRecords; readonly upkeep: RunRecords } {
    const { records: file } = layout;
    const { fs } = this.environment;
    if (this.#records?.file !== file)
      this.#records = { file, runs: new RunRecords(fs, layout), upkeep: upkeepRecords(fs, layout) };
    return this.#records;
  }

  /**
   * Admits one run, then sweeps what a crash may have left. `CONFLICT` while another run is admitted, and when a restore was
   * interrupted: that needs `recover`, with the database closed.
   */
  async admit(kind: Work): Promise<Admission> {
    if (this.#running !== undefined) throw alreadyRunning(this.#running);
    this.#running = kind;
    try {
      const layout = await this.layout();
      if (kind !== 'prune' && kind !== 'recovery') await refuseBareHome(this.environment.fs, layout);
      const held = await this.#lock(layout, kind);
      try {
        const swap = await DirectoryExchange.findInterrupted(this.environment.fs, layout);
        // The new state is complete: only cleaning up is left. Before that point files would move under an open database.
        if (swap?.phase === 'opening') {
          await this.#recordAsDone(layout, swap);
          await swap.finish();
        } else if (swap !== undefined) throw needsRecovery(layout);
        await this.#putInOrder(layout, held);
        if (kind !== 'prune') await this.#keepReserves(layout, held);
      } catch (error) {
        await held.release();
        throw error;
      }
      const release = async () => {
        this.#running = undefined;
        await held.release();
      };
      return { layout, records: this.#recordsOf(layout).runs, release };
    } catch (error) {
      this.#running = undefined;
      throw toStillpointError(error);
    }
  }

  /**
   * Finishes what a crash interrupted: rolls a restore forward or back, records interrupted runs as failed, and a restore whose
   * state stands as completed, removes partial folders. `CONFLICT` when another process is in the middle of a restore. Without a data directory there is nothing to do.
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
    if (layout === undefined || (await this.#isUntouched(layout))) return NOTHING;
    let held: HeldLocks;
    try {
      held = await this.#lock(layout, 'recovery');
    } catch (error) {
      // Another process is at work, so nothing was interrupted. A snapshot does not disturb opening; a restore does.
      const isRestoring =
        (await DirectoryExchange.findInterrupted(this.environment.fs, layout)) !== undefined;
      if (isRestoring || !(error instanceof StillpointError) || error.code !== 'CONFLICT') throw error;
      return NOTHING;
    }
    try {
      const swap = await DirectoryExchange.findInterrupted(this.environment.fs, layout);
      const restore = swap === undefined ? null : await this.#finishSwap(swap, layout);
      return { restore, ...(await this.#putInOrder(layout, held)) };
    } finally {
      await held.release();
    }
  }

  async #isUntouched(layout: Layout): Promise<boolean> {
    const { fs } = this.environment;
    for (const { lifecycle } of [layout, ownLayout(layout)])
      if ((await fs.inspect(lifecycle)) !== undefined) return false;
    return true;
  }

  /** Of the lifecycle folder with the snapshots, and of the one in the data directory, where that is another. */
  async #lock(layout: Layout, kind: Work): Promise<HeldLocks> {
    const { fs } = this.environment;
    const own = ownLayout(layout);
    const lock = await this.#lockOne(layout);
    let ownLock: HeldLock | undefined;
    try {
      if (this.#chosenHome !== undefined) {
        const before = await keptLayout(fs, layout.dataDir).catch(() => undefined); // its disk is gone
        if (before !== undefined && before.lifecycle !== layout.lifecycle)
          await carryIdentity(fs, before, layout).catch(warn); // a disk that fails is a reason to leave it
        await noteHome(fs, layout);
      }
      if (own !== layout) ownLock = await this.#lockOwn(own, kind);
    } catch (error) {
      await lock.release();
      throw error;
    }
    const release = async () => {
      await ownLock?.release();
      await lock.release();
    };
    return { hasOwn: own === layout || ownLock !== undefined, release };
  }

  async #lockOne(layout: Layout): Promise<HeldLock> {
    const { fs, locks } = this.environment;
    await makeFolders(fs, layout.lifecycle);
    const lock = await locks.tryAcquire(fs, layout.lock, 'exclusive');
    if (lock !== undefined) return lock;
    throw await heldElsewhere(layout);
  }

  /** A data directory that takes no change has no restore in it that a snapshot could meet. */
  async #lockOwn(own: Layout, kind: Work): Promise<HeldLock | undefined> {
    const mayBeAbsent = kind !== 'restore' && kind !== 'undo';
    if (mayBeAbsent && (await this.environment.fs.inspect(own.lifecycle)) === undefined) return undefined;
    try {
      return await this.#lockOne(own);
    } catch (error) {
      if (mayBeAbsent && isRefused(error)) return undefined;
      throw error;
    }
  }

  async #keepReserves(layout: Layout, { hasOwn }: HeldLocks): Promise<void> {
    const own = ownLayout(layout);
    await keepReserves(this.environment.fs, layout);
    if (own !== layout && hasOwn) await keepReserves(this.environment.fs, own);
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
      const restore = await swap.complete();
      if (restore === 'new') await this.#recordAsDone(layout, swap);
      await swap.finish();
      return restore;
    } finally {
      for (const lock of held) await lock.release();
    }
  }

  /** While the journal of the exchange still stands: after it nothing tells that the run was not in vain. */
  async #recordAsDone(layout: Layout, { id, undoFolder }: DirectoryExchange): Promise<void> {
    const done = { id, undo: nameOf(undoFolder) };
    await this.#recordsOf(layout).runs.closeInterrupted(this.environment.clock.nowMs(), done);
  }

  async #putInOrder(layout: Layout, { hasOwn }: HeldLocks): Promise<Omit<Recovery, 'restore'>> {
    const { fs, clock } = this.environment;
    const { backup, archive, export: exported, transient, undo } = layout;
    if (hasOwn)
      for (const { name } of await listIfPresent(fs, layout.restore))
        await removeTree(fs, join(layout.restore, name));
    const parents = [backup, archive, exported, transient, ...(hasOwn ? [undo] : [])];
    const swept = [
      ...(await sweep(this.environment, parents)),
      ...(await removeTransient(this.environment, layout)),
    ];
    const interrupted = await this.#recordsOf(layout).runs.closeInterrupted(clock.nowMs());
    return { interrupted, swept };
  }
}

const RETRY_AFTER_MS = 1000;

const NOTHING: Recovery = { restore: null, interrupted: [], swept: [] };

const needsRecovery = (layout: Layout): StillpointError =>
  new StillpointError('CONFLICT', `a restore of ${layout.dataDir} was interrupted and is not finished yet`, {
    path: layout.restore,
    hint: 'Close the database, then run `stillpoint recover DIR`, or call `lifecycle.recover()` before opening it.',
  });

async function heldElsewhere({ dataDir, lock }: Layout): Promise<StillpointError> {
  const message = `backup already running: another process is at work on ${dataDir}`;
  const holder = await lockHolder(lock);
  const retry_after_ms = RETRY_AFTER_MS;
  if (holder === undefined)
    return new StillpointError('CONFLICT', message, { path: lock, data: { retry_after_ms } });
  const { pid, command, startedAtMs } = holder;
  const since = startedAtMs === null ? '' : `, started ${isoTime(startedAtMs)}`;
  return new StillpointError('CONFLICT', `${message}: process ${pid} (${command})${since}`, {
    path: lock,
    data: { pid, command, started_at_ms: startedAtMs, retry_after_ms },
  });
}

/** `retry_after_ms` tells a program that this refusal passes by itself. */
export const alreadyRunning = (kind: string): StillpointError =>
  new StillpointError('CONFLICT', `${kind === 'recovery' ? 'a recovery is' : kind} already running`, {
    data: { retry_after_ms: RETRY_AFTER_MS },
  });
