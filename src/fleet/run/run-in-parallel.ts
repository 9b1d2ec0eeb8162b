import { Semaphore } from '../../env/concurrency.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import { systemEnvironment } from '../../snapshot/environment.ts';
import type { FleetEnvironment } from '../journal/open-run.ts';
import {
  type ArtifactState,
  type Execution,
  isDone,
  type OperationRow,
} from '../journal/operation-states.ts';
import type { PlanUnit, TargetKind } from '../plan/plan.ts';
import { type OpenSteps, openLocalSteps, openSharedSteps } from '../steps/open-steps.ts';
import type { Lane, StepWithPoint } from '../steps/steps.ts';
import type { FleetExecutor } from './executor.ts';
import { fetchCopy } from './fetch-copy.ts';
import { type NodePhase, type NodeProgress, PHASES } from './node-progress.ts';
import { Operations } from './operations.ts';
import { describeRun, type ExecutedOperation, type ExecutionResponse } from './run-in-order.ts';

export interface RunConfig {
  /** The folder that holds the plan, the journal and the artifacts. */
  readonly layoutDir: string;
  /** Downloads and proofs at once, over all nodes. Default 4. */
  readonly concurrency?: number | undefined;
  /** Units whose nodes are quiesced at once. Default 4. */
  readonly unitConcurrency?: number;
  /**
   * Address of the PostgreSQL database that records the steps, `postgres://user:password@host/database`. Several controllers may have
   * the same run then: one is at work, and the others wait for its end or its death. Default: the journal in the layout folder.
   */
  readonly stepsUrl?: string | undefined;
  /** Cancels the run. Nodes that are quiesced then are started again first. */
  readonly signal?: AbortSignal | undefined;
  /** Called at each step of a node, and as bytes move. */
  readonly onProgress?: ((progress: NodeProgress) => void) | undefined;
  readonly environment?: FleetEnvironment;
}

export interface UnitResult {
  readonly unitId: string;
  /** `pending`: the run ended before its copies were verified, since it was to take only so many steps. */
  readonly state: 'complete' | 'failed' | 'pending';
  /** How often its snapshots were taken, from 1. */
  readonly window: number;
  /** From the first request to stop to the last answer to start, of a window of this run; null when it had none. */
  readonly windowMs: number | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

export interface NodeResult {
  readonly id: string;
  readonly state: ArtifactState | 'Missing';
  readonly epoch: string | null;
  /** Of the copy; null before it is downloaded, and where the executor does not tell. */
  readonly bytes: number | null;
  /** Of the engine's proof of the copy; null before it, and where the executor makes none. */
  readonly verdict: string | null;
  readonly snapshot: string | null;
  readonly checksum: string | null;
}

export interface FleetRunResult extends ExecutionResponse {
  readonly units: readonly UnitResult[];
  readonly nodes: readonly NodeResult[];
}

/**
 * Executes a plan as `executeBackupPlan` does, and many operations at once: units independently of each other, and all nodes of a
 * unit together, so that the time without writes of a unit is that of its slowest node. A failure fails its unit alone; the result
 * tells, and calling it again goes on from there. Never leaves a node stopped: those of a unit are started as soon as no write
 * changes the last of its snapshots any more, or one has failed.
 *
 * One cut: the first snapshot of a unit is requested after all its nodes have been stopped, and a snapshot counts only if its node's
 * lease lived without a gap until no write changed it any more. So all nodes of a unit were stopped at the moment of that request.
 *
 * Rejects when nothing can be done at all, with the codes of `executeBackupPlan`.
 */
export async function runFleetBackup(config: RunConfig, executor: FleetExecutor): Promise<FleetRunResult> {
  const env = config.environment ?? systemEnvironment;
  const signal = config.signal ?? new AbortController().signal;
  try {
    const { layoutDir, stepsUrl } = config;
    const run =
      stepsUrl === undefined
        ? await openLocalSteps(env, layoutDir)
        : await openSharedSteps(env, layoutDir, stepsUrl, signal);
    try {
      return await run.run(() => new FleetRun(env, run, executor, { ...config, signal }).run());
    } finally {
      await run.close();
    }
  } catch (error) {
    if (signal.aborted) throw new StillpointError('CANCELLED', 'cancelled on request', { cause: error });
    throw toStillpointError(error);
  }
}

class FleetRun {
  readonly #env: FleetEnvironment;
  readonly #run: OpenSteps;
  readonly #executor: FleetExecutor;
  readonly #config: RunConfig & { readonly signal: AbortSignal };
  readonly #preflight = new Semaphore(1);
  readonly #transfers: Semaphore;
  readonly #executed: ExecutedOperation[] = [];
  readonly #windowMs = new Map<string, number>();

  constructor(
    env: FleetEnvironment,
    run: OpenSteps,
    executor: FleetExecutor,
    config: RunConfig & { readonly signal: AbortSignal },
  ) {
    this.#env = env;
    this.#run = run;
    this.#executor = executor;
    this.#config = config;
    this.#transfers = new Semaphore(config.concurrency ?? 4);
  }

