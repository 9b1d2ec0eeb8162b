import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { StillpointError } from '../../errors.ts';
import { hashSchema, idSchema, timeSchema } from './schemas.ts';
import { compareIds, IDENTITY_MODES, type TopologyNode, topologyHash } from './topology.ts';

/**
 * `crash-consistent`: nothing is quiesced; each snapshot is consistent by itself. `quiesced`: all nodes of a unit refuse writes
 * while their snapshots are captured.
 */
export const POLICIES = ['quiesced', 'crash-consistent'] as const;
export type Policy = (typeof POLICIES)[number];

export const VALIDATION_KINDS = [
  'validate-topology',
  'validate-control-authority',
  'validate-snapshot-read-authority',
  'validate-quiescence-policy',
] as const;
export const TARGET_KINDS = [
  'stop',
  'create-snapshot',
  'start',
  'download-snapshot',
  'push-snapshot',
  'verify-artifact',
] as const;
const OPERATION_KINDS = [...VALIDATION_KINDS, ...TARGET_KINDS, 'finalize-manifest'] as const;
export type OperationKind = (typeof OPERATION_KINDS)[number];
export type TargetKind = (typeof TARGET_KINDS)[number];

const targetSchema = z.strictObject({
  target_id: idSchema,
  role: z.string().min(1).max(120),
  parent: idSchema.nullable(),
  /** 0 for a target without a parent. */
  depth: z.int().min(0),
  identity: z.enum(IDENTITY_MODES),
  store_id: z.string().max(120).nullable(),
  engine: z.string().max(50).nullable(),
  /** Its folder below `artifacts`. */
  folder: z.string().regex(/^[A-Za-z0-9_-]{1,120}$/),
});
const unitSchema = z.strictObject({
  unit_id: idSchema,
  kind: z.enum(['single', 'subtree', 'group']),
  targets: z.array(idSchema).min(1),
  /** Nodes of this unit in the fleet file that are not part of this backup. */
  left_out: z.array(idSchema),
});
const operationSchema = z.strictObject({
  /** From 0, without gaps. */
  sequence: z.int().min(0),
  operation_id: z.string().min(1).max(200),
  kind: z.enum(OPERATION_KINDS),
  target_id: idSchema.nullable(),
});
/** Secrets are named, not given. */
const repositorySchema = z.strictObject({
  /** In the settings file of every node. */
  name: z.string().min(1),
  repository_id: idSchema,
  /** For this controller. */
  destination: z.string().min(1),
  encryption: z
    .strictObject({
      identity: z.string().optional(),
      passphrase: z.string().optional(),
      key_file: z.string().optional(),
    })
    .optional(),
});
const bodySchema = z.strictObject({
  plan_version: z.literal(1),
  plan_id: idSchema,
  run_id: idSchema,
  backup_id: idSchema,
  created_at_ms: timeSchema,
  tool: z.string().max(100),
  fleet: z.string().min(1).max(120),
  policy: z.enum(POLICIES),
  topology_hash: hashSchema,
  /** Where each node pushes its snapshot by itself. Without it the controller downloads them. */
  repository: repositorySchema.optional(),
  targets: z.array(targetSchema).min(1),
  units: z.array(unitSchema).min(1),
  operations: z.array(operationSchema),
});
const planSchema = bodySchema.extend({ plan_sha256: hashSchema });

export type PlanTarget = z.infer<typeof targetSchema>;
export type PlanUnit = z.infer<typeof unitSchema>;
export type PlanRepository = z.infer<typeof repositorySchema>;
export type PlanOperation = z.infer<typeof operationSchema>;
type PlanBody = z.infer<typeof bodySchema>;
/** Never changes once it is written: what happens is in the journal. */
export type BackupPlan = z.infer<typeof planSchema>;

export interface PlanRequest {
  readonly fleet: string;
  readonly nodes: readonly TopologyNode[];
  /** Undefined: all of them are one unit. A node in no unit is one by itself. */
  readonly units?: readonly { readonly id: string; readonly nodes: readonly string[] }[] | undefined;
  /** Ids of the nodes to back up; undefined: all. */
  readonly selected?: ReadonlySet<string> | undefined;
  /** Allows a selection that takes only a part of a unit. */
  readonly partialUnits?: boolean;
  readonly policy: Policy;
  /** Undefined: the snapshots are downloaded. */
  readonly repository?: PlanRepository | undefined;
  readonly planId: string;
  readonly runId: string;
  readonly backupId: string;
  readonly nowMs: number;
  readonly tool: string;
}

const refuse = (message: string, hint?: string) =>
  new StillpointError('INVALID_REQUEST', message, hint === undefined ? {} : { hint });

