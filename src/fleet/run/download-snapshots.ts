import * as z from 'zod';
import { realPlace } from '../../env/io.ts';
import { newUlid } from '../../env/ulid.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import type { ResolvedOf } from '../../options/option.ts';
import { type Environment, systemEnvironment } from '../../snapshot/environment.ts';
import { TOOL } from '../../snapshot/version.ts';
import { type OpenRun, openRun } from '../journal/open-run.ts';
import { isDone, type OperationRow } from '../journal/operation-states.ts';
import { type DownloadSnapshotsOptions, downloadSnapshotsOptions } from '../options.ts';
import { putPlan, refuseOneStoreTwice, requireEmpty } from '../plan/derive-plan.ts';
import { type BackupPlan, buildPlan, type PlanTarget, readPlan, type TargetKind } from '../plan/plan.ts';
import { makeReceipts } from '../plan/receipts.ts';
import { idSchema } from '../plan/schemas.ts';
import { IDENTITY_MODES, type TopologyNode, topologyChanges, topologyHash } from '../plan/topology.ts';
import { LocalSteps } from '../steps/local-steps.ts';
import type { FleetExecutor } from './executor.ts';
import { fetchCopy } from './fetch-copy.ts';
import { type NodePhase, PHASES } from './node-progress.ts';
import { Operations } from './operations.ts';
import { type SnapshotDriver, selectTargets } from './snapshot-driver.ts';

export interface SnapshotDownload {
  readonly dryRun: boolean;
  readonly layoutDir: string;
  readonly backupId: string;
  /** Of the targets, twice the same. */
  readonly topologyHash: string;
  /** One for each target; empty after a dry run. */
  readonly artifacts: readonly {
    readonly targetId: string;
    readonly snapshotId: string;
    /** Relative to the layout folder. */
    readonly artifactPath: string;
    /** SHA-256 of the folder. */
    readonly checksum: string;
  }[];
  /** Of a dry run: what would be done, in its order; otherwise empty. */
  readonly plannedCommands: readonly {
    readonly command: 'stop' | 'create' | 'download' | 'start';
    readonly targetId: string;
  }[];
}

/**
 * Downloads a snapshot of one node, of it and its children, or of all below it, into a layout folder. One target after the other is
 * stopped, captured, downloaded, verified and started; the layout then is that of a finished backup, and `verifyFleetBackup` checks it.
 * Targets are consistent each by itself: for one cut through many nodes use `runFleet`.
 *
 * Every step is in the journal before it acts. Called again after a failure or a crash it goes on where it ended, without a second
 * snapshot of what is captured. When anything fails after a target was stopped, that target is started again, whatever `lifecycle` says.
 *
 * Rejects with the first failure. Codes: `INVALID_REQUEST` (no such node), `TOPOLOGY_CHANGED` (two answers of the registry differ, or the
 * fleet is not the one of the plan in the folder), `TARGET_NOT_EMPTY`, `CONFLICT` (another run is at work, or the folder holds another
 * backup), `PREFLIGHT_REFUSED`, `PLAN_INVALID`, `JOURNAL_INVALID`, `CANCELLED`. A wrong option is a `TypeError`.
 */
export async function downloadSnapshots(
  config: DownloadSnapshotsOptions,
  driver: SnapshotDriver,
): Promise<SnapshotDownload> {
  const options = downloadSnapshotsOptions.resolve('downloadSnapshots', config);
  const { environment = systemEnvironment, dryRun, layoutDir } = options;
  const signal = options.signal ?? new AbortController().signal;
  try {
    const registry = () => askRegistry(driver, options, signal);
    const found = await registry();
    refuseChange(found.targets, (await registry()).targets);
    const layout = await realPlace(environment.fs, layoutDir);
    let plan = await readPlan(environment.fs, layout);
    if (plan !== undefined) refuseAnotherPlan(plan, found.targets);
    else {
      await requireEmpty(environment, layoutDir);
      plan = planOf(found, options.fleet, environment.clock.nowMs());
      refuseOneStoreTwice(found.targets);
      if (!dryRun) await putPlan(environment, layout, plan);
    }
    if (dryRun) return { ...describe(plan, layout), dryRun, plannedCommands: commandsOf(plan, options) };
    const run = await openRun(environment, layoutDir);
    try {
      const executor = asExecutor(driver, registry);
      await new Download(run, executor, { ...options, environment, signal }).run();
      const artifacts = run.journal.execution.artifacts.map((row) => ({
        targetId: row.target_id,
        snapshotId: row.snapshot_id,
        artifactPath: row.artifact_path!,
        checksum: row.checksum!,
      }));
      return { ...describe(plan, layout), artifacts };
    } finally {
      await run.close();
    }
  } catch (error) {
    if (signal.aborted) throw new StillpointError('CANCELLED', 'cancelled on request', { cause: error });
    throw toStillpointError(error);
  }
}

