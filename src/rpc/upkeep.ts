import * as z from 'zod';
import type { DeletedSnapshot } from '../coordinator/snapshots.ts';
import { recordSchema } from '../operation/run-record.ts';
import type { SnakeCased } from '../options/casing.ts';
import { LEVELS } from '../options/choices.ts';
import type { PruneResult } from '../snapshot/store/prune.ts';
import type { PruneUndoResult } from '../snapshot/store/prune-undo.ts';
import type { VerifyAllResult } from '../snapshot/verify/verify-all.ts';
import { findingSchema, reportSchema, snapshotSchema, timeMs, undoStandingSchema } from './replies.ts';

/** Replies about all snapshots, and about the runs on record. */

export const runsReplySchema = z.object({ runs: z.array(recordSchema).readonly() });

const decisionSchema = z.object({ name: z.string(), stays: z.boolean(), reason: z.string() });

export const pruneReplySchema = z.object({
  dry_run: z.boolean(),
  removed: z.array(snapshotSchema).readonly(),
  kept: z.array(snapshotSchema).readonly(),
  busy: z.array(snapshotSchema).readonly().describe('Being read or pinned, and kept therefore'),
  decisions: z.array(decisionSchema).readonly(),
  freed_bytes: z.number(),
}) satisfies z.ZodType<SnakeCased<PruneResult> & { readonly dry_run: boolean }>;

export const pruneUndoReplySchema = z.object({
  dry_run: z.boolean(),
  removed: z.array(undoStandingSchema).readonly(),
  kept: z.array(undoStandingSchema).readonly(),
  freed_bytes: z.number(),
}) satisfies z.ZodType<SnakeCased<PruneUndoResult> & { readonly dry_run: boolean }>;

export const deletedSchema = snapshotSchema.extend({
  freed_bytes: z.number().describe('What the disk got back'),
  left_behind: z
    .boolean()
    .describe('Whether the database went back after it: then it may have held writes that no newer one has'),
}) satisfies z.ZodType<SnakeCased<DeletedSnapshot>>;

export const verifyAllReplySchema = z.object({
  ok: z.boolean(),
  level: z.enum(LEVELS),
  location: z.string(),
  snapshots: z
    .array(
      z.object({
        name: z.string(),
        location: z.string(),
        report: reportSchema,
        complete: z.boolean().describe('False when some files have never been proven at this level'),
      }),
    )
    .readonly(),
  gone: z.array(z.string()).readonly().describe('Removed meanwhile'),
  totals: z.object({
    snapshots: z.number(),
    damaged: z.number(),
    files: z.number(),
    bytes: z.number(),
    distinct_files: z.number(),
    distinct_bytes: z.number(),
    read_files: z.number(),
    read_bytes: z.number(),
    skipped_files: z.number(),
    skipped_bytes: z.number(),
    unproven_files: z.number(),
    oldest_proof_at_ms: timeMs.nullable(),
  }),
  warnings: z.array(findingSchema).readonly(),
}) satisfies z.ZodType<SnakeCased<VerifyAllResult>>;
