import type { Execution, JournalRecord, OperationRow } from '../journal/operation-states.ts';

/**
 * What operations are driven by. A driver brings every operation to its end once in effect, and remembers the result: in the local
 * journal (`local-steps.ts`) or in PostgreSQL (`dbos-steps.ts`).
 *
 * After a crash the work of a lane is run again from its beginning. A step whose result is on record returns it without its effect; the
 * step that was under way is repeated with the same attempt, so its key is the same. So the work of a lane must take its steps in an
 * order that follows from the plan, from what is on record, and from the results of its own steps: never from a clock, from the
 * signal, or from which of two steps ended first.
 */
export interface Steps {
  /** What is on record. */
  readonly execution: Execution;
  /**
   * Runs a sequence of steps by itself. Lanes may run at the same time; each changes only the rows of its own targets.
   * @param name Of this lane in the run; once in a run.
   */
  lane(name: string, work: (lane: Lane) => Promise<void>): Promise<void>;
}

export interface Lane {
  readonly execution: Execution;
  /**
   * Claims an operation, runs its effect, and records how it ended. The effect resolves to the record of its end, also when it failed;
   * look at the row's receipt.
   */
  step(row: OperationRow, effect: (claim: Claim) => Promise<EndedRecord>): Promise<void>;
  /**
   * The same for an effect with a point from which others may go on before it ends.
   * @param repeats The attempt is the last one again, also when that failed. Default false.
   */
  stepWithPoint(
    row: OperationRow,
    effect: (claim: Claim, reach: () => void) => Promise<EndedRecord>,
    repeats?: boolean,
  ): StepWithPoint;
  /** Records what was decided; undefined records that there was nothing to decide. */
  decide(name: string, make: () => Decision | Promise<Decision>): Promise<void>;
}

/** What is known of an operation when its effect begins. */
export interface Claim {
  /** From 1. The same for an effect that may have happened already. */
  readonly attempt: number;
  /** Of the operation's unit, from 1. */
  readonly window: number;
  /** Records a change within the effect, before the operation ends. */
  readonly note: (record: JournalRecord) => Promise<void>;
}

export interface StepWithPoint {
  /** Resolves when the point is reached, or the effect has ended without it. */
  readonly reached: Promise<void>;
  /** Resolves when the end of the effect is on record. */
  readonly finish: () => Promise<void>;
}

export type EndedRecord = Extract<JournalRecord, { type: 'ended' }>;
export type Decision = JournalRecord | undefined;

/** The claim of an operation. One that was claimed and never ended may have happened: its attempt is the same again. */
export function claimOf(
  { operation: { sequence }, state, attempt }: OperationRow,
  nowMs: number,
  repeats = false,
): Extract<JournalRecord, { type: 'claimed' }> {
  const isSame = repeats || state === 'pending';
  return { type: 'claimed', sequence, attempt: isSame ? attempt : attempt + 1, at_ms: nowMs };
}