type Options = ResolvedOf<typeof downloadSnapshotsOptions>;

type Resolved = Options & { readonly environment: Environment; readonly signal: AbortSignal };

interface Found {
  readonly nodes: readonly TopologyNode[];
  readonly targets: readonly TopologyNode[];
}

const registrySchema = z.array(
  z.object({
    targetId: idSchema,
    role: z.string().min(1).max(120),
    parent: idSchema.nullable(),
    identity: z.enum(IDENTITY_MODES),
    storeId: z.string().max(120).nullable(),
    engine: z.string().max(50).nullable(),
  }),
);

async function askRegistry(
  driver: SnapshotDriver,
  { targetId, scope }: Options,
  signal: AbortSignal,
): Promise<Found> {
  signal.throwIfAborted();
  const parsed = registrySchema.safeParse(await driver.registry({ targetId, scope, signal }));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new StillpointError(
      'INVALID_REQUEST',
      `the registry returned no valid nodes: ${issue?.path.join('.')}: ${issue?.message}`,
    );
  }
  const nodes = parsed.data;
  const selected = new Set(selectTargets(nodes, targetId, scope));
  return { nodes, targets: nodes.filter((node) => selected.has(node.targetId)) };
}

function refuseChange(before: readonly TopologyNode[], after: readonly TopologyNode[]): void {
  if (topologyHash(before) === topologyHash(after)) return;
  const changes = topologyChanges(before, after);
  throw new StillpointError(
    'TOPOLOGY_CHANGED',
    `the fleet changed while it was looked at: ${changes.slice(0, 5).join('; ')}`,
    { data: { changes } },
  );
}

/** Continues only a download of the same targets. A backup with windows of several nodes would lose its common cut. */
function refuseAnotherPlan(plan: BackupPlan, targets: readonly TopologyNode[]): void {
  const planned = new Set(plan.targets.map(({ target_id }) => target_id));
  const isSame = planned.size === targets.length && targets.every(({ targetId }) => planned.has(targetId));
  const isDownload = plan.policy === 'quiesced' && plan.units.every((unit) => unit.targets.length === 1);
  if (!isSame || !isDownload)
    throw new StillpointError('CONFLICT', 'the plan in that folder is of another backup', {
      hint: 'Continue that backup as it was begun, or download into a new folder.',
    });
  if (topologyHash(targets) !== plan.topology_hash)
    throw new StillpointError('TOPOLOGY_CHANGED', 'the fleet has changed since the download was begun');
}

const planOf = ({ nodes, targets }: Found, fleet: string, nowMs: number): BackupPlan =>
  buildPlan({
    fleet,
    nodes,
    units: [], // each target is one by itself
    selected: new Set(targets.map(({ targetId }) => targetId)),
    policy: 'quiesced',
    planId: newUlid(nowMs),
    runId: newUlid(nowMs),
    backupId: newUlid(nowMs),
    nowMs,
    tool: TOOL,
  });

const describe = (plan: BackupPlan, layoutDir: string): SnapshotDownload => ({
  dryRun: false,
  layoutDir,
  backupId: plan.backup_id,
  topologyHash: plan.topology_hash,
  artifacts: [],
  plannedCommands: [],
});

const commandsOf = ({ targets }: BackupPlan, { lifecycle }: Options): SnapshotDownload['plannedCommands'] => {
  const commands = ['stop', 'create', 'download', ...(lifecycle === 'stop-and-resume' ? ['start'] : [])];
  return targets.flatMap(({ target_id: targetId }) =>
    (commands as ('stop' | 'create' | 'download' | 'start')[]).map((command) => ({ command, targetId })),
  );
};

