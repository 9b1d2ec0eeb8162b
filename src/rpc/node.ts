import * as z from 'zod';
import { timeMs } from './replies.ts';

/** Bodies and replies of the routes that a fleet's controller uses on a node. */

export const runSchema = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[!-~]+$/, 'must be printable characters without spaces')
  .describe('Whose request it is; one run, one name');
export const epochSchema = z
  .string()
  .regex(/^[0-9a-f]{32}$/, 'must be 32 hexadecimal digits')
  .describe('Of the lease, as `quiesce` answered it');

/** What a controller adds to the body that starts a backup. */
export const backupFields = {
  key: z
    .string()
    .min(1)
    .max(500)
    .optional()
    .describe('The same key gives the same run, for 30 days; it never begins a second one'),
  run: runSchema
    .optional()
    .describe('Of the restore of a fleet that holds the database: refused unless it does'),
  epoch: epochSchema
    .optional()
    .describe(
      'Of a lease: refused unless it lives, now and when the state of the snapshot is fixed (phase `copy`)',
    ),
};

/** The longest that a node refuses writes unless the lease is renewed. */
export const LONGEST_LEASE_MS = 10 * 60 * 1000;

export const quiesceBodySchema = z.strictObject({
  run: runSchema,
  ttl_ms: z
    .int()
    .min(1)
    .max(LONGEST_LEASE_MS)
    .describe('How long writes are refused unless the lease is renewed or ended'),
  epoch: epochSchema.optional().describe('Renews this lease'),
  dry: z.boolean().optional().describe('Only tells whether it would be possible. Default false'),
});

export const quiesceReplySchema = z.object({
  epoch: epochSchema.nullable().describe('Null after a dry one'),
  expires_at_ms: timeMs
    .nullable()
    .describe("By the server's clock; the lease itself is counted monotonically"),
});

export const resumeBodySchema = z.strictObject({ run: runSchema, epoch: epochSchema });
export const resumeReplySchema = z.object({ resumed: z.literal(true) });

export const identityReplySchema = z.object({
  store_id: z
    .string()
    .describe('Of the database, whatever its folder is called; a restore in place keeps it'),
  engine: z.string(),
  version: z.string().describe('Of stillpoint'),
});

export const pinBodySchema = z.strictObject({
  run: runSchema,
  ttl_ms: z
    .int()
    .min(0)
    .max(30 * 24 * 60 * 60 * 1000)
    .describe('How long the snapshot is not deleted; 0 ends it'),
  discard: z
    .boolean()
    .optional()
    .describe('Delete it once it is neither pinned nor the newest, before a later backup at the latest'),
});
export const pinReplySchema = z.object({ name: z.string(), expires_at_ms: timeMs.nullable() });
