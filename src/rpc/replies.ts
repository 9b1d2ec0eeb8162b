import * as z from 'zod';
import type { SnapshotResult } from '../coordinator/backup.ts';
import type { RestoreResult } from '../coordinator/restore.ts';
import type { SnapshotList } from '../coordinator/snapshots.ts';
import type { SnapshotsStatus } from '../coordinator/status.ts';
import type { Report } from '../engine/report.ts';
import { ERROR_CODES, type ErrorCode } from '../errors.ts';
import { LIFECYCLE_MODES } from '../operation/lifecycle.ts';
import { operationStateSchema } from '../operation/operation-state.ts';
import type { SnakeCased } from '../options/casing.ts';
import { LEVELS, MODES } from '../options/choices.ts';
import type { SnapshotSummary } from '../snapshot/store/known-snapshot.ts';
import { type ListedSnapshot, SNAPSHOT_STATES, type SnapshotTotal } from '../snapshot/store/standing.ts';

/** Replies of the admin RPC: what the server promises and the client holds it to. The OpenAPI document is made from these. */

const CODES = Object.keys(ERROR_CODES) as [ErrorCode, ...ErrorCode[]];

export const errorSchema = z
  .object({
    error: z.object({
      code: z.enum(CODES),
      message: z.string(),
      correlation_id: z.string(),
      hint: z.string().describe('What to do about it'),
    }),
  })
  .describe('What every error looks like');

export const timeMs = z.number().describe('Milliseconds since 1970');
const level = z.enum(LEVELS).describe('How thoroughly files are read: `full` is down to the last entry');

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
  mode: z.enum(MODES).nullable().describe('`link`: it may share files with the database'),
  entries: z.number().nullable(),
  total_bytes: z.number().nullable(),
  location: z.string(),
  problem: z.string().nullable().describe('Why the manifest cannot be trusted'),
}) satisfies z.ZodType<SnakeCased<SnapshotSummary>>;

const listedSnapshotSchema = snapshotSchema.extend({
  state: z.enum(SNAPSHOT_STATES).describe('What is known of it without reading it again'),
  level: level.nullable().describe('How thoroughly it was proven; null when damaged or never proven'),
  verified_at_ms: timeMs
    .nullable()
    .describe(
      'The oldest proof among its files; for a damaged one, when it was last read; null when not on record',
    ),
  medium_at_ms: timeMs
    .nullable()
    .describe('When the oldest of its files was last read from the disk itself; null when one never was'),
  damage: z.string().nullable().describe('What is damaged or could not be read'),
  age_ms: z.number().describe('Since it was taken, by the clock of this machine'),
  disk_bytes: z.number().nullable().describe('What its files take on the disk; null when not looked at'),
  own_bytes: z
    .number()
    .nullable()
    .describe('What the disk gets back when it is removed; null when not looked at'),
}) satisfies z.ZodType<SnakeCased<ListedSnapshot>>;

const snapshotTotalSchema = z.object({
  count: z.number(),
  damaged: z.number(),
  total_bytes: z.number().describe('Of all, as if nothing were shared'),
  disk_bytes: z.number().describe('On the disk; a file that several share counts once'),
}) satisfies z.ZodType<SnakeCased<SnapshotTotal>>;

export const snapshotListSchema = z.object({
  latest: z.string().nullable(),
  latest_good: z.string().nullable().describe('The newest of the deepest proof'),
  snapshots: z
    .array(
      listedSnapshotSchema.extend({
        delete_refused: z.string().nullable().describe('Why DELETE would refuse it; null when it would not'),
      }),
    )
    .readonly(),
  total: snapshotTotalSchema,
}) satisfies z.ZodType<SnakeCased<SnapshotList>>;

const verdict = z.enum(['faithful', 'copy-damaged', 'source-damaged', 'unread']);

export const findingSchema = z.object({
  path: z.string(),
  offset: z.number().nullable(),
  code: z.string(),
  severity: z.enum(['error', 'warning']),
  message: z.string(),
  verdict: verdict.exactOptional(),
});

export const reportSchema = z.object({
  ok: z.boolean(),
  verdict,
  level,
  medium: z.boolean(),
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
  findings: z.array(findingSchema).readonly(),
}) satisfies z.ZodType<SnakeCased<Report>>;

const restoreMetadataSchema = z
  .object({
    backup_id: z.string().describe('Last component of the path'),
    location: z.string(),
    restored_at_ms: timeMs,
    size_bytes: z.number(),
  })
  .nullable();

