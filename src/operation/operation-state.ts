import * as z from 'zod';
import type { CamelCased } from '../options/casing.ts';

export const RUN_STATUSES = ['queued', 'running', 'completed', 'failed', 'cancelled'] as const;

/**
 * How far a run is, as files and the admin RPC have it. Every key is always present. The first server's clients read
 * `status` to `reason`; the rest is ours.
 */
export const operationStateSchema = z.object({
  status: z.enum(RUN_STATUSES),
  started_at_ms: z.number().nullable(),
  finished_at_ms: z.number().nullable(),
  progress: z
    .object({
      percent: z.number().min(0).max(100).nullable(),
      /** Of bytes to be read, once for the capture and once for the proof. */
      bytes_processed: z.number().nullable(),
      bytes_total: z.number().nullable(),
    })
    .nullable(),
  reason: z.string().nullable(),
  /** Of the error catalogue, when failed or cancelled. */
  code: z.string().nullable(),
  /** What to do about it, when failed or cancelled. */
  hint: z.string().nullable(),
  /** The step under way, or the one that failed. */
  phase: z.string().nullable(),
  files_processed: z.number().nullable(),
  files_total: z.number().nullable(),
});

/** How far a run is. */
export type OperationState = CamelCased<z.infer<typeof operationStateSchema>>;

export const isFinished = ({ status }: OperationState): boolean =>
  status !== 'queued' && status !== 'running';