  async run(): Promise<FleetRunResult> {
    const { plan, steps } = this.#run;
    const { execution } = steps;
    const failures = new Map<string, StillpointError>();
    if (!execution.isComplete) {
      // Nothing is changed before the whole fleet is known to be there. A node may be busy with a snapshot that is to be taken up.
      const idle = execution.rows.some(isUnderWay) ? [] : undefined;
      await steps.lane('preflight', (lane) => this.#operations(lane).ensurePreflight(idle));
      const windows = new Semaphore(this.#config.unitConcurrency ?? 4);
      await Promise.all(
        plan.units.map(async (unit) => {
          try {
            await windows.run(() => steps.lane(`unit-${unit.unit_id}`, (lane) => this.#capture(unit, lane)));
            await this.#fetch(unit);
          } catch (error) {
            failures.set(unit.unit_id, toStillpointError(error));
            for (const target of unit.targets) this.#tell(target, 'failed');
          }
        }),
      );
      this.#config.signal.throwIfAborted();
      if (failures.size === 0)
        await steps.lane('finalize', (lane) => this.#do(execution.finalizeRow, this.#operations(lane)));
    }
    return this.#describe(failures);
  }

  #operations(lane: Lane, signal = this.#config.signal): Operations {
    const { layout, plan } = this.#run;
    return new Operations({ env: this.#env, layout, plan, lane, executor: this.#executor, signal });
  }

  #describe(failures: ReadonlyMap<string, StillpointError>): FleetRunResult {
    const { plan, steps } = this.#run;
    const { execution } = steps;
    return {
      ...describeRun(execution, this.#executed),
      maxStepsReached: false,
      units: plan.units.map(({ unit_id, targets }): UnitResult => {
        const failure = failures.get(unit_id);
        return {
          unitId: unit_id,
          state: failure === undefined ? 'complete' : 'failed',
          window: execution.window(targets[0]!),
          windowMs: this.#windowMs.get(unit_id) ?? null,
          error: failure === undefined ? null : { code: failure.code, message: failure.message },
        };
      }),
      nodes: describeNodes(execution),
    };
  }

  /** The snapshots of a unit, in one window; in a new one as long as a node took writes and another may help. */
  async #capture(unit: PlanUnit, lane: Lane): Promise<void> {
    const operations = this.#operations(lane);
    for (;;) {
      const failure = await this.#window(unit, lane, operations);
      if (failure === undefined) return;
      if (!(await operations.reopenWindow(failure.row, failure.error))) throw failure.error;
    }
  }

  async #window(unit: PlanUnit, lane: Lane, operations: Operations): Promise<Failure | undefined> {
    const { unit_id, targets } = unit;
    const rowsOf = (kind: 'stop' | 'snapshot' | 'start') =>
      targets.flatMap((target) => lane.execution.row(kind, target) ?? []);
    const [stops, creates, starts] = [rowsOf('stop'), rowsOf('snapshot'), rowsOf('start')];
    if ([...creates, ...starts].every(isDone)) return undefined;
    // A window that was ended before all its snapshots were captured is over.
    const isOver = starts.some(isDone) && creates.some(({ state }) => state === 'ready');
    if (isOver || creates.some(({ state }) => state === 'failed')) {
      await this.#takeUp(creates, starts, lane);
      if (!creates.every(isDone))
        await operations.openWindow(unit, 'the window before ended without all its snapshots');
    }
    if (!stops.every(isDone)) {
      await this.#preflight.run(() => operations.ensurePreflight(targets));
      await operations.ensureReady(unit);
    }
    const beginMs = this.#env.clock.monotonicMs();
    const failures = await failuresOf(stops.map((row) => ({ row, done: this.#do(row, operations) })));
    const taking = failures.length > 0 ? [] : creates.map((row) => this.#begin(row, operations));
    await Promise.all(taking.map(({ reached }) => reached));
    const startFailures = await this.#start(starts, lane);
    this.#windowMs.set(unit_id, Math.round(this.#env.clock.monotonicMs() - beginMs));
    failures.push(...(await failuresOf(taking.map(({ row, finish }) => ({ row, done: finish() })))));
    // A new window mends a lost lease, and no other failure.
    const failure = failures.find(({ error }) => !isLeaseLost(error)) ?? failures[0];
    if (failure !== undefined) return failure;
    const error = startFailures.find((reason) => reason !== undefined);
    if (error !== undefined) throw error;
    return undefined;
  }

  /**
   * The snapshots of a window that is over, which nodes may still be copying since a run before lost sight of them: the same requests
   * again, with the same keys. The node itself says of each whether its lease lived until its state was fixed, so those that complete
   * are one cut. Resolves when none is under way any more. Rejects when that is not known: the next run asks again.
   */
  async #takeUp(
    creates: readonly OperationRow[],
    starts: readonly OperationRow[],
    lane: Lane,
  ): Promise<void> {
    const operations = this.#operations(lane);
    const known = creates.filter(({ attempt }) => attempt > 0);
    const taking = known.map((row) => this.#begin(row, operations, true));
    await Promise.all(taking.map(({ reached }) => reached));
    await this.#start(starts, lane); // a run that ended in its window left them stopped
    const failures = await failuresOf(taking.map(({ row, finish }) => ({ row, done: finish() })));
    this.#config.signal.throwIfAborted();
    const unknown = failures.find(({ error }) => isUnheard(error));
    if (unknown !== undefined) throw unknown.error;
  }

  /** What is stopped is started also when the run is cancelled. */
  #start(starts: readonly OperationRow[], lane: Lane): Promise<(StillpointError | undefined)[]> {
    const operations = this.#operations(lane, new AbortController().signal);
    return Promise.all(starts.map((row) => operations.startRegardless(row, () => this.#do(row, operations))));
  }

  /** The copies of a unit, each verified. */
  async #fetch({ targets }: PlanUnit): Promise<void> {
    const { steps } = this.#run;
    const results = await Promise.allSettled(
      targets.map((target) =>
        this.#transfers.run(async () => {
          this.#config.signal.throwIfAborted();
          await steps.lane(`copy-${target}`, (lane) => {
            const operations = this.#operations(lane);
            return fetchCopy(lane, this.#env.clock, target, (row) => this.#do(row, operations));
          });
          this.#tell(target, 'done');
        }),
      ),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  async #do(row: OperationRow, operations: Operations): Promise<void> {
    if (isDone(row)) return;
    const { kind, target_id: targetId } = row.operation;
    const phase = targetId === null ? undefined : PHASES[kind as TargetKind];
    if (phase !== undefined) this.#tell(targetId!, phase);
    await operations.run(row, (done, total) => phase && this.#tell(targetId!, phase, done, total));
    this.#note(row);
  }

  /** A snapshot is proven while its node is started, which is what people want to see. */
  #begin(
    row: OperationRow,
    operations: Operations,
    repeats = false,
  ): StepWithPoint & { readonly row: OperationRow } {
    if (isDone(row)) return { row, reached: Promise.resolve(), finish: async () => undefined };
    const targetId = row.operation.target_id!;
    this.#tell(targetId, 'snapshot');
    let isCaptured = false;
    const onProgress = (done: number, total: number) => {
      if (!isCaptured) this.#tell(targetId, 'snapshot', done, total);
    };
    const { reached, finish } = operations.runSnapshot(row, onProgress, repeats);
    return {
      row,
      reached: reached.then(() => {
        isCaptured = true;
      }),
      finish: async () => {
        await finish();
        this.#note(row);
      },
    };
  }

  #note({
    operation: { sequence, operation_id: operationId, kind, target_id: targetId },
  }: OperationRow): void {
    this.#executed.push({ sequence, operationId, kind, targetId, outcome: 'completed' });
  }

  #tell(targetId: string, phase: NodePhase, bytesDone = 0, bytesTotal = 0): void {
    this.#config.onProgress?.({ targetId, phase, bytesDone, bytesTotal });
  }
}

interface Failure {
  readonly row: OperationRow;
  readonly error: unknown;
}

/** Which of them failed, in the order of the list: not in that of the clock, which would differ after a crash. */
async function failuresOf(
  list: readonly { readonly row: OperationRow; readonly done: Promise<void> }[],
): Promise<Failure[]> {
  const results = await Promise.allSettled(list.map(({ done }) => done));
  return results.flatMap((result, i) =>
    result.status === 'rejected' ? [{ row: list[i]!.row, error: result.reason }] : [],
  );
}

const isLeaseLost = (error: unknown): boolean =>
  error instanceof StillpointError && error.code === 'LEASE_LOST';

const isUnderWay = ({ operation, state }: OperationRow): boolean =>
  operation.kind === 'create-snapshot' && (state === 'pending' || state === 'failed');

/** Whether nobody knows what became of a request. */
const isUnheard = (error: unknown): boolean =>
  error instanceof StillpointError && (error.code === 'NODE_UNREACHABLE' || error.code === 'UNAVAILABLE');

/** What is known of each node's copy. */
export const describeNodes = (execution: Execution): NodeResult[] =>
  execution.plan.targets.map(({ target_id }) => {
    const artifact = execution.artifact(target_id);
    const detail = (kind: 'stop' | 'copy' | 'verify', name: string) =>
      execution.row(kind, target_id)?.receipt?.detail?.[name];
    const [epoch, bytes, verdict] = [
      detail('stop', 'epoch'),
      detail('copy', 'bytes'),
      detail('verify', 'verdict'),
    ];
    return {
      id: target_id,
      state: artifact?.state ?? 'Missing',
      epoch: typeof epoch === 'string' ? epoch : null,
      bytes: typeof bytes === 'number' ? bytes : null,
      verdict: typeof verdict === 'string' ? verdict : null,
      snapshot: artifact?.snapshot_id ?? null,
      checksum: artifact?.checksum ?? null,
    };
  });