const RESULT = 'Filled when completed, as long as the server that did it runs';
const durations = z.record(z.string(), z.number()).describe('Milliseconds of each phase');

const snapshotResultSchema = z.object({
  name: z.string(),
  location: z.string(),
  engine: z.string(),
  entries: z.number(),
  total_bytes: z.number(),
  copied_bytes: z.number(),
  linked_bytes: z.number(),
  cloned_bytes: z.number(),
  reused_bytes: z.number(),
  carried_bytes: z.number().describe('Not read again: an earlier proof of the same file counts'),
  reproven_bytes: z.number(),
  report: reportSchema,
  durations_ms: durations,
  left_out: z.array(z.string()).readonly().describe('Names that are not of the engine'),
  pruned: z.array(z.string()).readonly(),
}) satisfies z.ZodType<SnakeCased<Omit<SnapshotResult, 'id' | 'state'>>>;

const restoreResultSchema = z.object({
  from: z.string(),
  into: z.string(),
  files: z.number(),
  bytes: z.number(),
  cloned_bytes: z.number(),
  undo: z.string().describe('The folder with what was replaced'),
  left_in_place: z.array(z.string()).readonly(),
  moved_along: z.array(z.string()).readonly(),
  metadata: restoreMetadataSchema.unwrap(),
  report: reportSchema.nullable(),
  durations_ms: durations,
}) satisfies z.ZodType<SnakeCased<Omit<RestoreResult, 'id' | 'state'>>>;

export const backupReplySchema = z.object({
  handle: z.uuid(),
  location: z.string().describe('Where the snapshot is written, or was'),
  state: operationStateSchema,
  result: snapshotResultSchema.nullish().describe(RESULT),
});

export const restoreReplySchema = z.object({
  handle: z.uuid(),
  state: operationStateSchema,
  metadata: restoreMetadataSchema.describe('Filled when completed'),
  result: restoreResultSchema.nullish().describe(RESULT),
});

export const recoveryStateSchema = z.object({
  outcome: z.enum(['success', 'read_only', 'failed']),
  duration_ms: z.number(),
  entries_replayed: z.number().nullable(),
  warnings: z.array(z.string()).readonly(),
  finished_at_ms: timeMs,
  reason: z.string().nullable(),
});

const keptFoldersSchema = z.object({
  count: z.number(),
  disk_bytes: z.number().describe('A file that several share counts once'),
  oldest_at_ms: timeMs.nullable(),
  newest_at_ms: timeMs.nullable(),
});

export const jobKindSchema = z.enum(['backup', 'restore', 'verify', 'drill', 'prune']);

const failureSchema = z.object({
  at_ms: timeMs.nullable(),
  code: z.string().nullable(),
  reason: z.string().nullable(),
  hint: z.string().nullable().describe('What to do about it'),
});
const failedAttemptSchema = failureSchema.extend({ kind: jobKindSchema, at_ms: timeMs });

const repositoryStandingSchema = z.object({
  repository_id: z.string().nullable().describe('Null where it was never open'),
  repository_url: z.string().nullable().describe('Without secrets'),
  shares_disk: z.boolean().describe('A folder on the disk of the data: if that fails, both are lost'),
  newest_backup: z.object({ backup_id: z.string(), created_at_ms: timeMs }).nullable(),
  last_verified: z
    .object({ backup_id: z.string().nullable(), at_ms: timeMs })
    .nullable()
    .describe('The last verification or drill that ended well and is on record here'),
  last_drill: z.object({ at_ms: timeMs, took_ms: z.number() }).nullable(),
  failing: z
    .array(failedAttemptSchema)
    .readonly()
    .describe('Of each kind of attempt, the last one, if it failed'),
});

export const undoStandingSchema = z.object({
  name: z.string(),
  location: z.string(),
  created_at_ms: timeMs.describe('When its files were replaced'),
  disk_bytes: z.number(),
  may_hold_writes: z.boolean().describe('It may hold writes that no snapshot has'),
  damaged: z.boolean().describe('What lies in it was found damaged'),
});

