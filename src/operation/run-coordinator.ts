import { EventEmitter } from 'node:events';
import { orGivenUp } from '../env/concurrency.ts';
import { emitSafely, warn } from '../env/safe-calls.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import type { Admission, DataDirectory } from './data-directory.ts';
import { isFinished, type OperationState } from './operation-state.ts';
import { Run } from './run.ts';
import type { RecordKind, RunKind, RunRecord } from './run-record.ts';

export interface RunEvents<Result> {
  /** A run changed: a phase began, or it ended. */
  state: [id: string, state: OperationState];
  completed: [result: Result];
  failed: [id: string, error: StillpointError];
}

/** A run that is ready to be put on record. */
export interface Prepared<Result> {
  readonly run: Run;
  /** Does the work. Whatever it opened it closes, in every case. */
  work(): Promise<Done<Result>>;
  /** Closes what was opened, when the run does not begin after all. */
  abandon?(): Promise<void>;
}

export interface Done<Result> {
  readonly metadata?: RunRecord['metadata'];
  readonly undo?: RunRecord['undo'];
  /** Called once the run is complete, with its final state. */
  result(): Result;
  /** Removes what was needed only until the run is on record as complete. */
  cleanUp?(): Promise<void>;
}

/** Finished runs whose outcome is kept in memory. Older ones are still on record. */
const KEEP = 100;

/**
 * The life of a run, the same for every kind of work on a data directory:
 *
 *     admit ─ prepare ─ on record ─ work ─ complete | fail ─ on record ─ release
 *
 * The start resolves once the run is on record; the work goes on behind it. The place is free for the next run before the
 * outcome is known.
 */
export abstract class RunCoordinator<Result> extends EventEmitter<RunEvents<Result>> {
  readonly #directory: DataDirectory;
  readonly #kinds: readonly RecordKind[];
  readonly #runs = new Map<string, { run: Run; outcome: Promise<Result> }>();

  /** @param kinds Of the runs whose records `status` answers from. */
  protected constructor(directory: DataDirectory, kinds: readonly RunKind[]) {
    super();
    this.#directory = directory;
    this.#kinds = kinds;
  }

  /** How far a run is, also one of an earlier process; `NOT_FOUND` when there was none. */
  async status(id: string): Promise<OperationState> {
    return (await this.record(id)).state;
  }

  /** The outcome of a run of this coordinator; rejects with its `StillpointError`. */
  async finished(id: string): Promise<Result> {
    return this.#known(id).outcome;
  }

  /**
   * Cancels a run of this coordinator; false when it had ended or is past recall: a restore that exchanges files already
   * finishes. Await `finished` for the end.
   */
  cancel(id: string): boolean {
    return this.#known(id).run.cancel();
  }

  protected async record(id: string): Promise<RunRecord> {
    const known = this.#runs.get(id);
    if (known !== undefined) return known.run.record;
    const record = await this.#directory.run(id);
    if (record === undefined || !this.#kinds.includes(record.kind)) throw unknownRun(id);
    return record;
  }

  /**
   * Admits a run and begins it. When it rejects, nothing is on record and the place is free. `prepare` changes nothing: it is given
   * up when it hangs and the signal is aborted.
   */
  protected async start(
    kind: RunKind,
    signal: AbortSignal | undefined,
    prepare: (admission: Admission, newRun: (location: string) => Run) => Promise<Prepared<Result>>,
  ): Promise<{ id: string; location: string }> {
    const admission = await this.#directory.admit(kind);
    let run: Run | undefined;
    const cancel = () => void run?.cancel();
    const forget = () => signal?.removeEventListener('abort', cancel);
    signal?.addEventListener('abort', cancel, { once: true });
    try {
      const preparing = prepare(admission, (location) => {
        run = this.#newRun(kind, location);
        if (signal?.aborted) cancel();
        return run;
      });
      const prepared = await orGivenUp(preparing, signal, (late) => late.abandon?.());
      const { run: begun } = prepared;
      await admission.records.begin(begun.record).catch(async (error) => {
        await prepared.abandon?.();
        throw error;
      });
      this.#follow(begun, this.#carryOut(prepared, admission).finally(forget));
      return { id: begun.id, location: begun.location };
    } catch (error) {
      forget();
      await admission.release();
      throw toStillpointError(error);
    }
  }

  async #carryOut({ run, work }: Prepared<Result>, { records, release }: Admission): Promise<Result> {
    try {
      const done = await work();
      run.complete(done);
      try {
        if (await records.end(run.record)) await done.cleanUp?.();
      } catch (error) {
        warn(error); // the work is done: a missing line does not undo it, and the next run notes it and cleans up
      }
      const result = done.result();
      emitSafely(this as EventEmitter<RunEvents<Result>>, 'completed', result);
      return result;
    } catch (error) {
      const reason = run.fail(error);
      await records.end(run.record).catch(() => undefined); // the next start records it as interrupted
      emitSafely(this as EventEmitter<RunEvents<Result>>, 'failed', run.id, reason);
      throw reason;
    } finally {
      await release();
    }
  }

  #newRun(kind: RunKind, location: string): Run {
    const { clock, newId }: Environment = this.#directory.environment;
    const onChange = (run: Run) =>
      emitSafely(this as EventEmitter<RunEvents<Result>>, 'state', run.id, run.state);
    return new Run(clock, newId(), kind, location, onChange);
  }

  #follow(run: Run, outcome: Promise<Result>): void {
    outcome.catch(() => undefined); // `finished` rejects with the error; without a caller it must not end the process
    this.#runs.set(run.id, { run, outcome });
    for (const [id, known] of this.#runs) {
      if (this.#runs.size <= KEEP) break;
      if (isFinished(known.run.state)) this.#runs.delete(id);
    }
  }

  #known(id: string): { run: Run; outcome: Promise<Result> } {
    const known = this.#runs.get(id);
    if (known === undefined) throw unknownRun(id);
    return known;
  }
}

const unknownRun = (id: string) => new StillpointError('NOT_FOUND', `there is no run ${JSON.stringify(id)}`);