/**
 * The plan of one backup: what will be done, in which order. `INVALID_REQUEST` says why there cannot be one, so that what would
 * only fail at the end fails here.
 */
export function buildPlan(request: PlanRequest): BackupPlan {
  const targets = planTargets(request.nodes, request.selected);
  const body: PlanBody = {
    plan_version: 1,
    plan_id: request.planId,
    run_id: request.runId,
    backup_id: request.backupId,
    created_at_ms: request.nowMs,
    tool: request.tool,
    fleet: request.fleet,
    policy: request.policy,
    topology_hash: topologyHash(topologyOf(targets)),
    ...(request.repository && { repository: request.repository }),
    targets,
    units: planUnits(request, targets),
    operations: planOperations(targets, request),
  };
  return sealPlan(body);
}

export const sealPlan = (body: PlanBody): BackupPlan => ({ ...body, plan_sha256: digestOf(body) });

/** The digest is of the text that is written: zod keeps the order of the schema's fields, so the same plan has the same text. */
const digestOf = (body: PlanBody): string =>
  createHash('sha256')
    .update(JSON.stringify(bodySchema.parse(body)))
    .digest('hex');

function planTargets(nodes: readonly TopologyNode[], selected?: ReadonlySet<string>): PlanTarget[] {
  const byId = new Map<string, TopologyNode>();
  for (const node of nodes) {
    if (byId.has(node.targetId)) throw refuse(`two nodes have the id ${node.targetId}`);
    byId.set(node.targetId, node);
  }
  for (const id of selected ?? []) if (!byId.has(id)) throw refuse(`there is no node ${id}`);
  const depths = new Map<string, number>();
  for (const { targetId } of nodes) findDepth(byId, depths, targetId);
  const targets = nodes
    .filter(({ targetId }) => selected === undefined || selected.has(targetId))
    .map(({ targetId, role, parent, identity, storeId, engine }) => ({
      target_id: targetId,
      role,
      parent,
      depth: depths.get(targetId)!,
      identity,
      store_id: storeId,
      engine,
      folder: targetId.replace(/[^A-Za-z0-9_-]/g, '_'),
    }))
    .sort((a, b) => a.depth - b.depth || compareIds(a.target_id, b.target_id));
  if (targets.length === 0)
    throw refuse('no node is selected', 'Check the selection against the fleet file.');
  refuseCollisions(targets);
  return targets;
}

function findDepth(
  nodes: ReadonlyMap<string, TopologyNode>,
  depths: Map<string, number>,
  start: string,
): void {
  const way: string[] = [];
  const onWay = new Set<string>();
  for (let id: string | null = start; id !== null && !depths.has(id); ) {
    if (onWay.has(id)) throw refuse(`the node ${id} is its own ancestor`);
    const node = nodes.get(id);
    if (node === undefined) throw refuse(`the parent of ${way.at(-1)} is ${id}, which is no node`);
    way.push(id);
    onWay.add(id);
    id = node.parent;
  }
  for (const id of way.reverse()) {
    const { parent } = nodes.get(id)!;
    depths.set(id, parent === null ? 0 : depths.get(parent)! + 1);
  }
}

/** On some systems names that differ only in case are one. */
function refuseCollisions(targets: readonly PlanTarget[]): void {
  const folders = new Map<string, string>();
  for (const { target_id, folder } of targets) {
    const other = folders.get(folder.toLowerCase());
    if (other !== undefined)
      throw refuse(
        `the nodes ${other} and ${target_id} would have the same folder ${folder}`,
        'Give one of them another id.',
      );
    folders.set(folder.toLowerCase(), target_id);
  }
}

function planUnits(request: PlanRequest, targets: readonly PlanTarget[]): PlanUnit[] {
  const { units: given, nodes, partialUnits = false, fleet } = request;
  const isTarget = new Set(targets.map(({ target_id }) => target_id));
  const groups = given ?? [{ id: unitIdOf(fleet), nodes: nodes.map(({ targetId }) => targetId) }];
  const owner = new Map<string, string>();
  const units: PlanUnit[] = [];
  for (const group of groups) {
    for (const node of group.nodes) {
      const other = owner.get(node);
      if (other !== undefined) throw refuse(`the node ${node} is in the units ${other} and ${group.id}`);
      owner.set(node, group.id);
    }
    const inGroup = new Set(group.nodes);
    const members = targets.filter(({ target_id }) => inGroup.has(target_id));
    const leftOut = group.nodes.filter((node) => !isTarget.has(node));
    if (members.length === 0) continue;
    // Without units in the fleet file a selection is a unit of its own.
    if (leftOut.length > 0 && given !== undefined && !partialUnits)
      throw refuse(
        `the selection splits the unit ${group.id}: it leaves out ${leftOut.slice(0, 5).join(', ')}`,
        'Select the whole unit, or allow a partial one with `--partial`.',
      );
    units.push(describeUnit(group.id, members, given === undefined ? [] : leftOut));
  }
  for (const target of targets)
    if (!owner.has(target.target_id)) units.push(describeUnit(target.target_id, [target], []));
  const ids = new Set<string>();
  for (const { unit_id } of units) {
    if (ids.has(unit_id)) throw refuse(`two units have the id ${unit_id}`);
    ids.add(unit_id);
  }
  return units;
}

