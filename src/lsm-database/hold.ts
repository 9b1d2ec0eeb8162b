import { join } from 'node:path';
import type { Hold } from '../engine/engine.ts';
import { LOG } from '../engine/lsm/names.ts';
import { planFromState } from '../engine/lsm/plan.ts';
import type { Store } from './shared-state.ts';

/** A hold on the state of this very moment, with the plan for its capture. */
export interface LsmHold extends Hold {
  readonly plan: NonNullable<Hold['plan']>;
  isIn(dataDir: string): Promise<boolean>;
  /** Calling it again does nothing. */
  release(): void;
}

/**
 * Takes a hold between two commits: all acknowledged writes are in the log's live range or in a table of the list, and nothing else
 * is. Until `release` no table is deleted and the log's start does not move, so that the files hold this state while commits,
 * flushes and compactions go on beside it. Only the log's headers and `checkpoint.meta` change; the plan carries their bytes.
 */
export function takeHold(store: Store, onRelease: () => void): LsmHold {
  const { log, checkpoint, tables, lastLsn } = store;
  const plan = planFromState({
    log: {
      geometry: log.geometry,
      sizeBytes: log.sizeBytes,
      start: log.section.start,
      liveBytes: log.usedBytes,
      sectionHeader: log.sectionHeader,
      segmentHeaders: log.segmentHeaders,
    },
    ...(checkpoint.bytes === undefined ? {} : { checkpoint: checkpoint.bytes }),
    tables: tables.map(({ path, sizeBytes }) => ({ path, sizeBytes })),
    lastLsn,
  });
  store.holds++;
  let isReleased = false;
  return {
    plan,
    async isIn(dataDir) {
      const [there, own] = [await store.options.fs.inspect(join(dataDir, LOG)), await log.stat()];
      return there?.ino === own.ino && there.dev === own.dev;
    },
    release() {
      if (isReleased) return;
      isReleased = true;
      store.holds--;
      onRelease();
    },
  };
}