/** A driver without a preflight of its own proves by its registry that the nodes are those of the plan. */
function asExecutor(driver: SnapshotDriver, registry: () => Promise<Found>): FleetExecutor {
  const provenBy = { control: 'the driver', read: 'the driver', quiescence: 'the driver' };
  return {
    preflight: async (request) =>
      driver.preflight?.(request) ?? makeReceipts(request, (await registry()).targets, provenBy),
    stop: (...given) => driver.stop(...given),
    createSnapshot: (...given) => driver.createSnapshot(...given),
    start: (...given) => driver.start(...given),
    downloadSnapshot: (...given) => driver.downloadSnapshot(...given),
    resumesDownloads: driver.resumesDownloads === true,
    ...(driver.verifyArtifact && { verifyArtifact: (...given) => driver.verifyArtifact!(...given) }),
  };
}

class Download {
  readonly #run: OpenRun;
  readonly #steps: LocalSteps;
  readonly #options: Resolved;
  readonly #operations: Operations;
  /** Starts what is stopped also when the download is cancelled. */
  readonly #starting: Operations;

  constructor(run: OpenRun, executor: FleetExecutor, options: Resolved) {
    const { layout, plan, journal } = run;
    this.#steps = new LocalSteps(journal, options.environment.clock);
    const given = { env: options.environment, layout, plan, lane: this.#steps, executor };
    this.#run = run;
    this.#options = options;
    this.#operations = new Operations({ ...given, signal: options.signal });
    this.#starting = new Operations({ ...given, signal: new AbortController().signal });
  }

  async run(): Promise<void> {
    const { plan, journal } = this.#run;
    if (journal.execution.isComplete) return;
    await this.#operations.ensurePreflight();
    for (const target of plan.targets) {
      this.#options.signal.throwIfAborted();
      try {
        await this.#download(target);
        this.#tell(target.target_id, 'done');
      } catch (error) {
        this.#tell(target.target_id, 'failed');
        throw error;
      }
    }
    await this.#operations.run(journal.execution.finalizeRow);
  }

  /** In a new window as long as the target took writes before its snapshot was captured, and another window may help. */
  async #download(target: PlanTarget): Promise<void> {
    for (;;) {
      const failure = await this.#window(target);
      if (failure === undefined) return;
      if (!(await this.#operations.reopenWindow(failure.row, failure.error))) throw failure.error;
    }
  }

  async #window(target: PlanTarget): Promise<{ row: OperationRow; error: unknown } | undefined> {
    const { execution } = this.#run.journal;
    const row = (kind: 'stop' | 'snapshot' | 'start') => execution.row(kind, target.target_id)!;
    const [stop, create, start] = [row('stop'), row('snapshot'), row('start')];
    // A window that was ended before its snapshot was captured is over.
    if (isDone(start) && create.state !== 'pending' && create.state !== 'completed')
      await this.#operations.openWindow(
        execution.unitOf(target.target_id),
        'the window before ended without its snapshot',
      );
    let at = stop;
    let failure: { row: OperationRow; error: unknown } | undefined;
    try {
      if (!isDone(stop)) await this.#operations.ensurePreflight();
      for (const next of [stop, create]) {
        at = next;
        await this.#do(next);
      }
      await fetchCopy(this.#steps, this.#options.environment.clock, target.target_id, (next) => {
        at = next;
        return this.#do(next);
      });
      await this.#operations.nameArtifact(target);
      if (this.#options.lifecycle === 'stop-before-snapshot') await this.#operations.skip(start);
    } catch (error) {
      failure = { row: at, error };
    }
    // One that was never asked to stop needs no start.
    const isStopped = stop.state !== 'ready' && !isDone(start);
    const failed = isStopped && (await this.#start(start));
    if (failure === undefined && failed) throw failed;
    return failure;
  }

  #start(row: OperationRow): Promise<StillpointError | undefined> {
    return this.#starting.startRegardless(row, () => this.#do(row, this.#starting));
  }

  async #do(row: OperationRow, operations = this.#operations): Promise<void> {
    if (isDone(row)) return;
    const { kind, target_id: targetId } = row.operation;
    const phase = PHASES[kind as TargetKind];
    this.#tell(targetId!, phase);
    await operations.run(row, (done, total) => this.#tell(targetId!, phase, done, total));
  }

  #tell(targetId: string, phase: NodePhase, bytesDone = 0, bytesTotal = 0): void {
    this.#options.onProgress?.({ targetId, phase, bytesDone, bytesTotal });
  }
}
