import { realPlace } from '../env/io.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { replayJournal } from './journal/journal.ts';
import { lockLayout } from './journal/open-run.ts';
import { Execution } from './journal/operation-states.ts';
import { readPlan } from './plan/plan.ts';

export interface FleetStatus {
  readonly planId: string;
  readonly runId: string;
  readonly backupId: string;
  readonly complete: boolean;
  /** Whether a run is at work on it. */
  readonly running: boolean;
  readonly execution: Readonly<Record<string, number>>;
  readonly nodes: readonly {
    readonly id: string;
    readonly unit: string;
    readonly window: number;
    readonly state: string;
    readonly snapshot: string | null;
    /** Of the last operation that failed and was not repeated since. */
    readonly error: string | null;
  }[];
}

/** How far a backup is, from its plan and its journal. Changes nothing. */
export async function fleetStatus(
  layoutDir: string,
  environment: Environment = systemEnvironment,
): Promise<FleetStatus> {
  try {
    const { fs } = environment;
    const layout = await realPlace(fs, layoutDir);
    const plan = await readPlan(fs, layout);
    if (plan === undefined)
      throw new StillpointError('NOT_FOUND', `there is no backup plan in ${layoutDir}`, { path: layoutDir });
    const execution = (await replayJournal(fs, layout, plan))?.execution ?? new Execution(plan);
    return {
      planId: plan.plan_id,
      runId: plan.run_id,
      backupId: plan.backup_id,
      complete: execution.isComplete,
      running: await isLocked(environment, layoutDir),
      execution: { ...execution.totals, total: plan.operations.length },
      nodes: plan.targets.map(({ target_id: id }) => {
        const rows = KINDS.flatMap((kind) => execution.row(kind, id) ?? []);
        const failed = rows.find(({ state }) => state === 'failed');
        const artifact = execution.artifact(id);
        return {
          id,
          unit: execution.unitOf(id).unit_id,
          window: execution.window(id),
          state: artifact?.state ?? 'Missing',
          snapshot: artifact?.snapshot_id ?? null,
          error: failed?.receipt?.failure_reason ?? null,
        };
      }),
    };
  } catch (error) {
    throw toStillpointError(error);
  }
}

const KINDS = ['stop', 'snapshot', 'start', 'copy', 'verify'] as const;

async function isLocked(environment: Environment, layoutDir: string): Promise<boolean> {
  try {
    const { lock } = await lockLayout(environment, layoutDir);
    await lock.release();
    return false;
  } catch (error) {
    if (error instanceof StillpointError && error.code === 'CONFLICT') return true;
    throw error;
  }
}
