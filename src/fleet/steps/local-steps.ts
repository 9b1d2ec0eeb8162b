import type { Clock } from '../../env/clock.ts';
import type { Journal } from '../journal/journal.ts';
import type { JournalRecord, OperationRow } from '../journal/operation-states.ts';
import { type Claim, claimOf, type Decision, type EndedRecord, type Lane, type Steps } from './steps.ts';

/** Steps that are recorded in the journal of the layout folder. What is on record when it is opened is not run again. */
export class LocalSteps implements Steps, Lane {
  readonly #journal: Journal;
  readonly #clock: Clock;

  constructor(journal: Journal, clock: Clock) {
    this.#journal = journal;
    this.#clock = clock;
  }

  get execution() {
    return this.#journal.execution;
  }

  lane(_name: string, work: (lane: Lane) => Promise<void>): Promise<void> {
    return work(this);
  }

  async step(
    row: OperationRow,
    effect: (claim: Claim) => Promise<EndedRecord>,
    repeats?: boolean,
  ): Promise<void> {
    const claimed = claimOf(row, this.#clock.nowMs(), repeats);
    await this.#journal.commit(claimed);
    const window = this.execution.window(row.operation.target_id);
    const note = (record: JournalRecord) => this.#journal.commit(record);
    await this.#journal.commit(await effect({ attempt: claimed.attempt, window, note }));
  }

  stepWithPoint(
    row: OperationRow,
    effect: (claim: Claim, reach: () => void) => Promise<EndedRecord>,
    repeats?: boolean,
  ) {
    let ended!: Promise<void>;
    const reached = new Promise<void>((resolve) => {
      ended = this.step(row, (claim) => effect(claim, resolve), repeats).finally(resolve);
    });
    ended.catch(() => undefined); // told by `finish`
    return { reached, finish: () => ended };
  }

  async decide(_name: string, make: () => Decision | Promise<Decision>): Promise<void> {
    const record = await make();
    if (record !== undefined) await this.#journal.commit(record);
  }
}
