import { mapConcurrent } from '../env/concurrency.ts';
import type { FileSystem } from '../env/file-system.ts';
import { realPlace } from '../env/io.ts';
import { readSecret } from '../env/secrets.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { checkArgument } from '../options/option.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { placeOf } from '../snapshot/store/layout.ts';
import { artifactPathOf } from './copies/artifacts.ts';
import { countPinned } from './copies/integrity.ts';
import { type FleetFile, readFleetFile } from './fleet-file.ts';
import { HttpExecutor, type HttpExecutorOptions } from './http/executor.ts';
import { replayJournal } from './journal/journal.ts';
import { openRun } from './journal/open-run.ts';
import {
  type AbortFleetOptions,
  abortFleetOptions,
  type CheckFleetOptions,
  checkFleetOptions,
  type DownloadFleetOptions,
  downloadFleetOptions,
  fleetFilePath,
  type PlanFleetOptions,
  planFleetOptions,
  type RunFleetOptions,
  runFleetOptions,
} from './options.ts';
import {
  derivePlan,
  describePlan,
  type FleetPlan,
  putPlan,
  refuseAnotherSelection,
  requireEmpty,
} from './plan/derive-plan.ts';
import { type BackupPlan, readPlan } from './plan/plan.ts';
import { downloadSnapshots, type SnapshotDownload } from './run/download-snapshots.ts';
import { type ExecuteConfig, executeBackupPlan } from './run/run-in-order.ts';
import { describeNodes, type FleetRunResult, runFleetBackup } from './run/run-in-parallel.ts';

/** What an operator does with a fleet file: the functions behind `stillpoint fleet`. */

