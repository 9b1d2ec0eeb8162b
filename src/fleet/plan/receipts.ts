import * as z from 'zod';
import { StillpointError } from '../../errors.ts';
import { type BackupPlan, type PlanOperation, topologyOf } from './plan.ts';
import { hashSchema, idSchema, timeSchema } from './schemas.ts';
import { type TopologyNode, topologyChanges, topologyHash } from './topology.ts';

/** How long the receipts of a preflight are good for. */
export const PREFLIGHT_VALID_MS = 300 * 1000;

/** What proves the authority over one target. `proven_by` says how, for people. */
const authoritySchema = z.strictObject({
  plan_id: idSchema,
  preflight_id: idSchema,
  target_id: idSchema,
  proven_by: z.string().min(1).max(200),
});

export const preflightReceiptsSchema = z.strictObject({
  topology: z.strictObject({
    plan_id: idSchema,
    preflight_id: idSchema,
    nodes: z.array(
      z.strictObject({
        target_id: idSchema,
        role: z.string(),
        parent: idSchema.nullable(),
        identity: z.enum(['fixed', 'relocatable']),
        store_id: z.string().nullable(),
        engine: z.string().nullable(),
      }),
    ),
  }),
  control_authority: z.array(authoritySchema),
  snapshot_read_authority: z.array(authoritySchema),
  quiescence: z.array(authoritySchema),
});

export type PreflightReceipts = z.infer<typeof preflightReceiptsSchema>;
export type AuthorityReceipt = z.infer<typeof authoritySchema>;

/** Receipts for the nodes as they were found. `provenBy` says how each authority was proven, for people. */
export function makeReceipts(
  { plan, preflightId }: { readonly plan: BackupPlan; readonly preflightId: string },
  nodes: readonly TopologyNode[],
  provenBy: { readonly control: string; readonly read: string; readonly quiescence: string },
): PreflightReceipts {
  const of = { plan_id: plan.plan_id, preflight_id: preflightId };
  const each = (proven_by: string) => plan.targets.map(({ target_id }) => ({ ...of, target_id, proven_by }));
  return {
    topology: {
      ...of,
      nodes: nodes.map(({ targetId: target_id, storeId: store_id, role, parent, identity, engine }) => ({
        target_id,
        role,
        parent,
        identity,
        store_id,
        engine,
      })),
    },
    control_authority: each(provenBy.control),
    snapshot_read_authority: each(provenBy.read),
    quiescence: each(provenBy.quiescence),
  };
}

/**
 * Whether receipts are those of this preflight: they name this plan and this preflight, and cover every target in the plan's
 * order. `PREFLIGHT_REFUSED` says what is missing, `TOPOLOGY_CHANGED` which nodes are not as they were.
 */
export function checkPreflight(plan: BackupPlan, preflightId: string, given: unknown): PreflightReceipts {
  const refuse = (message: string) => new StillpointError('PREFLIGHT_REFUSED', `the preflight ${message}`);
  const parsed = preflightReceiptsSchema.safeParse(given);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw refuse(`returned no valid receipts: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const receipts = parsed.data;
  const { topology, ...byTarget } = receipts;
  const isOurs = (receipt: { plan_id: string; preflight_id: string }) =>
    receipt.plan_id === plan.plan_id && receipt.preflight_id === preflightId;
  if (!isOurs(topology)) throw refuse('returned a topology receipt of another plan or preflight');
  for (const [name, list] of Object.entries(byTarget)) {
    const what = name.replaceAll('_', ' ');
    if (list.length !== plan.targets.length)
      throw refuse(`has ${list.length} receipts of ${what} for ${plan.targets.length} targets`);
    for (const [i, { target_id }] of plan.targets.entries()) {
      const receipt = list[i]!;
      if (receipt.target_id !== target_id)
        throw refuse(`has a receipt of ${what} for ${receipt.target_id} where ${target_id} belongs`);
      if (!isOurs(receipt))
        throw refuse(`has a receipt of ${what} for ${target_id} of another plan or preflight`);
    }
  }
  const found: TopologyNode[] = topology.nodes.map(({ target_id, store_id, ...rest }) => ({
    ...rest,
    targetId: target_id,
    storeId: store_id,
  }));
  if (topologyHash(found) !== plan.topology_hash) {
    const changes = topologyChanges(topologyOf(plan.targets), found);
    throw new StillpointError(
      'TOPOLOGY_CHANGED',
      `the fleet has changed since the plan: ${changes.slice(0, 5).join('; ')}`,
      {
        data: { changes },
      },
    );
  }
  return receipts;
}

const OUTCOMES = ['completed', 'failed', 'skipped'] as const;

/** What is known of one operation that has ended. */
export const receiptSchema = z.strictObject({
  plan_id: idSchema,
  run_id: idSchema,
  preflight_id: idSchema.nullable(),
  sequence: z.int().min(0),
  operation_id: z.string(),
  kind: z.string(),
  target_id: idSchema.nullable(),
  outcome: z.enum(OUTCOMES),
  updated_at_ms: timeSchema,
  /** From 1; and of which window of its unit, from 1. */
  attempt: z.int().min(1),
  window: z.int().min(1),
  snapshot_id: z.string().min(1).max(200).optional(),
  artifact_path: z.string().min(1).optional(),
  checksum: hashSchema.optional(),
  failure_reason: z.string().optional(),
  failure_code: z.string().optional(),
  /** What the executor must know later: for instance the epoch of a quiesced node. */
  detail: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
});

export type Receipt = z.infer<typeof receiptSchema>;
export type ReceiptDetail = NonNullable<Receipt['detail']>;

const NEEDED: Readonly<Partial<Record<PlanOperation['kind'], 'snapshot_id' | 'artifact_path' | 'checksum'>>> =
  {
    'create-snapshot': 'snapshot_id',
    'download-snapshot': 'artifact_path',
    'push-snapshot': 'artifact_path',
    'verify-artifact': 'checksum',
  };

/** Refuses a receipt that does not say what it must; `RECEIPT_INVALID`. */
export function checkReceipt(operation: PlanOperation, given: Receipt): Receipt {
  const refuse = (why: string) =>
    new StillpointError('RECEIPT_INVALID', `the receipt of ${operation.operation_id} ${why}`);
  const parsed = receiptSchema.safeParse(given);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw refuse(`does not fit: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const receipt = parsed.data;
  for (const field of ['sequence', 'operation_id', 'kind', 'target_id'] as const)
    if (receipt[field] !== operation[field]) throw refuse(`names another ${field.replace('_', ' ')}`);
  const needed = NEEDED[operation.kind];
  if (receipt.outcome === 'completed' && needed !== undefined && receipt[needed] === undefined)
    throw refuse(`has no ${needed.replace('_', ' ')}`);
  if (receipt.outcome === 'failed' && receipt.failure_reason === undefined)
    throw refuse('has no failure reason');
  return receipt;
}
