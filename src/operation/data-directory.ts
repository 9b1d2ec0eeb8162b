import { join } from 'node:path';
import { isoTime } from '../env/clock.ts';
import { listIfPresent, makeFolders, removeTree } from '../env/io.ts';
import type { HeldLock } from '../env/lock.ts';
import { lockHolder } from '../env/lock-holder.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { DirectoryExchange } from '../snapshot/restore/directory-exchange.ts';
import { type Layout, layoutOf } from '../snapshot/store/layout.ts';
import { sweep } from '../snapshot/store/prune.ts';
import { keepReserve } from '../snapshot/store/reserve.ts';
import { MeantFolder } from './meant-folder.ts';
import { isFinished } from './operation-state.ts';
import { gone, type RunKind, type RunRecord, RunRecords } from './records.ts';
import { refuseKept, refuseSnapshot } from './refuse-snapshot.ts';

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
  #isDatabase = false;
  #running: Work | undefined;
  #records: { readonly dataDir: string; readonly records: RunRecords } | undefined;

  constructor(path: string, environment: Environment) {
    this.path = path;
    this.environment = environment;
    this.folder = new MeantFolder(environment.fs, path);
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
    const dataDir = await this.folder.realPath();
    refuseKept(dataDir);
    if (!this.#isDatabase) await refuseSnapshot(this.environment, dataDir);
    this.#isDatabase = true; // what is not one snapshot now does not become one
    return layoutOf(dataDir);
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
    return this.#recordsOf(await this.layout());
  }

  /** All runs, oldest first. One whose process is gone, and which nobody has put in order yet, reads as failed. Writes nothing. */
  async runs(): Promise<readonly RunRecord[]> {
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
  #recordsOf(layout: Layout): RunRecords {
    const { dataDir } = layout;
    if (this.#records?.dataDir !== dataDir)
      this.#records = { dataDir, records: new RunRecords(this.environment.fs, layout) };
    return this.#records.records;
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
      const lock = await this.#lock(layout);
      try {
        const swap = await DirectoryExchange.findInterrupted(this.environment.fs, layout);
        // The new state is complete: only cleaning up is left. Before that point files would move under an open database.
        if (swap?.phase === 'opening') {
          await this.#recordAsDone(layout, swap.id);
          await swap.finish();
        } else if (swap !== undefined) throw needsRecovery(layout);
        await this.#putInOrder(layout);
        if (kind !== 'prune') await keepReserve(this.environment.fs, layout);
      } catch (error) {
        await lock.release();
        throw error;
      }
      const release = async () => {
        this.#running = undefined;
        await lock.release();
      };
      return { layout, records: this.#recordsOf(layout), release };
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
    if (layout === undefined || (await this.environment.fs.inspect(layout.lifecycle)) === undefined)
      return NOTHING;
    let lock: HeldLock;
    try {
      lock = await this.#lock(layout);
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
    throw await heldElsewhere(layout);
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
      if (restore === 'new') await this.#recordAsDone(layout, swap.id);
      await swap.finish();
      return restore;
    } finally {
      for (const lock of held) await lock.release();
    }
  }

  /** While the journal of the exchange still stands: after it nothing tells that the run was not in vain. */
  async #recordAsDone(layout: Layout, id: string): Promise<void> {
    await this.#recordsOf(layout).closeInterrupted(this.environment.clock.nowMs(), id);
  }

  async #putInOrder(layout: Layout): Promise<Omit<Recovery, 'restore'>> {
    const { fs, clock } = this.environment;
    for (const { name } of await listIfPresent(fs, layout.restore))
      await removeTree(fs, join(layout.restore, name));
    const swept = await sweep(this.environment, layout);
    const interrupted = await this.#recordsOf(layout).closeInterrupted(clock.nowMs());
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
