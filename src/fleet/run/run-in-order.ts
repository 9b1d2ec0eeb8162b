import { StillpointError, toStillpointError } from '../../errors.ts';
import { systemEnvironment } from '../../snapshot/environment.ts';
import { type FleetEnvironment, openRun } from '../journal/open-run.ts';
import type { Execution, RowState } from '../journal/operation-states.ts';
import type { OperationKind } from '../plan/plan.ts';
import { LocalSteps } from '../steps/local-steps.ts';
import type { FleetExecutor } from './executor.ts';
import { Operations } from './operations.ts';

export interface ExecuteConfig {
  /** The folder that holds the plan, the journal and the artifacts. */
  readonly layoutDir: string;
  /** Stop after so many operations. Default: no limit. */
  readonly maxSteps?: number;
  /** Cancels the run between two operations, and the one under way. */
  readonly signal?: AbortSignal | undefined;
  readonly environment?: FleetEnvironment;
}

export interface ExecutedOperation {
  readonly sequence: number;
  readonly operationId: string;
  readonly kind: OperationKind;
  readonly targetId: string | null;
  readonly outcome: 'completed' | 'failed' | 'skipped';
}

/** How many operations are in which state. */
export type ResumeSummary = Readonly<Record<RowState, number>> & { readonly total: number };

export interface ExecutionResponse {
  readonly runId: string;
  readonly planId: string;
  readonly backupId: string;
  readonly complete: boolean;
  readonly maxStepsReached: boolean;
  readonly executedOperationCount: number;
  readonly executedOperations: readonly ExecutedOperation[];
  readonly execution: ResumeSummary;
}

/**
 * Executes the plan of a layout folder, one operation after the other in the plan's order, and begins where the last run
 * ended. Resolves when all is done, or after `maxSteps` operations.
 *
 * A node whose lease ran out before its snapshot (`LEASE_LOST`), for instance since the controller was dead meanwhile, took writes:
 * then all snapshots of its unit are taken again in a new window, at most three times.
 *
 * Rejects with the first failure, which the journal then has on record; calling it again tries that operation again. Further codes:
 * `CONFLICT` (another run is at work), `NOT_FOUND` (no plan), `PLAN_INVALID`, `JOURNAL_INVALID`, `PREFLIGHT_REFUSED`,
 * `TOPOLOGY_CHANGED`, `NO_READY_OPERATION`, `CANCELLED`. A wrong argument is a `TypeError`.
 */
export async function executeBackupPlan(
  config: ExecuteConfig,
  executor: FleetExecutor,
): Promise<ExecutionResponse> {
  const { maxSteps = Number.POSITIVE_INFINITY, signal = new AbortController().signal } = config;
  if (maxSteps !== Number.POSITIVE_INFINITY && !(Number.isSafeInteger(maxSteps) && maxSteps >= 0))
    throw new TypeError('executeBackupPlan: maxSteps must be a whole number, 0 or more');
  const env = config.environment ?? systemEnvironment;
  try {
    const run = await openRun(env, config.layoutDir);
    try {
      const { layout, plan, journal } = run;
      const { execution } = journal;
      const operations = new Operations({
        env,
        layout,
        plan,
        lane: new LocalSteps(journal, env.clock),
        executor,
        signal,
      });
      const executed: ExecutedOperation[] = [];
      while (!execution.isComplete && executed.length < maxSteps) {
        if (signal.aborted) throw new StillpointError('CANCELLED', 'cancelled on request');
        await ensurePreflight(execution, operations);
        const row = execution.nextRunnable();
        if (row === undefined) throw nothingReady(execution);
        const { sequence, operation_id: operationId, kind, target_id: targetId } = row.operation;
        try {
          await operations.run(row);
        } catch (error) {
          if (!(await operations.reopenWindow(row, error))) throw error;
          continue;
        }
        executed.push({ sequence, operationId, kind, targetId, outcome: 'completed' });
      }
      return describeRun(execution, executed);
    } finally {
      await run.close();
    }
  } catch (error) {
    if (signal.aborted) throw new StillpointError('CANCELLED', 'cancelled on request', { cause: error });
    throw toStillpointError(error);
  }
}

/** The receipts must be good before anything is changed and before each node is stopped. What is stopped is never kept waiting. */
async function ensurePreflight(execution: Execution, operations: Operations): Promise<void> {
  const next = execution.nextRunnable()?.operation.kind;
  if (execution.preflight === null || next === 'stop' || next?.startsWith('validate-'))
    await operations.ensurePreflight();
}

function nothingReady(execution: Execution): StillpointError {
  const reasons = execution.blockedReasons();
  const message = `no operation is ready: ${reasons.slice(0, 3).join('; ')}`;
  return new StillpointError('NO_READY_OPERATION', message, { data: { reasons } });
}

export function describeRun(execution: Execution, executed: readonly ExecutedOperation[]): ExecutionResponse {
  const { run_id: runId, plan_id: planId, backup_id: backupId } = execution.plan;
  const complete = execution.isComplete;
  return {
    runId,
    planId,
    backupId,
    complete,
    maxStepsReached: !complete,
    executedOperationCount: executed.length,
    executedOperations: executed,
    execution: { ...execution.totals, total: execution.rows.length },
  };
}
