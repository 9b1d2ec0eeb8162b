import * as z from 'zod';
import { storedBackupsReplySchema } from './offsite.ts';
import { timeMs } from './replies.ts';

/** What the consoles of a repository and of a fleet say. */

export const ERRAND_ACTIONS = ['verify', 'drill', 'restore'] as const;

export const errandSchema = z
  .object({
    action: z.enum(ERRAND_ACTIONS),
    store_id: z.string(),
    backup_id: z.string(),
    status: z.enum(['running', 'succeeded', 'failed', 'cancelled']),
    started_at_ms: timeMs,
    finished_at_ms: timeMs.nullable(),
    bytes_processed: z.number(),
    bytes_total: z.number().nullable(),
    text: z.string().nullable().describe('What came of it; null while it runs'),
  })
  .describe('What is done with a backup: one at a time');

export const errandReplySchema = z.object({ errand: errandSchema.nullable() });

export const errandBodySchema = z.discriminatedUnion('action', [
  z.strictObject({
    action: z.enum(['verify', 'drill']),
    store_id: z.string().min(1),
    backup_id: z.string().min(1),
  }),
  z.strictObject({
    action: z.literal('restore'),
    store_id: z.string().min(1),
    backup_id: z.string().min(1),
    into: z
      .string()
      .regex(/^\/[^\0]*$/, 'must be an absolute path without a NUL byte')
      .describe('A new or empty folder'),
  }),
]);

export const repositoryReplySchema = z.object({
  destination: z.string(),
  encrypted: z.boolean().describe('Whether a key was given'),
  key_flags: z.array(z.string()).readonly().describe('How a command line names that key; no secret'),
  stores: z
    .array(
      z.object({
        store_id: z.string(),
        name: z.string().nullable(),
        backups: storedBackupsReplySchema.shape.backups,
      }),
    )
    .readonly(),
});

const atLeastOne = z.number().int().min(1);
export const retentionBodySchema = z.strictObject({
  store_id: z.string().min(1),
  keep_last: atLeastOne.optional(),
  keep_daily: atLeastOne.optional(),
  keep_weekly: atLeastOne.optional(),
  keep_monthly: atLeastOne.optional(),
});

export const retentionReplySchema = z.object({
  kept: z.array(z.object({ backup_id: z.string(), reasons: z.array(z.string()).readonly() })).readonly(),
  removed: z.array(z.string()).readonly(),
});

export const fleetReplySchema = z.object({
  fleet: z.string(),
  nodes: z
    .array(
      z.object({
        id: z.string(),
        unit: z.string(),
        role: z.string(),
        url: z.string(),
        problem: z.string().nullable().describe('Why nothing can be said of it'),
        engine: z.string().nullable(),
        mode: z.string().nullable(),
        phase: z.string().nullable().describe('Of its snapshot or restore that is under way'),
        lease: z
          .object({ run: z.string(), expires_at_ms: timeMs.nullable() })
          .nullable()
          .describe('Who keeps writes away, and until when'),
        safe: z.boolean().nullable(),
        summary: z.string().nullable(),
        newest_good_at_ms: timeMs.nullable(),
        snapshots_disk_bytes: z.number().nullable(),
      }),
    )
    .readonly(),
  sets_dir: z.string().nullable().describe('The folder of the backups; null when none was named'),
  sets: z
    .array(
      z.object({
        name: z.string().describe('Of its folder'),
        problem: z.string().nullable(),
        created_at_ms: timeMs.nullable().describe('Null when its plan cannot be read'),
        complete: z.boolean().describe('Its run came to its end'),
        ended_at_ms: timeMs.nullable().describe('When each copy had been read in full, by its run'),
        running: z.boolean(),
        nodes: z
          .array(
            z.object({
              id: z.string(),
              unit: z.string(),
              state: z.string().describe('When its run ended'),
              error: z.string().nullable(),
              damage: z.string().nullable().describe('What is seen by names and sizes; no data is read'),
            }),
          )
          .readonly(),
      }),
    )
    .readonly()
    .describe('Backups of the fleet, newest first'),
  sets_left_out: z.number().int().describe('So many older ones are in that folder, too'),
});
