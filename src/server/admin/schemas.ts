import * as z from 'zod';
import { LEVELS, type Report } from '../../engine/report.ts';
import { LIFECYCLE_MODES } from '../../operation/lifecycle.ts';
import { operationStateSchema } from '../../operation/operation-state.ts';
import { LEAST_BYTES_PER_SECOND, type ThrottleOptions } from '../../operation/throttle.ts';
import type { SnakeCased } from '../../options/casing.ts';
import { MODES } from '../../snapshot/capture/capture.ts';
import type { SnapshotSummary } from '../../snapshot/store/list.ts';
import { CLONE_CHOICES } from '../../snapshot/tasks/reflinker.ts';

/** Bodies and replies of the admin RPC. The OpenAPI document is made from these. */

const timeMs = z.number().describe('Milliseconds since 1970');
const level = z.enum(LEVELS).describe('How thoroughly files are read: `full` is down to the last entry');

/** What a run may take of the machine; the same in every body that starts one. */
const throttleFields = {
  max_bytes_per_second: z
    .int()
    .min(LEAST_BYTES_PER_SECOND)
    .optional()
    .describe('Of what is copied and read back together. Default: no limit'),
  background: z
    .boolean()
    .optional()
    .describe('Pauses while requests suffer, at most nine tenths of the time. Default false'),
  concurrency: z
    .int()
    .min(1)
    .optional()
    .describe('Tasks that compute at once. Default: one for each processor, with `background` 1'),
};

const throttleSchema = z.strictObject(throttleFields);

/** As the library calls them. `background`: what the server itself means by that. */
export function throttleOptionsOf(
  { max_bytes_per_second: maxBytesPerSecond, background, concurrency }: z.infer<typeof throttleSchema>,
  own: ThrottleOptions['background'],
): ThrottleOptions {
  return {
    ...(maxBytesPerSecond !== undefined && { maxBytesPerSecond }),
    ...(background !== undefined && { background: background && (own || true) }),
    ...(concurrency !== undefined && { concurrency }),
  };
}

export const backupBodySchema = z
  .strictObject({
    mode: z.enum(MODES).optional().describe('`link`: immutable files are hard links. Default `copy`'),
    level: level.optional(),
    reuse: z
      .boolean()
      .optional()
      .describe('Whether unchanged files are shared with the last snapshot. Default true'),
    clone: z
      .enum(CLONE_CHOICES)
      .optional()
      .describe('`auto`: immutable files become copy-on-write clones where possible. Default `never`'),
    reprove: z.boolean().optional().describe('Whether shared files are read again. Default false'),
    keep: z
      .int()
      .min(1)
      .optional()
      .describe('Afterwards remove all but so many snapshots. Default: keep all'),
    ...throttleFields,
  })
  .nullish();

export const verifyBodySchema = z.strictObject({ level: level.optional(), ...throttleFields }).nullish();

export const restoreBodySchema = z
  .strictObject({
    source: z
      .string()
      .min(1)
      .max(4096)
      .nullish()
      .describe('`latest`, a name, an id, or a path inside a folder that is allowed. Default `latest`'),
    clone: z
      .enum(CLONE_CHOICES)
      .optional()
      .describe("`auto`: copy-on-write clones of the snapshot's files where possible. Default `never`"),
    ...throttleFields,
  })
  .nullish();

export const lifecycleBodySchema = z.strictObject({
  action: z.string().describe('`archive` or `export`'),
});

export const emptyBodySchema = z.strictObject({}).nullish();

export const handleParamsSchema = z.object({ id: z.string().describe('A handle: a UUID') });
export const nameParamsSchema = z.object({ name: z.string().describe('Name or id of a snapshot') });

export const backupReplySchema = z.object({
  handle: z.uuid(),
  location: z.string().describe('Where the snapshot is written, or was'),
  state: operationStateSchema,
});

