import { Semaphore } from '../../env/concurrency.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import { systemEnvironment } from '../../snapshot/environment.ts';
import { type FleetEnvironment, type OpenRun, openRun } from '../journal/open-run.ts';
import {
  type ArtifactState,
  type Execution,
  isDone,
  type OperationRow,
} from '../journal/operation-states.ts';
import type { PlanUnit, TargetKind } from '../plan/plan.ts';
import type { EffectContext, FleetExecutor } from './executor.ts';
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
 * tells, and calling it again goes on from there. Never leaves a node stopped: those of a unit are started as soon as the last
 * of them is captured, or one has failed.
 *
 * One cut: the first snapshot of a unit is requested after all its nodes have been stopped, and a snapshot counts only if its node's
 * lease lived without a gap until its last byte was captured. So all nodes of a unit were stopped at the moment of that request.
 *
 * Rejects when nothing can be done at all, with the codes of `executeBackupPlan`.
 */
export async function runFleetBackup(config: RunConfig, executor: FleetExecutor): Promise<FleetRunResult> {
  const env = config.environment ?? systemEnvironment;
  const signal = config.signal ?? new AbortController().signal;
  try {
    const run = await openRun(env, config.layoutDir);
    try {
      return await new FleetRun(env, run, executor, { ...config, signal }).run();
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
  readonly #run: OpenRun;
  readonly #operations: Operations;
  /** Starts what is stopped also when the run is cancelled. */
  readonly #starting: Operations;
  readonly #config: RunConfig & { readonly signal: AbortSignal };
  readonly #preflight = new Semaphore(1);
  readonly #transfers: Semaphore;
  readonly #executed: ExecutedOperation[] = [];
  readonly #windowMs = new Map<string, number>();

  constructor(
    env: FleetEnvironment,
    run: OpenRun,
    executor: FleetExecutor,
    config: RunConfig & { readonly signal: AbortSignal },
  ) {
    const { layout, plan, journal } = run;
    this.#env = env;
    this.#run = run;
    this.#config = config;
    const options = { env, layout, plan, journal, executor };
    this.#operations = new Operations({ ...options, signal: config.signal });
    this.#starting = new Operations({ ...options, signal: new AbortController().signal });
    this.#transfers = new Semaphore(config.concurrency ?? 4);
  }

  async run(): Promise<FleetRunResult> {
    const { plan, journal } = this.#run;
    const { execution } = journal;
    const failures = new Map<string, StillpointError>();
    if (!execution.isComplete) {
      // Nothing is changed before the whole fleet is known to be there.
      await this.#ensurePreflight();
      const windows = new Semaphore(this.#config.unitConcurrency ?? 4);
      await Promise.all(
        plan.units.map(async (unit) => {
          try {
            await windows.run(() => this.#capture(unit));
            await this.#fetch(unit);
          } catch (error) {
            failures.set(unit.unit_id, toStillpointError(error));
            for (const target of unit.targets) this.#tell(target, 'failed');
          }
        }),
      );
      this.#config.signal.throwIfAborted();
      if (failures.size === 0) await this.#do(execution.finalizeRow);
    }
    return this.#describe(failures);
  }

  #describe(failures: ReadonlyMap<string, StillpointError>): FleetRunResult {
    const { plan, journal } = this.#run;
    const { execution } = journal;
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
  async #capture(unit: PlanUnit): Promise<void> {
    for (;;) {
      const failure = await this.#window(unit);
      if (failure === undefined) return;
      if (!(await this.#operations.reopenWindow(failure.row, failure.error))) throw failure.error;
    }
  }

  async #window(unit: PlanUnit): Promise<{ row: OperationRow; error: unknown } | undefined> {
    const { unit_id, targets } = unit;
    const creates = this.#rows('snapshot', targets);
    const starts = this.#rows('start', targets);
    if ([...creates, ...starts].every(isDone)) return undefined;
    // A window that was ended before all its snapshots were captured is over.
    if (starts.some(isDone) && creates.some(({ state }) => state !== 'pending' && state !== 'completed'))
      await this.#operations.openWindow(unit, 'the window before ended without all its snapshots');
    const stops = this.#rows('stop', targets);
    if (!stops.every(isDone)) await this.#ensurePreflight();
    const beginMs = this.#env.clock.monotonicMs();
    let failure: { row: OperationRow; error: unknown } | undefined;
    const attempt = async (row: OperationRow, onCaptured?: () => void) => {
      try {
        await this.#do(row, onCaptured);
      } catch (error) {
        // A new window mends a lost lease, and no other failure.
        if (failure === undefined || isLeaseLost(failure.error)) failure = { row, error };
      }
    };
    await Promise.all(stops.map((row) => attempt(row)));
    const taking: Promise<void>[] = [];
    if (failure === undefined) {
      const captured = creates.map(
        (row) => new Promise<void>((resolve) => taking.push(attempt(row, resolve).finally(resolve))),
      );
      await Promise.all(captured);
    }
    const startFailures = await Promise.all(starts.map((row) => this.#start(row)));
    this.#windowMs.set(unit_id, Math.round(this.#env.clock.monotonicMs() - beginMs));
    await Promise.all(taking);
    if (failure !== undefined) return failure;
    const error = startFailures.find((reason) => reason !== undefined);
    if (error !== undefined) throw error;
    return undefined;
  }

  #start(row: OperationRow): Promise<StillpointError | undefined> {
    return this.#starting.startRegardless(row, () => this.#do(row, undefined, this.#starting));
  }

  /** The copies of a unit, each verified. */
  async #fetch({ targets }: PlanUnit): Promise<void> {
    const results = await Promise.allSettled(
      targets.map((target) =>
        this.#transfers.run(async () => {
          await fetchCopy(this.#run.journal, this.#env.clock, target, (row) => this.#do(row));
          this.#tell(target, 'done');
        }),
      ),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  #ensurePreflight(): Promise<void> {
    return this.#preflight.run(() => this.#operations.ensurePreflight());
  }

  async #do(row: OperationRow, onCaptured?: () => void, operations = this.#operations): Promise<void> {
    if (isDone(row)) {
      onCaptured?.();
      return;
    }
    const { sequence, operation_id: operationId, kind, target_id: targetId } = row.operation;
    let watch: Pick<EffectContext, 'onCaptured' | 'onProgress'> = {};
    if (targetId !== null) {
      const phase = PHASES[kind as TargetKind];
      this.#tell(targetId, phase);
      // A snapshot is proven while its node is started, which is what people want to see.
      let isCaptured = false;
      watch = {
        onCaptured: () => {
          isCaptured = true;
          onCaptured?.();
        },
        onProgress: (done, total) => {
          if (!isCaptured) this.#tell(targetId, phase, done, total);
        },
      };
    }
    await operations.run(row, watch);
    this.#executed.push({ sequence, operationId, kind, targetId, outcome: 'completed' });
  }

  #rows(kind: 'stop' | 'snapshot' | 'start', targets: readonly string[]): OperationRow[] {
    return targets.flatMap((target) => this.#run.journal.execution.row(kind, target) ?? []);
  }

  #tell(targetId: string, phase: NodePhase, bytesDone = 0, bytesTotal = 0): void {
    this.#config.onProgress?.({ targetId, phase, bytesDone, bytesTotal });
  }
}

const isLeaseLost = (error: unknown): boolean =>
  error instanceof StillpointError && error.code === 'LEASE_LOST';

/** What is known of each node's copy. */
export const describeNodes = (execution: Execution): NodeResult[] =>
  execution.plan.targets.map(({ target_id }) => {
    const artifact = execution.artifact(target_id);
    const detail = (kind: 'stop' | 'download' | 'verify', name: string) =>
      execution.row(kind, target_id)?.receipt?.detail?.[name];
    const [epoch, bytes, verdict] = [
      detail('stop', 'epoch'),
      detail('download', 'bytes'),
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
