import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '../../src/env/clock.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { createFile, makeFolders } from '../../src/env/io.ts';
import { StillpointError } from '../../src/errors.ts';
import type { FleetEnvironment } from '../../src/fleet/journal/open-run.ts';
import {
  type BackupPlan,
  buildPlan,
  type PlanRequest,
  topologyOf,
  writePlan,
} from '../../src/fleet/plan/plan.ts';
import type { PreflightReceipts } from '../../src/fleet/plan/receipts.ts';
import type { TopologyNode } from '../../src/fleet/plan/topology.ts';
import type { EffectContext, FleetExecutor, PreflightRequest } from '../../src/fleet/run/executor.ts';
import type { SnapshotDriver } from '../../src/fleet/run/snapshot-driver.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { temporaryFolder } from './temp.ts';

export const fleetNode = (targetId: string, parent: string | null = null): TopologyNode => ({
  targetId,
  role: 'database',
  parent,
  identity: 'relocatable',
  storeId: `store-of-${targetId}`,
  engine: 'lsm',
});

/** A parent, its child, and one node beside them. */
export const THREE_NODES = [fleetNode('b', 'root'), fleetNode('root'), fleetNode('c')];

export const planOf = (change: Partial<PlanRequest> = {}): BackupPlan =>
  buildPlan({
    fleet: 'test',
    nodes: THREE_NODES,
    policy: 'quiesced',
    planId: 'plan-1',
    runId: 'run-1',
    backupId: 'backup-1',
    nowMs: 1_700_000_000_000,
    tool: 'test',
    ...change,
  });

/** Receipts as a good executor returns them. */
export function receiptsFor({
  plan,
  preflightId,
}: Pick<PreflightRequest, 'plan' | 'preflightId'>): PreflightReceipts {
  const of = { plan_id: plan.plan_id, preflight_id: preflightId };
  const each = plan.targets.map(({ target_id }) => ({ ...of, target_id, proven_by: 'the test' }));
  const nodes = topologyOf(plan.targets).map(({ targetId, storeId, ...rest }) => ({
    ...rest,
    target_id: targetId,
    store_id: storeId,
  }));
  return {
    topology: { ...of, nodes },
    control_authority: each,
    snapshot_read_authority: each,
    quiescence: each,
  };
}

/** What the nodes of a fleet are like, whichever controller looks at them. */
export class SimulatedNodes {
  readonly stopped = new Set<string>();
  /** By the key of the effect that took it. */
  readonly snapshots = new Map<string, string>();
  /** The commands as the nodes saw them, such as `stop root`. */
  readonly commands: string[] = [];
}

export interface Script {
  /** Called before each effect, with `stop root` and the like; may throw. */
  readonly before?: (command: string, context: EffectContext) => unknown;
  /** Called after it: a failure there is an answer that was lost. */
  readonly after?: (command: string, context: EffectContext) => unknown;
  readonly preflight?: (request: PreflightRequest) => PreflightReceipts | Promise<PreflightReceipts>;
}

/** An executor over simulated nodes. A download writes real files: two of them, one in a folder. */
export function simulatedExecutor(
  nodes: SimulatedNodes,
  fs: FileSystem = systemEnvironment.fs,
  script: Script = {},
): FleetExecutor {
  const effect = async <T>(command: string, context: EffectContext, work: () => Promise<T>): Promise<T> => {
    await script.before?.(command, context);
    nodes.commands.push(command);
    const result = await work();
    await script.after?.(command, context);
    return result;
  };
  return {
    async preflight(request) {
      nodes.commands.push('preflight');
      return script.preflight === undefined ? receiptsFor(request) : script.preflight(request);
    },
    stop: ({ target_id }, context) =>
      effect(`stop ${target_id}`, context, async () => {
        nodes.stopped.add(target_id);
        return { epoch: `epoch of ${target_id} in ${context.window}` };
      }),
    createSnapshot: ({ target_id }, context) =>
      effect(`create ${target_id}`, context, async () => {
        const known = nodes.snapshots.get(context.key);
        if (known !== undefined) return { snapshotId: known };
        if (context.stopped !== undefined && !nodes.stopped.has(target_id))
          throw new StillpointError('LEASE_LOST', `${target_id} takes writes`);
        const snapshotId = createHash('sha1').update(context.key).digest('hex');
        nodes.snapshots.set(context.key, snapshotId);
        return { snapshotId };
      }),
    start: ({ target_id }, context) =>
      effect(`start ${target_id}`, context, async () => void nodes.stopped.delete(target_id)),
    downloadSnapshot: ({ target_id }, { snapshotId, into }, context) =>
      effect(`download ${target_id}`, context, async () => {
        await makeFolders(fs, join(into, 'nested'));
        await createFile(fs, join(into, 'nested/state.bin'), Buffer.from(`state of ${snapshotId}`));
        await createFile(fs, join(into, 'a.b'), Buffer.from(target_id));
        return undefined;
      }),
  };
}

/** The same with a registry, for `downloadSnapshots`. */
export function simulatedDriver(
  nodes: SimulatedNodes,
  registry: () => readonly TopologyNode[],
  fs?: FileSystem,
  script?: Script,
): SnapshotDriver {
  const { preflight: _, ...effects } = simulatedExecutor(nodes, fs, script);
  return {
    ...effects,
    async registry() {
      nodes.commands.push('registry');
      return registry();
    },
  };
}

/** A clock that a test sets. */
export class SetClock implements Clock {
  ms = 1_700_000_000_000;
  nowMs = (): number => this.ms;
  monotonicMs = (): number => this.ms;
  every = (): (() => void) => () => {};
}

/** A layout folder with a plan in it. */
export async function layoutWithPlan(
  plan = planOf(),
): Promise<{ layoutDir: string; clock: SetClock; environment: FleetEnvironment }> {
  const layoutDir = join(await temporaryFolder(), 'backup');
  await makeFolders(systemEnvironment.fs, layoutDir);
  await writePlan(systemEnvironment.fs, layoutDir, plan);
  const clock = new SetClock();
  return { layoutDir, clock, environment: { ...systemEnvironment, clock } };
}
