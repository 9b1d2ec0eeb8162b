import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { StillpointError } from '../../errors.ts';
import type { FleetManifest, FleetMember } from '../copies/manifest.ts';
import { hashSchema, idSchema, timeSchema } from '../plan/schemas.ts';
import type { TopologyNode } from '../plan/topology.ts';

const nodeSchema = z.strictObject({
  /** The node of the fleet file that is restored into. */
  node_id: idSchema,
  /** The member of the backup whose copy it gets. */
  member_id: idSchema,
  /** 0 for a member without a parent; a member is restored after its parent. */
  depth: z.int().min(0),
  /** Relative to the folder of the backup, with `/`. */
  artifact_path: z.string().min(1),
  checksum: hashSchema,
  /** Of the database that was there when the plan was made: another one is not restored into. */
  store_id: z.string().max(120).nullable(),
});
const bodySchema = z.strictObject({
  restore_version: z.literal(1),
  /** Names this restore on every node. */
  restore_id: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  backup_id: idSchema,
  created_at_ms: timeSchema,
  tool: z.string().max(100),
  /** Parents first. */
  nodes: z.array(nodeSchema).min(1),
});
const planSchema = bodySchema.extend({ plan_sha256: hashSchema });

export type RestoreNode = z.infer<typeof nodeSchema>;
type RestorePlanBody = z.infer<typeof bodySchema>;
/** Never changes once it is written: what happens is in the journal. */
export type RestorePlan = z.infer<typeof planSchema>;

export interface RestoreRequest {
  readonly manifest: FleetManifest;
  /** The nodes that there are now, as they describe themselves. */
  readonly nodes: readonly TopologyNode[];
  /** Node by member; a member that it does not name is restored into the node of its own id. */
  readonly mapping: ReadonlyMap<string, string>;
  readonly restoreId: string;
  readonly nowMs: number;
  readonly tool: string;
}

const refuse = (message: string, hint?: string) =>
  new StillpointError('INVALID_REQUEST', message, hint === undefined ? {} : { hint });

/** Which copy goes where, and in which order. `INVALID_REQUEST` says why it cannot be done. */
export function buildRestorePlan(request: RestoreRequest): RestorePlan {
  const { manifest, nodes, mapping, restoreId, nowMs, tool } = request;
  const { members } = manifest.fleet;
  const known = new Map(nodes.map((node) => [node.targetId, node]));
  const memberIds = new Set(members.map(({ target_id }) => target_id));
  for (const id of mapping.keys()) if (!memberIds.has(id)) throw refuse(`the backup has no member ${id}`);
  const depths = depthsOf(members);
  const taken = new Map<string, string>();
  const planned = members.map((member): RestoreNode => {
    const { target_id: id, source_snapshot } = member;
    const nodeId = mapping.get(id) ?? id;
    const node = known.get(nodeId);
    if (node === undefined)
      throw refuse(
        `the member ${id} has no node: the fleet file has no ${nodeId}`,
        'Say where it is to be restored: `--map MEMBER=NODE`.',
      );
    refuseUnfit(member, node);
    const other = taken.get(nodeId);
    if (other !== undefined)
      throw refuse(`the members ${other} and ${id} would both be restored into ${nodeId}`);
    taken.set(nodeId, id);
    return {
      node_id: nodeId,
      member_id: id,
      depth: depths.get(id)!,
      artifact_path: source_snapshot.artifact_path,
      checksum: source_snapshot.checksum,
      store_id: node.storeId,
    };
  });
  const body: RestorePlanBody = {
    restore_version: 1,
    restore_id: restoreId,
    backup_id: manifest.backup_id,
    created_at_ms: nowMs,
    tool,
    nodes: planned.sort((a, b) => a.depth - b.depth),
  };
  return { ...body, plan_sha256: digestOf(body) };
}

function refuseUnfit({ target_id, identity_mode, store_id, engine }: FleetMember, node: TopologyNode): void {
  if (identity_mode === 'fixed' && (node.targetId !== target_id || node.storeId !== store_id))
    throw refuse(
      `the member ${target_id} has a fixed identity: it is restored only into itself, and ${node.targetId} is another database`,
    );
  if (engine !== null && node.engine !== null && engine !== node.engine)
    throw refuse(
      `the copy of ${target_id} was written by ${engine}, and ${node.targetId} runs ${node.engine}`,
    );
}

/** A member whose parent is not part of the backup begins a tree. */
function depthsOf(members: readonly FleetMember[]): ReadonlyMap<string, number> {
  const parents = new Map(members.map(({ target_id, parent }) => [target_id, parent]));
  const depths = new Map<string, number>();
  for (const { target_id } of members) {
    const way: string[] = [];
    let at: string | null = target_id;
    while (at !== null && parents.has(at) && !depths.has(at)) {
      if (way.includes(at)) throw refuse(`the member ${at} is its own ancestor`);
      way.push(at);
      at = parents.get(at) ?? null;
    }
    let depth = at === null ? -1 : (depths.get(at) ?? -1);
    for (const id of way.reverse()) depths.set(id, ++depth);
  }
  return depths;
}

const digestOf = (body: RestorePlanBody): string =>
  createHash('sha256')
    .update(JSON.stringify(bodySchema.parse(body)))
    .digest('hex');

const LIMIT_BYTES = 256 * 1024 * 1024;
export const restorePlanFileOf = (folder: string): string => join(folder, 'restore-plan.json');

/** Undefined when there is none; `PLAN_INVALID` when it is not what was written. */
export async function readRestorePlan(fs: FileSystem, folder: string): Promise<RestorePlan | undefined> {
  const path = restorePlanFileOf(folder);
  const refuse = (why: string, cause?: unknown) =>
    new StillpointError('PLAN_INVALID', `${path}: ${why}`, { path, cause });
  const plan = await readJson(fs, path, { schema: planSchema, limitBytes: LIMIT_BYTES, refuse });
  if (plan === undefined) return undefined;
  const { plan_sha256, ...body } = plan;
  if (digestOf(body) !== plan_sha256) throw refuse('does not match its own digest (plan_sha256)');
  return plan;
}

export const writeRestorePlan = (fs: FileSystem, folder: string, plan: RestorePlan): Promise<void> =>
  writeJson(fs, restorePlanFileOf(folder), plan, 'compact');
