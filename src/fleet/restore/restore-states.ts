import { join } from 'node:path';
import * as z from 'zod';
import { StillpointError } from '../../errors.ts';
import type { LogFile } from '../journal/record-log.ts';
import { hashSchema, idSchema, timeSchema } from '../plan/schemas.ts';
import type { RestorePlan } from './restore-plan.ts';

/**
 * What is done to a node, in this order. A restore goes through all of them on all nodes before the next; an undo takes a node back with
 * `quiesced`, `held`, `undone` and `released`.
 */
export const RESTORE_STEPS = ['sent', 'quiesced', 'saved', 'held', 'restored', 'probed', 'released'] as const;
export type RestoreStep = (typeof RESTORE_STEPS)[number] | 'undone';

const stepSchema = z.enum([...RESTORE_STEPS, 'undone']);
const nodeStateSchema = z.strictObject({
  node_id: idSchema,
  done: z.array(stepSchema),
  /** How many attempts at steps were begun: each has a number of its own. */
  attempt: z.int().min(0),
  /** The step whose end is not known. */
  under_way: stepSchema.nullable(),
  /** Its database may have been exchanged, by the restore or, once a finished restore is taken back, by the undo. */
  is_touched: z.boolean(),
  /** What a restore takes as its source there. */
  location: z.string().nullable(),
  /** Of the state before, on the node. */
  safety_snapshot: z.string().nullable(),
  failure: z.strictObject({ step: stepSchema, code: z.string(), reason: z.string() }).nullable(),
});
type NodeRow = z.infer<typeof nodeStateSchema>;

const opening = {
  restore_id: z.string(),
  plan_sha256: hashSchema,
  at_ms: timeSchema,
};
const restoreRecordSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('opened'), ...opening }),
  z.strictObject({
    type: z.literal('began'),
    node_id: idSchema,
    step: stepSchema,
    attempt: z.int().min(1),
    at_ms: timeSchema,
  }),
  z.strictObject({
    type: z.literal('did'),
    node_id: idSchema,
    step: stepSchema,
    location: z.string().optional(),
    safety_snapshot: z.string().optional(),
    at_ms: timeSchema,
  }),
  z.strictObject({
    type: z.literal('failed'),
    node_id: idSchema,
    step: stepSchema,
    code: z.string(),
    reason: z.string(),
    at_ms: timeSchema,
  }),
  /** Before anything was exchanged: the node takes writes again and must be quiesced anew. */
  z.strictObject({ type: z.literal('let-go'), node_id: idSchema, at_ms: timeSchema }),
  /** From now on the restore is only taken back. */
  z.strictObject({ type: z.literal('undo'), at_ms: timeSchema }),
  z.strictObject({
    type: z.literal('state'),
    ...opening,
    undoing: z.boolean(),
    nodes: z.array(nodeStateSchema),
  }),
]);
export type RestoreRecord = z.infer<typeof restoreRecordSchema>;

/** What has happened to the plan of a restore. */
export class RestoreExecution {
  readonly plan: RestorePlan;
  isUndoing = false;
  #isOpened = false;
  #nodes: Map<string, NodeRow>;