const unitIdOf = (fleet: string): string => fleet.replace(/[^!-~]/g, '_');

function describeUnit(id: string, members: readonly PlanTarget[], leftOut: readonly string[]): PlanUnit {
  const inside = new Set(members.map(({ target_id }) => target_id));
  const roots = members.filter(({ parent }) => parent === null || !inside.has(parent));
  const kind = members.length === 1 ? 'single' : roots.length === 1 ? 'subtree' : 'group';
  return { unit_id: id, kind, targets: [...inside], left_out: [...leftOut] };
}

function planOperations(
  targets: readonly PlanTarget[],
  { policy, repository }: Pick<PlanRequest, 'policy' | 'repository'>,
): PlanOperation[] {
  const rows: Omit<PlanOperation, 'sequence'>[] = [];
  for (const kind of VALIDATION_KINDS) rows.push({ operation_id: kind, kind, target_id: null });
  const each = (kind: TargetKind, prefix: string, list = targets) => {
    for (const { target_id } of list) rows.push({ operation_id: `${prefix}-${target_id}`, kind, target_id });
  };
  if (policy === 'quiesced') each('stop', 'stop');
  each('create-snapshot', 'snapshot');
  if (policy === 'quiesced') each('start', 'start', [...targets].reverse());
  for (const target of targets) {
    if (repository === undefined) each('download-snapshot', 'download', [target]);
    else each('push-snapshot', 'push', [target]);
    each('verify-artifact', 'verify', [target]);
  }
  rows.push({ operation_id: 'finalize-manifest', kind: 'finalize-manifest', target_id: null });
  return rows.map((row, sequence) => ({ sequence, ...row }));
}

export const topologyOf = (targets: readonly PlanTarget[]): TopologyNode[] =>
  targets.map(({ target_id, role, parent, identity, store_id, engine }) => ({
    targetId: target_id,
    role,
    parent,
    identity,
    storeId: store_id,
    engine,
  }));

const LIMIT_BYTES = 512 * 1024 * 1024;

export const planFileOf = (layout: string): string => join(layout, 'backup-plan.json');

/** The plan of a layout folder, undefined when there is none. `PLAN_INVALID` when it is not what was written. */
export async function readPlan(fs: FileSystem, layout: string): Promise<BackupPlan | undefined> {
  const path = planFileOf(layout);
  const invalid = (why: string, cause?: unknown) =>
    new StillpointError('PLAN_INVALID', `${path}: ${why}`, { path, cause });
  const plan = await readJson(fs, path, { schema: planSchema, limitBytes: LIMIT_BYTES, refuse: invalid });
  if (plan === undefined) return undefined;
  const { plan_sha256, ...body } = plan;
  if (digestOf(body) !== plan_sha256) throw invalid('does not match its own digest (plan_sha256)');
  const why = planProblem(plan);
  if (why !== undefined) throw invalid(why);
  return plan;
}

/** What a digest cannot tell: whether the parts of a plan fit together. */
function planProblem(plan: BackupPlan): string | undefined {
  const expected = JSON.stringify(planOperations(plan.targets, plan));
  if (JSON.stringify(plan.operations) !== expected) return 'its operations are not those of its targets';
  if (topologyHash(topologyOf(plan.targets)) !== plan.topology_hash)
    return 'its topology hash is not that of its targets';
  const inUnits = plan.units.flatMap(({ targets }) => targets).sort(compareIds);
  const targets = plan.targets.map(({ target_id }) => target_id).sort(compareIds);
  if (JSON.stringify(inUnits) !== JSON.stringify(targets)) return 'its units do not hold each target once';
  try {
    refuseCollisions(plan.targets);
  } catch (error) {
    return (error as StillpointError).message;
  }
  return undefined;
}

/** Writes a plan into an existing layout folder, durably. */
export const writePlan = (fs: FileSystem, layout: string, plan: BackupPlan): Promise<void> =>
  writeJson(fs, planFileOf(layout), plan, 'compact');
