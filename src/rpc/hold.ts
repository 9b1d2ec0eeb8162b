import * as z from 'zod';
import { epochSchema, runSchema } from './node.ts';

/** Bodies and replies of the routes that the restore of a fleet uses on a node. */

/**
 * What a run has done to a database that it holds. `before`: nothing. `restored`: its restore is in place. `undone`: and was taken back.
 * `replaced`: something else was restored since.
 */
const HOLD_STATES = ['before', 'restored', 'undone', 'replaced'] as const;
export type HoldState = (typeof HOLD_STATES)[number];

export const holdBodySchema = z.strictObject({
  run: runSchema,
  epoch: epochSchema
    .optional()
    .describe('Of a lease of this run: refused unless it lives, so that no write came since it began'),
  dry: z.boolean().optional().describe('Only tells. Default false'),
});
export const holdReplySchema = z.object({
  state: z.enum(HOLD_STATES).describe('What this run has done to the database'),
  held: z.boolean().describe('Whether this run keeps writes away'),
  written: z
    .boolean()
    .describe('Whether writes came, or may have come, after this run had let go of the database'),
});

export const releaseBodySchema = z.strictObject({ run: runSchema });
export const releaseReplySchema = z.object({ released: z.literal(true) });

/** What the controller of a fleet adds to the body that begins a restore or an undo. */
export const restoreFields = {
  key: z
    .string()
    .min(1)
    .max(500)
    .optional()
    .describe('The same key gives the same run, for 30 days; it never begins a second one'),
  run: runSchema.optional().describe('Which holds the database: refused unless it does'),
};

/** The most bytes of a file that one request carries. */
export const PART_BYTES = 4 * 1024 * 1024;

export const incomingFileReplySchema = z.object({
  bytes: z.int().min(0).describe('How long the file is here'),
});
export const incomingReplySchema = z.object({
  state: z.enum(['receiving', 'proving', 'proven', 'failed']),
  location: z.string().describe('What a restore takes as its source'),
  code: z.string().nullable(),
  reason: z.string().nullable().describe('Why the copy failed its proof'),
});