  constructor(plan: RestorePlan) {
    this.plan = plan;
    this.#nodes = new Map(
      plan.nodes.map(({ node_id }) => [
        node_id,
        {
          node_id,
          done: [],
          attempt: 0,
          under_way: null,
          is_touched: false,
          location: null,
          safety_snapshot: null,
          failure: null,
        },
      ]),
    );
  }

  node(id: string): Readonly<NodeRow> {
    return this.#nodes.get(id)!;
  }

  isDone(id: string, step: RestoreStep): boolean {
    return this.node(id).done.includes(step);
  }

  /** Whether all nodes take writes again, restored or as before. */
  get isOver(): boolean {
    return this.plan.nodes.every(({ node_id }) => this.isDone(node_id, 'released'));
  }

  /** Whether nodes may be of two different states, so that none of them may take writes. */
  get hasBegunExchange(): boolean {
    return this.plan.nodes.some(({ node_id }) => this.node(node_id).is_touched);
  }

  /** Whether the node may have been quiesced, or held, and not let go since. */
  mayRefuseWrites(id: string): boolean {
    const { done, under_way } = this.node(id);
    return (
      !done.includes('released') &&
      [...done, under_way].some((step) => step === 'quiesced' || step === 'saved' || step === 'held')
    );
  }

  /** A step whose end is not known is repeated as the same attempt, so with the same key; any other is a new one. */
  attemptOf(id: string, step: RestoreStep): number {
    const { attempt, under_way } = this.node(id);
    return under_way === step ? attempt : attempt + 1;
  }

  check(record: RestoreRecord): void {
    const refuse = (why: string) => new StillpointError('JOURNAL_INVALID', `the journal ${why}`);
    if (record.type === 'opened' || record.type === 'state') {
      const { restore_id, plan_sha256 } = this.plan;
      if (record.restore_id !== restore_id || record.plan_sha256 !== plan_sha256)
        throw refuse(`is of the restore ${record.restore_id}, or of another version of its plan`);
      if (record.type === 'state')
        for (const { node_id } of record.nodes)
          if (!this.#nodes.has(node_id)) throw refuse(`names ${node_id}`);
      return;
    }
    if (!this.#isOpened) throw refuse('does not begin with its plan');
    if (record.type === 'undo') return;
    if (!this.#nodes.has(record.node_id))
      throw refuse(`names ${record.node_id}, which the plan does not have`);
  }

  apply(record: RestoreRecord): void {
    switch (record.type) {
      case 'opened':
        this.#isOpened = true;
        return;
      case 'state':
        this.#isOpened = true;
        this.isUndoing = record.undoing;
        this.#nodes = new Map(record.nodes.map((node) => [node.node_id, node]));
        return;
      case 'undo':
        // All nodes are of one state again, until the first of them is taken back.
        if (this.isOver) for (const row of this.#nodes.values()) row.is_touched = false;
        this.isUndoing = true;
        // A node that was let go is held once more.
        for (const { node_id } of this.plan.nodes) this.#without(node_id, ['released', 'quiesced', 'held']);
        return;
      case 'let-go':
        this.#without(record.node_id, ['quiesced', 'held']);
        if (this.isUndoing) return;
        this.#without(record.node_id, ['saved']);
        this.#nodes.get(record.node_id)!.safety_snapshot = null;
        return;
      case 'began': {
        const row = this.#nodes.get(record.node_id)!;
        if (record.step === 'restored' || record.step === 'undone') row.is_touched = true;
        row.attempt = record.attempt;
        row.under_way = record.step;
        row.failure = null;
        return;
      }
      case 'did': {
        const row = this.#nodes.get(record.node_id)!;
        if (!row.done.includes(record.step)) row.done.push(record.step);
        row.under_way = null;
        row.failure = null;
        if (record.location !== undefined) row.location = record.location;
        if (record.safety_snapshot !== undefined) row.safety_snapshot = record.safety_snapshot;
        return;
      }
      case 'failed': {
        const { step, code, reason } = record;
        const row = this.#nodes.get(record.node_id)!;
        row.under_way = null;
        row.failure = { step, code, reason };
        // The copy may be the reason: what is missing of it is sent again.
        if (step === 'sent' || step === 'restored') row.done = row.done.filter((done) => done !== 'sent');
      }
    }
  }

  toRecord(): RestoreRecord {
    const { restore_id, plan_sha256, created_at_ms: at_ms } = this.plan;
    const nodes = [...this.#nodes.values()];
    return { type: 'state', restore_id, plan_sha256, at_ms, undoing: this.isUndoing, nodes };
  }

  #without(id: string, steps: readonly RestoreStep[]): void {
    const row = this.#nodes.get(id)!;
    row.done = row.done.filter((step) => !steps.includes(step));
    row.under_way = null;
  }
}

export const restoreLogOf = (
  folder: string,
  plan: RestorePlan,
): LogFile<RestoreRecord, RestoreExecution> => ({
  path: join(folder, 'restore-journal.log'),
  record: restoreRecordSchema,
  begin: () => new RestoreExecution(plan),
});
