import type { Clock } from '../env/clock.ts';
import { RunControl } from '../env/run-control.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { isFinished, type OperationState } from './operation-state.ts';
import type { RunKind, RunRecord } from './run-record.ts';

/** A record carries the reason and the hint, and both may be the host's. */
export const REASON_LIMIT = 4096;

/**
 * One run from its admission to its end.
 *
 *     running ──▶ completed | failed | cancelled
 *
 * A finished run never changes again; `phase` then is the step that it ended in.
 */
export class Run {
  readonly id: string;
  readonly kind: RunKind;
  readonly location: string;
  readonly control = new RunControl();
  readonly #clock: Clock;
  readonly #onChange: (run: Run) => void;
  readonly #durations: Record<string, number> = {};
  #phaseBegan: number;
  #isPastRecall = false;
  /** Of rounds before the present plan. */
  #filesBefore = 0;
  #state: OperationState;
  #metadata: RunRecord['metadata'] = null;
  #undo: RunRecord['undo'] = null;

  constructor(clock: Clock, id: string, kind: RunKind, location: string, onChange: (run: Run) => void) {
    this.#clock = clock;
    this.id = id;
    this.kind = kind;
    this.location = location;
    this.#onChange = onChange;
    this.#phaseBegan = clock.monotonicMs();
    this.#state = {
      status: 'running',
      startedAtMs: clock.nowMs(),
      finishedAtMs: null,
      progress: { percent: 0, bytesProcessed: 0, bytesTotal: null },
      reason: null,
      code: null,
      hint: null,
      phase: 'admit',
      filesProcessed: null,
      filesTotal: null,
    };
  }

  /** Aborted when the run is cancelled: what the host's hooks are given. */
  get signal(): AbortSignal {
    return this.control.signal;
  }

  /** Milliseconds that each phase took, by name; complete once the run has finished. */
  get durationsMs(): Readonly<Record<string, number>> {
    return this.#durations;
  }

  /** The state with the progress of this moment. */
  get state(): OperationState {
    const { progress, status, filesTotal } = this.#state;
    if (status !== 'running' || progress === null) return this.#state;
    const total = progress.bytesTotal;
    const done = total === null ? this.control.bytes : Math.min(this.control.bytes, total);
    // 100 is kept for what is finished: after the last byte there is still the publishing.
    const percent = total === null ? 0 : Math.min(99, Math.floor((done / Math.max(total, 1)) * 100));
    const filesProcessed =
      filesTotal === null ? null : Math.min(filesTotal, this.control.files - this.#filesBefore);
    return { ...this.#state, progress: { ...progress, percent, bytesProcessed: done }, filesProcessed };
  }

  get record(): RunRecord {
    return {
      id: this.id,
      kind: this.kind,
      location: this.location,
      state: this.state,
      metadata: this.#metadata,
      undo: this.#undo,
      upkeep: null,
    };
  }

  /** False when it is too late: the run has ended, or is past recall. */
  cancel(): boolean {
    if (this.#isPastRecall || isFinished(this.#state)) return false;
    this.control.cancel();
    return true;
  }

  /** From now on it finishes. Throws `CANCELLED` when it was cancelled before. */
  passRecall(): void {
    this.control.checkCancelled();
    this.#isPastRecall = true;
  }

  enter(phase: string): void {
    this.#endPhase();
    this.#change({ phase });
  }

  plan(files: number, bytes: number): void {
    this.#filesBefore = this.control.files;
    const progress = { percent: 0, bytesProcessed: 0, bytesTotal: bytes };
    this.#change({ filesTotal: files, filesProcessed: 0, progress });
  }

  complete({ metadata = null, undo = null }: Partial<Pick<RunRecord, 'metadata' | 'undo'>> = {}): void {
    this.#metadata = metadata;
    this.#undo = undo;
    const { filesTotal } = this.#state;
    const bytes = this.#state.progress?.bytesTotal ?? this.control.bytes;
    this.#finish({
      status: 'completed',
      progress: { percent: 100, bytesProcessed: bytes, bytesTotal: bytes },
      filesProcessed: filesTotal,
    });
  }

  fail(error: unknown): StillpointError {
    // A cancelled run fails wherever it happens to be. The reason is the cancellation.
    const reason = this.control.isCancelled
      ? new StillpointError('CANCELLED', 'cancelled on request', { cause: error })
      : toStillpointError(error);
    const { progress, filesProcessed } = this.state;
    const status = reason.code === 'CANCELLED' ? 'cancelled' : 'failed';
    this.#finish({
      status,
      reason: reason.message.slice(0, REASON_LIMIT),
      code: reason.code,
      hint: reason.hint.slice(0, REASON_LIMIT),
      progress,
      filesProcessed,
    });
    return reason;
  }

  #finish(change: Partial<OperationState>): void {
    this.#endPhase();
    this.#change({ ...change, finishedAtMs: this.#clock.nowMs() });
  }

  #endPhase(): void {
    const now = this.#clock.monotonicMs();
    const phase = this.#state.phase ?? 'admit';
    this.#durations[phase] = Math.round(((this.#durations[phase] ?? 0) + now - this.#phaseBegan) * 100) / 100;
    this.#phaseBegan = now;
  }

  #change(change: Partial<OperationState>): void {
    this.#state = { ...this.#state, ...change };
    this.#onChange(this);
  }
}
