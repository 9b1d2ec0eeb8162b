import { join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { realPlace } from '../../env/io.ts';
import type { HeldLock } from '../../env/lock.ts';
import { StillpointError } from '../../errors.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { type BackupPlan, readPlan } from '../plan/plan.ts';
import { type Journal, openJournal } from './journal.ts';

/** The part of the outside world that a fleet's controller needs. */
export type FleetEnvironment = Pick<Environment, 'fs' | 'clock' | 'locks' | 'newId'>;

export interface OpenRun {
  /** The real path of the layout folder. */
  readonly layout: string;
  readonly plan: BackupPlan;
  readonly journal: Journal;
  close(): Promise<void>;
}

/**
 * Takes the run lock of a layout folder, which the kernel frees when its owner dies. `CONFLICT` while another run has it. Without a
 * folder there is no plan: `NOT_FOUND`.
 */
export async function lockLayout(
  { fs, locks }: FleetEnvironment,
  layoutDir: string,
): Promise<{ layout: string; lock: HeldLock }> {
  const layout = await realPlace(fs, layoutDir);
  if ((await fs.inspect(layout))?.kind !== 'folder') throw noPlan(layoutDir);
  const path = join(layout, 'lock');
  const lock = await locks.tryAcquire(fs, path, 'exclusive');
  if (lock !== undefined) return { layout, lock };
  throw new StillpointError('CONFLICT', `another run is at work on ${layoutDir}`, { path });
}

/** Locks a layout, and reads its plan and its journal, each checked against the other. */
export async function openRun(env: FleetEnvironment, layoutDir: string): Promise<OpenRun> {
  const { layout, lock } = await lockLayout(env, layoutDir);
  try {
    const plan = await readPlan(env.fs, layout);
    if (plan === undefined) throw noPlan(layoutDir);
    if (await isDrivenElsewhere(env.fs, layout))
      throw new StillpointError(
        'CONFLICT',
        `the steps of the run in ${layoutDir} are recorded in PostgreSQL`,
        {
          path: layout,
          hint: 'Name the server again: `stillpoint fleet run FLEETFILE --out DIR --steps env:NAME`. Nodes that refuse writes take them again when their leases run out.',
        },
      );
    const journal = await openJournal(env.fs, layout, plan, env.clock.nowMs());
    return {
      layout,
      plan,
      journal,
      async close() {
        await journal.close();
        await lock.release();
      },
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Stands in the layout folder of a run whose steps are recorded elsewhere: the journal there is only a copy. */
export const driverFileOf = (layout: string): string => join(layout, 'backup-steps.json');

export const isDrivenElsewhere = async (fs: FileSystem, layout: string): Promise<boolean> =>
  (await fs.inspect(driverFileOf(layout))) !== undefined;

export const noPlan = (path: string): StillpointError =>
  new StillpointError('NOT_FOUND', `there is no backup plan in ${path}`, {
    path,
    hint: 'Make one first: `stillpoint fleet plan FLEETFILE --out DIR`.',
  });
