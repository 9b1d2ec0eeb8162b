import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { StillpointError } from '../../errors.ts';
import type { Execution } from '../journal/operation-states.ts';
import { hashSchema, idSchema, timeSchema } from '../plan/schemas.ts';
import { IDENTITY_MODES, TOPOLOGY_HASH_ALGORITHM, TOPOLOGY_HASH_INPUT } from '../plan/topology.ts';

const memberSchema = z.strictObject({
  target_id: idSchema,
  role: z.string(),
  parent: idSchema.nullable(),
  identity_mode: z.enum(IDENTITY_MODES),
  store_id: z.string().nullable(),
  engine: z.string().nullable(),
  source_snapshot: z.strictObject({
    snapshot_id: z.string(),
    /** Relative to the layout folder, with `/`. */
    artifact_path: z.string(),
    checksum_algorithm: z.literal('sha256'),
    checksum: hashSchema,
  }),
  /** Where it was pushed to; absent where it was downloaded. */
  repository: z.strictObject({ name: z.string(), repository_id: idSchema }).optional(),
});

const bodySchema = z.strictObject({
  manifest_version: z.literal(1),
  backup_id: idSchema,
  created_at_ms: timeSchema,
  tool: z.string(),
  source: z.strictObject({ fleet: z.string(), plan_id: idSchema, run_id: idSchema }),
  consistency: z.strictObject({
    policy: z.string(),
    units: z.array(
      z.strictObject({
        unit_id: idSchema,
        kind: z.enum(['single', 'subtree', 'group']),
        /** From 1: how often all snapshots of the unit were taken anew. */
        window: z.int().min(1),
        targets: z.array(idSchema),
        left_out: z.array(idSchema),
      }),
    ),
  }),
  fleet: z.strictObject({
    topology_hash_algorithm: z.literal(TOPOLOGY_HASH_ALGORITHM),
    topology_hash_input: z.literal(TOPOLOGY_HASH_INPUT),
    discovery_topology_hash: hashSchema,
    pre_snapshot_topology_hash: hashSchema,
    topology_hash: hashSchema,
    members: z.array(memberSchema).min(1),
  }),
  /** What was checked before the manifest was written. */
  verification: z.strictObject({ checksums: z.literal('sha256'), members: z.int().min(1) }),
});
const manifestSchema = bodySchema.extend({ manifest_sha256: hashSchema });

type ManifestBody = z.infer<typeof bodySchema>;
export type FleetManifest = z.infer<typeof manifestSchema>;
export type FleetMember = z.infer<typeof memberSchema>;

const digestOf = (body: ManifestBody): string =>
  createHash('sha256')
    .update(JSON.stringify(bodySchema.parse(body)))
    .digest('hex');

/** The manifest of a backup whose artifacts are all durable. */
export function buildManifest(execution: Execution, nowMs: number, tool: string): FleetManifest {
  const { plan } = execution;
  const { repository: planned } = plan;
  const repository = planned && { name: planned.name, repository_id: planned.repository_id };
  const members = plan.targets.map((target): FleetMember => {
    const { snapshot_id, artifact_path, checksum, state } = execution.artifact(target.target_id) ?? {};
    if (
      state !== 'Durable' ||
      snapshot_id === undefined ||
      artifact_path === undefined ||
      checksum === undefined
    )
      throw new StillpointError(
        'JOURNAL_INVALID',
        `the artifact of ${target.target_id} is ${state ?? 'missing'} and not durable`,
      );
    return {
      target_id: target.target_id,
      role: target.role,
      parent: target.parent,
      identity_mode: target.identity,
      store_id: target.store_id,
      engine: target.engine,
      source_snapshot: { snapshot_id, artifact_path, checksum_algorithm: 'sha256', checksum },
      ...(repository && { repository }),
    };
  });
  const body: ManifestBody = {
    manifest_version: 1,
    backup_id: plan.backup_id,
    created_at_ms: nowMs,
    tool,
    source: { fleet: plan.fleet, plan_id: plan.plan_id, run_id: plan.run_id },
    consistency: {
      policy: plan.policy,
      units: plan.units.map(({ unit_id, kind, targets, left_out }) => ({
        unit_id,
        kind,
        window: execution.window(targets[0]!),
        targets,
        left_out,
      })),
    },
    fleet: {
      topology_hash_algorithm: TOPOLOGY_HASH_ALGORITHM,
      topology_hash_input: TOPOLOGY_HASH_INPUT,
      discovery_topology_hash: plan.topology_hash,
      // A preflight with another hash is refused, so they are one.
      pre_snapshot_topology_hash: plan.topology_hash,
      topology_hash: plan.topology_hash,
      members,
    },
    verification: { checksums: 'sha256', members: members.length },
  };
  return { ...body, manifest_sha256: digestOf(body) };
}

const LIMIT_BYTES = 512 * 1024 * 1024;

export const manifestFileOf = (layout: string): string => join(layout, 'fleet-manifest.json');

/** The manifest of a finished backup, undefined when there is none; `MANIFEST_INVALID` when it is not what was written. */
export async function readFleetManifest(fs: FileSystem, layout: string): Promise<FleetManifest | undefined> {
  const path = manifestFileOf(layout);
  const refuse = (why: string, cause?: unknown) =>
    new StillpointError('MANIFEST_INVALID', `${path}: ${why}`, { path, cause });
  const manifest = await readJson(fs, path, { schema: manifestSchema, limitBytes: LIMIT_BYTES, refuse });
  if (manifest === undefined) return undefined;
  const { manifest_sha256, ...body } = manifest;
  if (digestOf(body) !== manifest_sha256) throw refuse('does not match its own digest (manifest_sha256)');
  return manifest;
}

export const writeFleetManifest = (fs: FileSystem, layout: string, manifest: FleetManifest): Promise<void> =>
  writeJson(fs, manifestFileOf(layout), manifest, 'lines');
