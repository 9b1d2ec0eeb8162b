import * as z from 'zod';
import { LEVELS } from '../options/choices.ts';
import { jobKindSchema, timeMs } from './replies.ts';

/** Bodies and replies about backups off the machine: plans, jobs, records, repositories. */

const id = z.string().describe('A ULID');
const ACTIONS = ['backup', 'verify', 'drill'] as const;

export const planRunBodySchema = z
  .strictObject({ action: z.enum(ACTIONS).optional().describe('Default `backup`') })
  .nullish();

const planSchema = z.object({
  name: z.string(),
  repository: z.string(),
  time_zone: z.string(),
  schedules: z
    .array(
      z.object({
        action: z.enum(ACTIONS),
        next_due_ms: timeMs.nullable(),
        last_due_ms: timeMs.nullable().describe('The last due time that somebody saw; null: none yet'),
        last_status: z
          .enum(['begun', 'running', 'succeeded', 'failed', 'skipped', 'missed', 'interrupted'])
          .nullable(),
        last_error: z.string().nullable(),
        last_success_ms: timeMs.nullable(),
        overdue: z.boolean().describe('Due for longer than `overdue_after` without a success'),
      }),
    )
    .readonly(),
});
export const plansReplySchema = z.object({ plans: z.array(planSchema).readonly() });

export const jobSchema = z
  .object({
    id,
    kind: jobKindSchema,
    store_id: id,
    repository_id: id.nullable().describe('Null where the attempt failed before the repository was open'),
    repository_url: z
      .string()
      .nullable()
      .describe('Where the repository is, without secrets; null in old rows'),
    backup_id: id.nullable().describe('Of the backup that it makes or reads'),
    backup_record_id: id.nullable(),
    status: z.enum(['pending', 'running', 'succeeded', 'failed', 'interrupted']),
    started_at_ms: timeMs,
    finished_at_ms: timeMs.nullable(),
    progress: z.number().describe('0 to 100'),
    error: z.string().nullable(),
    error_code: z.string().nullable(),
    error_hint: z.string().nullable().describe('What to do about it'),
  })
  .describe('One attempt');
export const jobsReplySchema = z.object({ jobs: z.array(jobSchema).readonly() });

export const pushBodySchema = z.strictObject({
  key: z.string().min(1).max(500).describe('The same key gives the same job, for 30 days'),
  repository: z.string().min(1).describe('Its name in the settings file of the server'),
});
export const pushReplySchema = z.object({
  job: jobSchema.nullable().describe('Of the upload; null once the backup is there'),
  backup: z
    .object({ repository_id: id, store_id: id, backup_id: id })
    .nullable()
    .describe('Null while the job is at work, and when it has failed'),
});

export const jobsQuerySchema = z.object({
  kind: jobSchema.shape.kind.optional(),
  status: jobSchema.shape.status.optional(),
  before: z.string().min(1).optional().describe('Only jobs that are older than the one with this id'),
  limit: z.coerce.number().int().min(1).max(1000).optional(),
});

export const recordsReplySchema = z.object({
  records: z
    .array(
      z.object({
        id: id.describe('Of the backup'),
        repository_id: id,
        store_id: id,
        created_at_ms: timeMs,
        size_bytes: z.number(),
        state: z
          .enum(['present', 'deleting', 'lost'])
          .describe('`lost`: its manifest was not there when somebody looked'),
        manifest_path: z.string(),
        sha256: z.string().describe('Of the manifest'),
      }),
    )
    .readonly(),
});

export const repositoriesReplySchema = z.object({
  repositories: z
    .array(
      z.object({
        name: z.string(),
        destination: z.string(),
        encrypted: z.boolean().describe('Whether the settings name a key'),
      }),
    )
    .readonly(),
});

export const storedBackupsReplySchema = z.object({
  backups: z
    .array(
      z.object({
        backup_id: id,
        created_at_ms: timeMs,
        engine: z.string().nullable(),
        files: z.number().nullable(),
        total_bytes: z.number().nullable(),
        stored_bytes: z.number().nullable(),
        tool: z.string().nullable(),
        problem: z.string().nullable().describe('Why the manifest cannot be trusted'),
        level: z.enum(LEVELS).nullable().describe('How deep its content was proven'),
        damaged: z.boolean().describe('An object of it, or its content'),
        pinned: z.boolean(),
        verified_at_ms: timeMs.nullable().describe('When it was last read in full and was whole'),
      }),
    )
    .readonly(),
});
