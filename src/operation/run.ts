import type { Clock } from '../env/clock.ts';
import { RunControl } from '../env/worker-pool.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { OperationState } from './operation-state.ts';
import type { RunKind, RunRecord } from './records.ts';

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
  /** Aborted when the run is cancelled: what the host's hooks are given. */
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  readonly #onChange: (run: Run) => void;
  readonly #durations: Record<string, number> = {};
  #phaseBegan: number;
  #state: OperationState;
  #metadata: RunRecord['metadata'] = null;

  constructor(clock: Clock, id: string, kind: RunKind, location: string, onChange: (run: Run) => void) {
    this.#clock = clock;
    this.id = id;
    this.kind = kind;
    this.location = location;
    this.#onChange = onChange;
    this.#phaseBegan = clock.monotonicMs();
    this.#state = {
      status: 'running',
      started_at_ms: clock.nowMs(),
      finished_at_ms: null,
      progress: { percent: 0, bytes_processed: 0, bytes_total: null },
      reason: null,
      code: null,
      phase: 'admit',
      files_processed: null,
      files_total: null,
    };
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Milliseconds that each phase took, by name; complete once the run has finished. */
  get durationsMs(): Readonly<Record<string, number>> {
    return this.#durations;
  }

  /** The state with the progress of this moment. */
  get state(): OperationState {
    const { progress, status } = this.#state;
    if (status !== 'running' || progress === null) return this.#state;
    const total = progress.bytes_total;
    const done = total === null ? this.control.bytes : Math.min(this.control.bytes, total);
    // 100 is kept for what is finished: after the last byte there is still the publishing.
    const percent = total === null ? 0 : Math.min(99, Math.floor((done / Math.max(total, 1)) * 100));
    return { ...this.#state, progress: { ...progress, percent, bytes_processed: done } };
  }

  get record(): RunRecord {
    return {
      id: this.id,
      kind: this.kind,
      location: this.location,
      state: this.state,
      metadata: this.#metadata,
    };
  }

  cancel(): void {
    this.control.cancel();
    this.#abort.abort(new StillpointError('CANCELLED', 'cancelled on request'));
  }

  enter(phase: string): void {
    this.#endPhase();
    this.#change({ phase });
  }

  plan(files: number, bytes: number): void {
    const progress = { percent: 0, bytes_processed: 0, bytes_total: bytes };
    this.#change({ files_total: files, files_processed: 0, progress });
  }

  complete(metadata: RunRecord['metadata'] = null): void {
    this.#metadata = metadata;
    const { files_total } = this.#state;
    const bytes = this.#state.progress?.bytes_total ?? this.control.bytes;
    this.#finish({
      status: 'completed',
      progress: { percent: 100, bytes_processed: bytes, bytes_total: bytes },
      files_processed: files_total,
    });
  }

  fail(error: unknown): StillpointError {
    // A cancelled run fails with whatever was cut off; what the caller is told is why.
    const reason = this.control.isCancelled
      ? new StillpointError('CANCELLED', 'cancelled on request', { cause: error })
      : toStillpointError(error);
    const { progress } = this.state;
    const status = reason.code === 'CANCELLED' ? 'cancelled' : 'failed';
    this.#finish({ status, reason: reason.message, code: reason.code, progress });
    return reason;
  }

  #finish(change: Partial<OperationState>): void {
    this.#endPhase();
    this.#change({ ...change, finished_at_ms: this.#clock.nowMs() });
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
