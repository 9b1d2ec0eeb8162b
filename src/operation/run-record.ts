import * as z from 'zod';
import { hintOf } from '../errors.ts';
import type { CamelCased } from '../options/casing.ts';
import { nameOf } from '../snapshot/store/layout.ts';
import { isFinished, operationStateSchema } from './operation-state.ts';

export const RUN_KINDS = ['backup', 'archive', 'export', 'transient', 'restore', 'undo'] as const;
export type RunKind = (typeof RUN_KINDS)[number];

/** What keeps the snapshots in order. It is on record once it has ended (`upkeep.ts`). */
const UPKEEP_KINDS = ['verify', 'prune', 'delete'] as const;
export type UpkeepKind = (typeof UPKEEP_KINDS)[number];

export const RECORD_KINDS = [...RUN_KINDS, ...UPKEEP_KINDS] as const;
export type RecordKind = (typeof RECORD_KINDS)[number];

/**
 * A line of an earlier version lacks the fields that came later, and a line that does not fit is skipped: give each new field its
 * value in `ABSENT`, or the history of every database is lost with an upgrade.
 */
export const recordSchema = z.object({
  id: z.string(),
  kind: z.enum(RECORD_KINDS),
  /** The snapshot written, the one restored from, or the snapshot or folder that was looked after. */
  location: z.string(),
  state: operationStateSchema,
  /** What a restore brought back. */
  metadata: z
    .object({
      backup_id: z.string(),
      location: z.string(),
      restored_at_ms: z.number(),
      size_bytes: z.number(),
    })
    .nullable(),
  /** The name of the undo folder with what a restore or an undo replaced. */
  undo: z.string().nullable(),
  /** What verifying or removing came to. */
  upkeep: z
    .object({
      /** Snapshots, or undo folders, that were looked at. */
      folders: z.number(),
      removed: z.number(),
      freed_bytes: z.number(),
    })
    .nullable(),
});

/** What a line says that lacks these fields. */
const ABSENT: Omit<z.input<typeof recordSchema>, 'id' | 'kind' | 'location' | 'state'> & {
  readonly state: Omit<z.input<typeof operationStateSchema>, 'status'>;
} = {
  metadata: null,
  undo: null,
  upkeep: null,
  state: {
    started_at_ms: null,
    finished_at_ms: null,
    progress: null,
    reason: null,
    code: null,
    hint: null,
    phase: null,
    files_processed: null,
    files_total: null,
  },
};

const ABSENT_PROGRESS: z.input<typeof operationStateSchema>['progress'] = {
  percent: null,
  bytes_processed: null,
  bytes_total: null,
};

export type RunRecord = CamelCased<z.infer<typeof recordSchema>>;

/** A run as it reads once its process is gone. */
export function gone(record: RunRecord): RunRecord {
  if (isFinished(record.state)) return record;
  const end = {
    status: 'failed',
    code: 'INTERRUPTED',
    hint: hintOf('INTERRUPTED'),
    reason: 'the process ended in the middle of it',
  } as const;
  return { ...record, state: { ...record.state, ...end } };
}

/** A restore or undo as it ends when its process died after the exchange of files had begun, and recovery finished that. */
export function completed({ state, location, ...record }: RunRecord, undo: string, nowMs: number): RunRecord {
  const bytes = state.progress?.bytesTotal ?? 0; // read once and proven once
  return {
    ...record,
    location,
    undo,
    state: {
      ...state,
      status: 'completed',
      finishedAtMs: nowMs,
      progress: { percent: 100, bytesProcessed: bytes, bytesTotal: bytes },
      filesProcessed: state.filesTotal,
    },
    metadata: { backupId: nameOf(location), location, restoredAtMs: nowMs, sizeBytes: bytes / 2 },
  };
}

/** The line with `ABSENT` where it says nothing. */
export function withAbsent(json: unknown): unknown {
  if (!isObject(json) || !isObject(json.state)) return json;
  const state = { ...ABSENT.state, ...json.state };
  const progress = isObject(state.progress) ? { ...ABSENT_PROGRESS, ...state.progress } : state.progress;
  return { ...ABSENT, ...json, state: { ...state, progress } };
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null;