export const safetySchema = z.object({
  safe: z
    .boolean()
    .describe('False for damage, no good snapshot, one that is too old, or a restore that has not ended'),
  summary: z.string().describe('One sentence: `Safe: …` or `Not safe: …`'),
  problems: z.array(z.string()).readonly(),
  notes: z.array(z.string()).readonly(),
  last_success_at_ms: timeMs.nullable(),
  last_failure: failureSchema.nullable(),
  last_restore: z
    .object({
      name: z.string().describe('The snapshot'),
      at_ms: timeMs,
      took_ms: z.number(),
      undo_at_ms: timeMs.nullable().describe('When the last undo after it ended well'),
    })
    .nullable()
    .describe('The last restore in place that ended well, and how long it took'),
  last_restore_failure: failureSchema.nullable().describe('The last restore or undo, if it failed'),
  newest_good: listedSnapshotSchema.nullable(),
  latest: z.string().nullable(),
  latest_good: z.string().nullable().describe('The newest of the deepest proof'),
  source_damaged: z
    .boolean()
    .describe(
      'An attempt or a verification found the database that is there now damaged, and none of all its content since found it whole',
    ),
  put_back_from: z
    .string()
    .nullable()
    .describe(
      'Where the database was brought back from, if it does not go back to the newest snapshot, which may hold writes that it lacks',
    ),
  left_behind: z
    .array(z.string())
    .readonly()
    .describe('Snapshots after which the database went back: they may hold writes that no newer one has'),
  damaged: z
    .array(z.object({ name: z.string(), location: z.string(), damage: z.string().nullable() }))
    .readonly(),
  unread: z.array(z.string()).readonly(),
  unproven: z.array(z.string()).readonly(),
  oldest_good: z
    .object({ name: z.string(), created_at_ms: timeMs })
    .nullable()
    .describe('How far back the data can be brought'),
  oldest_proof: z.object({ name: z.string(), verified_at_ms: timeMs }).nullable(),
  total: snapshotTotalSchema,
  undo: keptFoldersSchema.describe('What restores in place replaced'),
  undo_folders: z.array(undoStandingSchema).readonly().describe('Those with files, oldest first'),
  archives: keptFoldersSchema,
  exports: keptFoldersSchema,
  free_bytes: z.number().describe('On the disk of the snapshots'),
  data_free_bytes: z.number().describe('On the disk of the data directory: a restore in place goes there'),
  next: z
    .object({
      database_bytes: z.number().describe('What the files of the database take on the disk'),
      needed_bytes: z.number().describe('What the next snapshot in full takes at most'),
      fits: z.boolean().describe('And leaves a quarter of that for the database, 16 MiB at most'),
    })
    .nullable()
    .describe('Null where no database is found'),
  room: z
    .object({
      text: z.string().describe('How long the disk of the snapshots lasts, and by what; empty if unknown'),
      bytes_per_day: z.number().nullable(),
      from_ms: z.number().nullable().describe('The time that the rate is from'),
      full_in_ms: z.number().nullable().describe('If none is removed; null where nobody knows'),
    })
    .describe('By the snapshots that stand'),
  restore_bytes: z
    .number()
    .nullable()
    .describe('What restoring `latest_good` in place takes at most; null without one'),
  prunable: z
    .object({ count: z.number(), freed_bytes: z.number() })
    .describe('What removing all but the newest snapshot would remove'),
  repositories: z
    .array(repositoryStandingSchema)
    .readonly()
    .nullable()
    .describe('Where backups of the directory are, by its own jobs; null when those cannot be read'),
  failing: z
    .array(failedAttemptSchema.extend({ repository_url: z.string().nullable() }))
    .readonly()
    .describe('Attempts of the last 31 days that failed, and none of their kind has succeeded there since'),
  advice: z
    .array(
      z.object({
        what: z.string(),
        lines: z.array(z.string()).readonly(),
        solves: z.boolean().describe('Whether it ends what is wrong; else it is only possible'),
      }),
    )
    .readonly()
    .describe(
      'What can be done, in the order in which to think of it. Each line is a sentence, or a command that starts with `stillpoint`',
    ),
}) satisfies z.ZodType<SnakeCased<SnapshotsStatus>>;

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
  quiesced: z
    .object({ run: z.string(), expires_at_ms: timeMs.nullable() })
    .nullable()
    .describe('Who keeps writes away, and until when; null for the restore of a fleet, which says when'),
  engine: z.string(),
  data_dir: z.string().describe('The data directory, from the root'),
  database_failure: z
    .object({ code: z.enum(CODES), message: z.string(), hint: z.string().describe('What to do about it') })
    .nullable()
    .describe('Why the database takes no more writes, until it is opened again; null where it does'),
  safety: safetySchema.nullable().describe('Null when the snapshots cannot be looked at'),
});

export const metricsReplySchema = z.object({
  qps: z.number(),
  avg_latency_ms: z.number(),
  p99_latency_ms: z.number(),
  memory_usage_mb: z.number().nullable().describe('Null where `/proc` is not mounted'),
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