export interface NodeCheck {
  readonly id: string;
  readonly url: string;
  readonly storeId: string | null;
  readonly engine: string | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

export interface FleetCheck {
  readonly ok: boolean;
  readonly fleet: string;
  readonly nodes: readonly NodeCheck[];
}

/** Asks every node who it is. Changes nothing. Resolves also when nodes do not answer: look at `ok`. */
export async function checkFleet(fleetFile: string, options: CheckFleetOptions = {}): Promise<FleetCheck> {
  checkArgument('checkFleet: fleetFile', fleetFilePath(), fleetFile);
  const { signal, environment = systemEnvironment } = checkFleetOptions.resolve('checkFleet', options);
  return withExecutor(environment, fleetFile, {}, async (file, executor) => {
    const nodes = await mapConcurrent(file.nodes, 64, async ({ id, url }): Promise<NodeCheck> => {
      try {
        const [found] = await executor.discover([id], signal);
        return { id, url, storeId: found!.storeId, engine: found!.engine, error: null };
      } catch (error) {
        const { code, message } = firstFailure(error);
        return { id, url, storeId: null, engine: null, error: { code, message } };
      }
    });
    return { ok: nodes.every(({ error }) => error === null), fleet: file.fleet, nodes };
  });
}

/** Why a single node cannot take part, without the words about how many there are. */
function firstFailure(error: unknown): { readonly code: string; readonly message: string } {
  const known = toStillpointError(error);
  const failures = known.data?.failures as readonly { code: string; message: string }[] | undefined;
  return failures?.[0] ?? known;
}

/**
 * Makes the plan of a backup in a layout folder that is new or empty. With `dryRun` nothing is written. `TARGET_NOT_EMPTY` when
 * the folder holds something, `PREFLIGHT_REFUSED` with the nodes that do not answer, `INVALID_REQUEST` for a selection that
 * cannot be.
 */
export async function planFleet(fleetFile: string, options: PlanFleetOptions): Promise<FleetPlan> {
  checkArgument('planFleet: fleetFile', fleetFilePath(), fleetFile);
  const resolved = planFleetOptions.resolve('planFleet', options);
  const { environment = systemEnvironment, dryRun, layoutDir } = resolved;
  return withExecutor(environment, fleetFile, {}, async (file, executor) => {
    const plan = await derivePlan(environment, file, executor, resolved);
    const layout = await requireEmpty(environment, layoutDir);
    if (!dryRun) await putPlan(environment, layout, plan);
    return describePlan(plan, layout, dryRun);
  });
}

export interface FleetRun extends FleetRunResult {
  /**
   * Of a finished backup that was pushed: members that it pins in the repository, so that no retention removes them. Fewer than there
   * are nodes after `fleet forget`: a later run pins none again. Null: not finished, not pushed, or unknown.
   */
  readonly pinned: number | null;
}

/**
 * Takes a backup of a fleet into a layout folder: makes the plan if there is none, and otherwise goes on where the last run
 * ended. Resolves also when units failed: look at `complete` and `units`; calling it again tries those again.
 *
 * With `maxSteps` it executes that many operations, one after the other as `executeBackupPlan` does, and rejects with the first failure.
 * It may end while nodes refuse writes: they take writes again when their leases run out, and then the next call takes the snapshots of
 * their unit in a new window.
 */
export async function runFleet(fleetFile: string, options: RunFleetOptions): Promise<FleetRun> {
  checkArgument('runFleet: fleetFile', fleetFilePath(), fleetFile);
  const resolved = runFleetOptions.resolve('runFleet', options);
  const {
    environment = systemEnvironment,
    layoutDir,
    leaseMs,
    concurrency,
    keepSnapshots,
    maxSteps,
    steps,
  } = resolved;
  if (steps !== undefined && maxSteps !== undefined)
    throw new StillpointError(
      'INVALID_REQUEST',
      'maxSteps is for the journal of the layout folder, and not for steps in PostgreSQL',
    );
  const { signal, onProgress } = resolved;
  return withExecutor(environment, fleetFile, { leaseMs }, async (file, executor) => {
    const stepsUrl = steps === undefined ? undefined : await readAddress(environment.fs, steps);
    const layout = await realPlace(environment.fs, layoutDir);
    let plan = await readPlan(environment.fs, layout);
    if (plan === undefined) {
      plan = await derivePlan(environment, file, executor, resolved);
      await putPlan(environment, await requireEmpty(environment, layoutDir), plan);
    } else refuseAnotherSelection(file, plan, resolved);
    const wasComplete = (await replayJournal(environment.fs, layout, plan))?.execution.isComplete === true;
    const result =
      maxSteps === undefined
        ? await runFleetBackup(
            { layoutDir, concurrency, environment, signal, onProgress, stepsUrl },
            executor,
          )
        : await runSteps({ layoutDir, maxSteps, environment, signal }, plan, executor);
    if (result.complete && !wasComplete && !keepSnapshots)
      await forgetSnapshots(executor, plan, new Map(result.nodes.map(({ id, snapshot }) => [id, snapshot])));
    const places = plan.targets.map((target) => placeOf(layout, artifactPathOf(target)));
    const pinned = result.complete ? await countPinned(environment, plan, places, signal) : null;
    return { ...result, pinned };
  });
}

async function readAddress(fs: FileSystem, name: string): Promise<string> {
  const url = await readSecret(fs, name).catch((cause) => {
    throw new StillpointError('STEPS_UNAVAILABLE', toStillpointError(cause).message, { cause });
  });
  if (/^postgres(ql)?:\/\//.test(url)) return url;
  throw new StillpointError('INVALID_REQUEST', `${name} does not hold the address of a PostgreSQL database`, {
    hint: 'It is as postgres://user:password@host:port/database.',
  });
}

async function runSteps(
  config: ExecuteConfig & { readonly environment: Environment },
  plan: BackupPlan,
  executor: HttpExecutor,
): Promise<FleetRunResult> {
  const response = await executeBackupPlan(config, executor);
  const layout = await realPlace(config.environment.fs, config.layoutDir);
  const { execution } = (await replayJournal(config.environment.fs, layout, plan))!;
  const isVerified = (id: string) =>
    ['ChecksumVerified', 'Durable'].includes(execution.artifact(id)?.state ?? '');
  return {
    ...response,
    units: plan.units.map(({ unit_id, targets }) => ({
      unitId: unit_id,
      state: targets.every(isVerified) ? 'complete' : 'pending',
      window: execution.window(targets[0]!),
      windowMs: null,
      error: null,
    })),
    nodes: describeNodes(execution),
  };
}

/**
 * Downloads a snapshot of one node, of it and its children, or of all below it: `downloadSnapshots` with the nodes of a fleet file.
 * Called again it goes on where it ended.
 */
export async function downloadFleet(
  fleetFile: string,
  options: DownloadFleetOptions,
): Promise<SnapshotDownload> {
  checkArgument('downloadFleet: fleetFile', fleetFilePath(), fleetFile);
  const resolved = downloadFleetOptions.resolve('downloadFleet', options);
  const { leaseMs, keepSnapshots, ...config } = resolved;
  const { environment = systemEnvironment } = config;
  return withExecutor(environment, fleetFile, { leaseMs }, async (file, executor) => {
    const result = await downloadSnapshots({ ...config, fleet: file.fleet }, executor);
    if (!result.dryRun && !keepSnapshots) {
      const plan = (await readPlan(environment.fs, result.layoutDir))!;
      const snapshots = new Map(result.artifacts.map(({ targetId, snapshotId }) => [targetId, snapshotId]));
      await forgetSnapshots(executor, plan, snapshots);
    }
    return result;
  });
}

/** A snapshot on a node was only a means. What cannot be removed now is the node's to prune once its pin has run out. */
async function forgetSnapshots(
  executor: HttpExecutor,
  plan: BackupPlan,
  snapshots: ReadonlyMap<string, string | null>,
): Promise<void> {
  await mapConcurrent(plan.targets, 16, async (target) => {
    const snapshot = snapshots.get(target.target_id);
    if (typeof snapshot === 'string')
      await executor.forget(target, plan.run_id, snapshot).catch(() => undefined);
  });
}

export interface AbortResult {
  readonly ok: boolean;
  readonly nodes: readonly {
    readonly id: string;
    /** `not-stopped`: there is no lease on record. `resumed`: it takes writes, now or already. */
    readonly outcome: 'resumed' | 'not-stopped' | 'failed';
    readonly message: string | null;
  }[];
}

/**
 * Ends the leases of a run that is not at work any more, node by node, best effort. Resolves also when nodes do not answer: their
 * leases run out by themselves. The backup can be continued later.
 */
export async function abortFleet(fleetFile: string, options: AbortFleetOptions): Promise<AbortResult> {
  checkArgument('abortFleet: fleetFile', fleetFilePath(), fleetFile);
  const resolved = abortFleetOptions.resolve('abortFleet', options);
  const { environment = systemEnvironment, layoutDir, signal = new AbortController().signal } = resolved;
  return withExecutor(environment, fleetFile, {}, async (_file, executor) => {
    const run = await openRun(environment, layoutDir);
    try {
      const { plan, journal } = run;
      const nodes = await mapConcurrent(plan.targets, 64, async (target) => {
        const id = target.target_id;
        const stopped = journal.execution.row('stop', id)?.receipt?.detail;
        if (stopped === undefined) return { id, outcome: 'not-stopped' as const, message: null };
        const window = journal.execution.window(id);
        const key = `${plan.run_id}/abort/${id}`;
        try {
          await executor.start(target, { key, runId: plan.run_id, attempt: 1, window, signal, stopped });
          return { id, outcome: 'resumed' as const, message: null };
        } catch (error) {
          return { id, outcome: 'failed' as const, message: toStillpointError(error).message };
        }
      });
      return { ok: nodes.every(({ outcome }) => outcome !== 'failed'), nodes };
    } finally {
      await run.close();
    }
  });
}

/**
 * An executor for the servers of a fleet file, for `executeBackupPlan`, `runFleetBackup` and `downloadSnapshots`. Close it when it is not
 * needed any more. `NOT_FOUND`, or `INVALID_REQUEST` that says what is wrong in the file.
 */
export async function httpExecutor(
  fleetFile: string,
  options: HttpExecutorOptions = {},
): Promise<HttpExecutor> {
  checkArgument('httpExecutor: fleetFile', fleetFilePath(), fleetFile);
  const { fs } = options.environment ?? systemEnvironment;
  return new HttpExecutor(await readFleetFile(fs, fleetFile), options);
}

async function withExecutor<T>(
  environment: Environment,
  fleetFile: string,
  options: HttpExecutorOptions,
  work: (file: FleetFile, executor: HttpExecutor) => Promise<T>,
): Promise<T> {
  try {
    const file = await readFleetFile(environment.fs, fleetFile);
    const executor = new HttpExecutor(file, { ...options, environment });
    try {
      return await work(file, executor);
    } finally {
      await executor.close();
    }
  } catch (error) {
    throw toStillpointError(error);
  }
}
