import * as z from 'zod';
import { StillpointError } from '../../errors.ts';
import type { BackupPlan, PlanOperation, PlanUnit } from '../plan/plan.ts';
import { checkReceipt, preflightReceiptsSchema, type Receipt, receiptSchema } from '../plan/receipts.ts';
import { hashSchema, idSchema, timeSchema } from '../plan/schemas.ts';

export const ROW_STATES = ['ready', 'pending', 'blocked', 'completed', 'failed', 'skipped'] as const;
export type RowState = (typeof ROW_STATES)[number];

const ARTIFACT_STATES = ['Created', 'Downloaded', 'ChecksumVerified', 'Durable'] as const;
export type ArtifactState = (typeof ARTIFACT_STATES)[number];

const artifactSchema = z.strictObject({
  target_id: idSchema,
  state: z.enum(ARTIFACT_STATES),
  snapshot_id: z.string().min(1).max(200),
  /** Relative to the layout folder, with `/`; from `Downloaded` on. */
  artifact_path: z.string().optional(),
  /** From `ChecksumVerified` on. */
  checksum: hashSchema.optional(),
});
export type ArtifactRow = z.infer<typeof artifactSchema>;

const preflightSchema = z.strictObject({
  preflight_id: idSchema,
  accepted_at_ms: timeSchema,
  valid_until_ms: timeSchema,
  receipts: preflightReceiptsSchema,
});
export type AcceptedPreflight = z.infer<typeof preflightSchema>;

const rowSchema = z.strictObject({
  sequence: z.int().min(0),
  state: z.enum(ROW_STATES),
  attempt: z.int().min(0),
  receipt: receiptSchema.nullable(),
});

/** One transition. The journal is a sequence of these; replaying them gives the state. */
export const recordSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('opened'),
    plan_id: idSchema,
    run_id: idSchema,
    plan_sha256: hashSchema,
    operations: z.int().min(1),
    at_ms: timeSchema,
  }),
  z.strictObject({ type: z.literal('preflight'), accepted: preflightSchema }),
  z.strictObject({
    type: z.literal('claimed'),
    sequence: z.int().min(0),
    attempt: z.int().min(1),
    at_ms: timeSchema,
  }),
  z.strictObject({
    type: z.literal('ended'),
    receipt: receiptSchema,
    /** The row of the target as it is from now on. */
    artifact: artifactSchema.optional(),
  }),
  z.strictObject({ type: z.literal('artifact'), artifact: artifactSchema }),
  /** The unit's operations up to its verification are to be done again, in a new window. */
  z.strictObject({
    type: z.literal('window'),
    unit_id: idSchema,
    window: z.int().min(2),
    reason: z.string(),
    at_ms: timeSchema,
  }),
  /** The target's copy was found bad: it is to be downloaded again. */
  z.strictObject({
    type: z.literal('redownload'),
    target_id: idSchema,
    reason: z.string(),
    at_ms: timeSchema,
  }),
  /** Everything that the records before it said. */
  z.strictObject({
    type: z.literal('state'),
    plan_id: idSchema,
    run_id: idSchema,
    plan_sha256: hashSchema,
    operations: z.int().min(1),
    preflight: preflightSchema.nullable(),
    rows: z.array(rowSchema),
    artifacts: z.array(artifactSchema),
    windows: z.array(z.tuple([idSchema, z.int().min(1)])),
  }),
]);
export type JournalRecord = z.infer<typeof recordSchema>;

export interface OperationRow {
  readonly operation: PlanOperation;
  state: RowState;
  /** How often it was claimed in this window. */
  attempt: number;
  /** Of the last time that it ended. */
  receipt: Receipt | null;
}

type Totals = Readonly<Record<RowState, number>>;

/**
 * What has happened to a plan.
 *
 *     blocked ──preflight──▶ ready ──claimed──▶ pending ──ended──▶ completed | failed | skipped
 *                              ▲                                        │
 *                              └──────── window, redownload ────────────┘     failed ──claimed──▶ pending
 */
export class Execution {
  readonly plan: BackupPlan;
  readonly rows: readonly OperationRow[];
  preflight: AcceptedPreflight | null = null;
  #isOpened = false;
  readonly #artifacts = new Map<string, ArtifactRow>();
  readonly #windows = new Map<string, number>();
  readonly #byId = new Map<string, OperationRow>();
  readonly #unitOf = new Map<string, PlanUnit>();
  readonly #totals: Record<RowState, number>;
  /** No row before it can be run: where the search for the next one begins. */
  #lowest = 0;