const restoreMetadataSchema = z
  .object({
    backup_id: z.string().describe('Last component of the path'),
    location: z.string(),
    restored_at_ms: timeMs,
    size_bytes: z.number(),
  })
  .nullable();

export const restoreReplySchema = z.object({
  handle: z.uuid(),
  state: operationStateSchema,
  metadata: restoreMetadataSchema.describe('Filled when completed'),
});

export const lifecycleReplySchema = z.object({ status: z.literal('OK'), message: z.string() });
export const unknownActionSchema = z.object({ status: z.literal('Error'), message: z.string() });
export const exportReplySchema = z.object({ status: z.literal('OK'), location: z.string() });
export const compactionReplySchema = z.object({ success: z.boolean(), message: z.string() });
export const healthReplySchema = z.object({ status: z.literal('ok'), message: z.literal('ready') });

export const snapshotSchema = z.object({
  name: z.string(),
  id: z.string().nullable(),
  sequence: z.number().nullable(),
  created_at_ms: timeMs,
  engine: z.string().nullable(),
  entries: z.number().nullable(),
  total_bytes: z.number().nullable(),
  location: z.string(),
  problem: z.string().nullable().describe('Why the manifest cannot be trusted'),
}) satisfies z.ZodType<SnakeCased<SnapshotSummary>>;

export const snapshotListSchema = z.object({
  latest: z.string().nullable(),
  snapshots: z.array(snapshotSchema).readonly(),
});

const verdict = z.enum(['faithful', 'copy-damaged', 'source-damaged']);

export const reportSchema = z.object({
  ok: z.boolean(),
  verdict,
  level,
  engine: z.string(),
  steps: z.array(z.object({ name: z.string(), duration_ms: z.number() })).readonly(),
  counts: z.object({
    files: z.number(),
    bytes: z.number(),
    wal_entries: z.number(),
    wal_last_lsn: z.string().nullable(),
    tables: z.number(),
    blocks: z.number(),
    entries: z.number(),
  }),
  findings: z
    .array(
      z.object({
        path: z.string(),
        offset: z.number().nullable(),
        code: z.string(),
        severity: z.enum(['error', 'warning']),
        message: z.string(),
        verdict: verdict.exactOptional(),
      }),
    )
    .readonly(),
}) satisfies z.ZodType<SnakeCased<Report>>;

export const recoveryStateSchema = z.object({
  outcome: z.enum(['success', 'read_only', 'failed']),
  duration_ms: z.number(),
  entries_replayed: z.number().nullable(),
  warnings: z.array(z.string()).readonly(),
  finished_at_ms: timeMs,
  reason: z.string().nullable(),
});

export const statusReplySchema = z.object({
  version: z.string(),
  uptime_secs: z.number(),
  connections: z.number(),
  queries_per_second: z.number(),
  overall_status: z.enum(['ok', 'degraded']),
  read_only: z.boolean(),
  maintenance: z.boolean(),
  recovery_state: recoveryStateSchema.nullable(),
  backup_state: operationStateSchema.nullable(),
  restore_state: operationStateSchema.nullable(),
  restore_metadata: restoreMetadataSchema,
  last_recovery_at_ms: timeMs.nullable(),
  last_backup_at_ms: timeMs.nullable(),
  last_restore_at_ms: timeMs.nullable(),
  mode: z.enum(LIFECYCLE_MODES),
  engine: z.string(),
});

export const metricsReplySchema = z.object({
  qps: z.number(),
  avg_latency_ms: z.number(),
  p99_latency_ms: z.number(),
  memory_usage_mb: z.number(),
  active_connections: z.number(),
});

export const ACTIONS = [
  'read',
  'create',
  'update',
  'delete',
  'archive',
  'restore',
  'backup',
  'export',
] as const;

export const capabilitiesReplySchema = z.object({
  scope: z.enum(['full', 'restricted']),
  allowed_actions: z.array(z.enum(ACTIONS)).readonly(),
});
