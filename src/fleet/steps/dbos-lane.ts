import type { Clock } from '../../env/clock.ts';
import { ERROR_CODES, type ErrorCode, StillpointError, toStillpointError } from '../../errors.ts';
import type { Execution, JournalRecord, OperationRow } from '../journal/operation-states.ts';
import {
  type Claim,
  claimOf,
  type Decision,
  type EndedRecord,
  type Lane,
  type StepWithPoint,
} from './steps.ts';

/** An error as DBOS keeps it: by its code, so that the lane goes the same way when it is run again. */
export interface Failure {
  readonly code: string;
  readonly message: string;
}

export const failureOf = (error: unknown): Failure => {
  const { code, message } = toStillpointError(error);
  return { code, message };
};

/** Runs a function as the next step of the workflow, or returns what it returned before. Never settles when that cannot be recorded. */
export type RunStep = <T>(name: string, effect: () => Promise<T>) => Promise<T>;

/**
 * A lane whose steps are those of a workflow. DBOS tells steps apart by their order, so each is asked for before anything is awaited.
 * What an effect changes is applied here when it happens, and otherwise from the record.
 */
export class DbosLane implements Lane {
  readonly execution: Execution;
  /** Everything that this lane has changed. */
  readonly records: JournalRecord[] = [];
  readonly #clock: Clock;
  readonly #runStep: RunStep;

  constructor(execution: Execution, clock: Clock, runStep: RunStep) {
    this.execution = execution;
    this.#clock = clock;
    this.#runStep = runStep;
  }

  async step(row: OperationRow, effect: (claim: Claim) => Promise<EndedRecord>): Promise<void> {
    const run = this.#begin(row, effect);
    await this.#end(this.#runStep(row.operation.operation_id, run), run);
  }

  stepWithPoint(
    row: OperationRow,
    effect: (claim: Claim, reach: () => void) => Promise<EndedRecord>,
    repeats?: boolean,
  ): StepWithPoint {
    const id = row.operation.operation_id;
    let reach!: () => void;
    const point = new Promise<void>((resolve) => {
      reach = resolve;
    });
    const run = this.#begin(row, (claim) => effect(claim, reach), repeats);
    // Begun here, and ended in a step of its own. Another process begins it anew, with the same key.
    const reached = this.#runStep(`${id} captured`, async () => {
      await Promise.race([point, run()]);
      return null;
    }).then(() => undefined);
    return { reached, finish: () => this.#end(this.#runStep(id, run), run) };
  }

  async decide(name: string, make: () => Decision | Promise<Decision>): Promise<void> {
    type Made = { readonly record: JournalRecord | null; readonly failure: Failure | null };
    let thrown: unknown;
    const { record, failure } = await this.#runStep<Made>(name, async () => {
      try {
        return { record: (await make()) ?? null, failure: null };
      } catch (error) {
        thrown = error;
        return { record: null, failure: failureOf(error) };
      }
    });
    if (failure !== null) throw thrown ?? errorOf(failure);
    if (record !== null) this.#apply(record);
  }

  /** Claims the operation. What is returned runs its effect at its first call. */
  #begin(row: OperationRow, effect: (claim: Claim) => Promise<EndedRecord>, repeats?: boolean): EffectRun {
    const claimed = claimOf(row, this.#clock.nowMs(), repeats);
    this.#apply(claimed);
    const window = this.execution.window(row.operation.target_id);
    const records: JournalRecord[] = [];
    const add = (record: JournalRecord) => {
      this.#apply(record);
      records.push(record);
    };
    let running: Promise<readonly JournalRecord[]> | undefined;
    const run = async () => {
      add(await effect({ attempt: claimed.attempt, window, note: async (record) => add(record) }));
      return records;
    };
    return Object.assign(() => (running ??= run()), { hasBegun: () => running !== undefined });
  }

  async #end(step: Promise<readonly JournalRecord[]>, run: EffectRun): Promise<void> {
    const records = await step;
    if (!run.hasBegun()) for (const record of records) this.#apply(record);
  }

  #apply(record: JournalRecord): void {
    this.execution.check(record);
    this.execution.apply(record);
    this.records.push(record);
  }
}

type EffectRun = (() => Promise<readonly JournalRecord[]>) & { readonly hasBegun: () => boolean };

export function errorOf({ code, message }: Failure): StillpointError {
  return new StillpointError(Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'INTERNAL', message);
}