  constructor(plan: BackupPlan) {
    this.plan = plan;
    this.rows = plan.operations.map((operation) => ({
      operation,
      state: operation.kind.startsWith('validate-') ? 'ready' : 'blocked',
      attempt: 0,
      receipt: null,
    }));
    for (const row of this.rows) this.#byId.set(row.operation.operation_id, row);
    for (const unit of plan.units) for (const target of unit.targets) this.#unitOf.set(target, unit);
    this.#totals = { ready: 0, pending: 0, blocked: 0, completed: 0, failed: 0, skipped: 0 };
    for (const { state } of this.rows) this.#totals[state]++;
  }

  get totals(): Totals {
    return { ...this.#totals };
  }

  get isComplete(): boolean {
    return this.#totals.completed + this.#totals.skipped === this.rows.length;
  }

  get artifacts(): ArtifactRow[] {
    return this.plan.targets.flatMap(({ target_id }) => this.#artifacts.get(target_id) ?? []);
  }

  artifact(targetId: string): ArtifactRow | undefined {
    return this.#artifacts.get(targetId);
  }

  unitOf(targetId: string): PlanUnit {
    return this.#unitOf.get(targetId)!;
  }

  /** Which window of its unit a target is in, from 1. */
  window(targetId: string | null): number {
    return targetId === null ? 1 : (this.#windows.get(this.unitOf(targetId).unit_id) ?? 1);
  }

  /** An operation of a target, undefined where the plan has none of that kind. `copy` is the download, or the push. */
  row(kind: 'stop' | 'snapshot' | 'start' | 'copy' | 'verify', targetId: string): OperationRow | undefined {
    const { repository } = this.plan;
    const prefix = kind !== 'copy' ? kind : repository === undefined ? 'download' : 'push';
    return this.#byId.get(`${prefix}-${targetId}`);
  }

  get finalizeRow(): OperationRow {
    return this.rows.at(-1)!;
  }

  /** The lowest operation that may be run now. */
  nextRunnable(): OperationRow | undefined {
    for (let i = this.#lowest; i < this.rows.length; i++) {
      const row = this.rows[i]!;
      if (isRunnable(row)) {
        this.#lowest = i;
        return row;
      }
    }
    return undefined;
  }

  /** Why nothing can be run, for people. */
  blockedReasons(): string[] {
    return this.rows
      .filter(({ state }) => state === 'blocked')
      .map(({ operation }) => `${operation.operation_id} waits for the preflight`);
  }

  /** `JOURNAL_INVALID` when the record does not follow from what was before, `RECEIPT_INVALID` for its receipt. */
  check(record: JournalRecord): void {
    const refuse = (why: string) => new StillpointError('JOURNAL_INVALID', `the journal ${why}`);
    if (record.type === 'opened' || record.type === 'state') {
      if (this.#isOpened && record.type === 'opened') throw refuse('is opened twice');
      const { plan } = this;
      if (record.plan_id !== plan.plan_id || record.run_id !== plan.run_id)
        throw refuse(`is of plan ${record.plan_id} and run ${record.run_id}, not of this plan`);
      if (record.plan_sha256 !== plan.plan_sha256) throw refuse('is of another version of this plan');
      if (record.operations !== this.rows.length)
        throw refuse(`has ${record.operations} operations, and the plan has ${this.rows.length}`);
      if (record.type === 'state') for (const row of record.rows) this.#checkRow(row);
      return;
    }
    if (!this.#isOpened) throw refuse('does not begin with its plan');
    switch (record.type) {
      case 'claimed': {
        const row = this.#rowAt(record.sequence);
        if (!isRunnable(row) || row.operation.kind.startsWith('validate-'))
          throw refuse(`claims ${row.operation.operation_id}, which is ${row.state}`);
        if (record.attempt < row.attempt || record.attempt > row.attempt + 1)
          throw refuse(
            `claims attempt ${record.attempt} of ${row.operation.operation_id} after ${row.attempt}`,
          );
        return;
      }
      case 'ended': {
        const row = this.#rowAt(record.receipt.sequence);
        if (row.state !== 'pending')
          throw refuse(`ends ${row.operation.operation_id}, which is ${row.state} and not pending`);
        this.#checkReceipt(row.operation, record.receipt);
        if (record.artifact !== undefined) this.#checkArtifact(record.artifact);
        return;
      }
      case 'artifact':
        this.#checkArtifact(record.artifact);
        return;
      case 'window':
        if (!this.plan.units.some(({ unit_id }) => unit_id === record.unit_id))
          throw refuse(`names the unit ${record.unit_id}, which the plan does not have`);
        if (record.window !== (this.#windows.get(record.unit_id) ?? 1) + 1)
          throw refuse(`opens window ${record.window} of ${record.unit_id} out of order`);
        return;
      case 'redownload':
        if (!this.#artifacts.has(record.target_id)) throw refuse(`has no artifact of ${record.target_id}`);
        return;
      case 'preflight':
        return;
    }
  }

  /** Applies a record that was checked. */
  apply(record: JournalRecord): void {
    switch (record.type) {
      case 'opened':
        this.#isOpened = true;
        return;
      case 'state':
        this.#isOpened = true;
        this.preflight = record.preflight;
        for (const { sequence, state, attempt, receipt } of record.rows)
          this.#set(this.#rowAt(sequence), state, attempt, receipt);
        this.#artifacts.clear();
        for (const artifact of record.artifacts) this.#artifacts.set(artifact.target_id, artifact);
        for (const [unit, window] of record.windows) this.#windows.set(unit, window);
        return;
      case 'preflight':
        this.preflight = record.accepted;
        for (const row of this.rows) {
          if (row.operation.kind.startsWith('validate-')) this.#set(row, 'completed');
          else if (row.state === 'blocked') this.#set(row, 'ready');
        }
        return;
      case 'claimed':
        this.#set(this.#rowAt(record.sequence), 'pending', record.attempt);
        return;
      case 'ended': {
        const { receipt, artifact } = record;
        this.#set(this.#rowAt(receipt.sequence), receipt.outcome, receipt.attempt, receipt);
        if (artifact !== undefined) this.#artifacts.set(artifact.target_id, artifact);
        return;
      }
      case 'artifact':
        this.#artifacts.set(record.artifact.target_id, record.artifact);
        return;
      case 'window': {
        this.#windows.set(record.unit_id, record.window);
        const unit = this.plan.units.find(({ unit_id }) => unit_id === record.unit_id)!;
        for (const target of unit.targets) {
          this.#artifacts.delete(target);
          for (const kind of ['stop', 'snapshot', 'start', 'copy', 'verify'] as const) {
            const row = this.row(kind, target);
            if (row !== undefined) this.#set(row, 'ready', 0, null);
          }
        }
        return;
      }
      case 'redownload': {
        const { target_id, snapshot_id } = this.#artifacts.get(record.target_id)!;
        this.#artifacts.set(target_id, { target_id, snapshot_id, state: 'Created' });
        for (const kind of ['copy', 'verify'] as const) {
          const row = this.row(kind, target_id)!;
          this.#set(row, 'ready', row.attempt, null);
        }
      }
    }
  }

  /** The whole state as one record, for a journal that has grown. Rows that are as they began are left out. */
  toRecord(): JournalRecord {
    const { plan_id, run_id, plan_sha256 } = this.plan;
    const rows = this.rows
      .filter(({ state, attempt, receipt }) => attempt > 0 || receipt !== null || state !== 'blocked')
      .map(({ operation, state, attempt, receipt }) => ({
        sequence: operation.sequence,
        state,
        attempt,
        receipt,
      }));
    return {
      type: 'state',
      plan_id,
      run_id,
      plan_sha256,
      operations: this.rows.length,
      preflight: this.preflight,
      rows,
      artifacts: this.artifacts,
      windows: [...this.#windows],
    };
  }

  #rowAt(sequence: number): OperationRow {
    const row = this.rows[sequence];
    if (row !== undefined) return row;
    throw new StillpointError(
      'JOURNAL_INVALID',
      `the journal names operation ${sequence}, and there is none`,
    );
  }

  #checkRow({ sequence, receipt }: z.infer<typeof rowSchema>): void {
    const { operation } = this.#rowAt(sequence);
    if (receipt !== null) this.#checkReceipt(operation, receipt);
  }

  #checkReceipt(operation: PlanOperation, receipt: Receipt): void {
    const { plan_id, run_id } = this.plan;
    if (receipt.plan_id !== plan_id || receipt.run_id !== run_id)
      throw new StillpointError(
        'RECEIPT_INVALID',
        `the receipt of ${operation.operation_id} is of another plan or run`,
      );
    checkReceipt(operation, receipt);
  }

  #checkArtifact({ target_id, state, artifact_path, checksum }: ArtifactRow): void {
    const refuse = (why: string) =>
      new StillpointError('JOURNAL_INVALID', `the artifact of ${target_id} ${why}`);
    if (!this.#unitOf.has(target_id)) throw refuse('is of no target of the plan');
    if (state !== 'Created' && artifact_path === undefined) throw refuse(`is ${state} and has no path`);
    if ((state === 'ChecksumVerified' || state === 'Durable') && checksum === undefined)
      throw refuse(`is ${state} and has no checksum`);
  }

  #set(row: OperationRow, state: RowState, attempt = row.attempt, receipt = row.receipt): void {
    this.#totals[row.state]--;
    this.#totals[state]++;
    row.state = state;
    row.attempt = attempt;
    row.receipt = receipt;
    if (isRunnable(row)) this.#lowest = Math.min(this.#lowest, row.operation.sequence);
  }
}

const isRunnable = ({ state }: OperationRow): boolean =>
  state === 'ready' || state === 'pending' || state === 'failed';

export const isDone = ({ state }: OperationRow): boolean => state === 'completed' || state === 'skipped';
