import { StillpointError } from '../../errors.ts';
import type { TopologyNode } from '../plan/topology.ts';
import type { FleetExecutor } from './executor.ts';

/** Which nodes are meant: the target itself, or with the nodes whose parent it is, or with all below it. */
export const SCOPES = ['target', 'children', 'recursive'] as const;
export type SnapshotScope = (typeof SCOPES)[number];

/** Whether a target is started again after its snapshot was downloaded, or left to the caller. */
export const LIFECYCLE_MODES = ['stop-and-resume', 'stop-before-snapshot'] as const;
export type LifecycleMode = (typeof LIFECYCLE_MODES)[number];

export interface RegistryRequest {
  readonly targetId: string;
  readonly scope: SnapshotScope;
  readonly signal: AbortSignal;
}

/** What does the work of `downloadSnapshots`: the effects of an executor, and a registry that knows the nodes. */
export interface SnapshotDriver
  extends Omit<FleetExecutor, 'preflight'>,
    Partial<Pick<FleetExecutor, 'preflight'>> {
  /**
   * The nodes as they are now: at least those that the request means, and the ancestors of the target. Changes nothing. It is asked
   * at least twice, and another answer for the nodes that are meant refuses the download.
   */
  registry(request: RegistryRequest): Promise<readonly TopologyNode[]>;
}

/** The ids that a target and a scope mean. `INVALID_REQUEST` when there is no such node. */
export function selectTargets(
  nodes: readonly Pick<TopologyNode, 'targetId' | 'parent'>[],
  targetId: string,
  scope: SnapshotScope,
): string[] {
  if (!nodes.some((node) => node.targetId === targetId))
    throw new StillpointError('INVALID_REQUEST', `there is no node ${targetId} in the fleet`);
  if (scope === 'target') return [targetId];
  const children = new Map<string, string[]>();
  for (const { targetId: id, parent } of nodes) {
    if (parent === null) continue;
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [id]);
    else siblings.push(id);
  }
  const selected = new Set([targetId]);
  // A set yields what is added while it is walked, and no id twice: a circle of parents ends.
  for (const id of scope === 'recursive' ? selected : [targetId])
    for (const child of children.get(id) ?? []) selected.add(child);
  return [...selected];
}
