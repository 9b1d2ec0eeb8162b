import { StillpointError } from '../errors.ts';
import type { Lifecycle } from './lifecycle.ts';
import { isFinished } from './operation-state.ts';
import type { RunKind, RunRecord } from './records.ts';
import type { Run } from './run.ts';

/** Finished runs whose outcome is kept in memory; older ones are still on record. */
const KEEP = 100;

/** The runs of one coordinator with their outcomes. */
export class Runs<R> {
  readonly #runs = new Map<string, { run: Run; outcome: Promise<R> }>();

  follow(run: Run, outcome: Promise<R>): void {
    outcome.catch(() => undefined); // whoever asks for the outcome is told; if nobody does, that is no crash
    this.#runs.set(run.id, { run, outcome });
    for (const [id, known] of this.#runs) {
      if (this.#runs.size <= KEEP) break;
      if (isFinished(known.run.state)) this.#runs.delete(id);
    }
  }

  get(id: string): Run | undefined {
    return this.#runs.get(id)?.run;
  }

  async finished(id: string): Promise<R> {
    const known = this.#runs.get(id);
    if (known === undefined) throw unknownRun(id);
    return known.outcome;
  }

  cancel(id: string): boolean {
    const run = this.#runs.get(id)?.run;
    if (run === undefined) throw unknownRun(id);
    if (isFinished(run.state)) return false;
    run.cancel();
    return true;
  }
}

/** A run of an earlier process, from the records. */
export async function findRecord(
  lifecycle: Lifecycle,
  id: string,
  kinds: readonly RunKind[],
): Promise<RunRecord> {
  const records = await (await lifecycle.records()).read();
  const record = records.find((candidate) => candidate.id === id && kinds.includes(candidate.kind));
  if (record === undefined) throw unknownRun(id);
  return record;
}

const unknownRun = (id: string) => new StillpointError('NOT_FOUND', `there is no run ${JSON.stringify(id)}`);
