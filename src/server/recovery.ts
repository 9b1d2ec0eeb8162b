import type { Clock } from '../env/clock.ts';
import type { Recovery } from '../operation/data-directory.ts';
import type { Database } from './database.ts';

export interface RecoveryState {
  readonly outcome: 'success' | 'read_only' | 'failed';
  readonly duration_ms: number;
  /** Commits that were brought back from the log; null when the engine does not tell. */
  readonly entries_replayed: number | null;
  readonly warnings: readonly string[];
  readonly finished_at_ms: number;
  readonly reason: string | null;
}

/** Watches the opening of the database, at the start and around a restore, and tells how the last one went. */
export class RecoveryWatch {
  readonly #clock: Clock;
  #last: RecoveryState | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get last(): RecoveryState | null {
    return this.#last;
  }

  /** @param prepare What comes before: finishing what a crash interrupted. */
  async opening(open: () => Promise<Database>, prepare?: () => Promise<Recovery>): Promise<Database> {
    const begin = this.#clock.monotonicMs();
    let warnings: readonly string[] = [];
    const finish = (
      outcome: 'success' | 'failed',
      entries_replayed: number | null,
      reason: string | null,
    ) => {
      const duration_ms = Math.round(this.#clock.monotonicMs() - begin);
      const finished_at_ms = this.#clock.nowMs();
      this.#last = { outcome, duration_ms, entries_replayed, warnings, finished_at_ms, reason };
    };
    try {
      if (prepare !== undefined) warnings = describe(await prepare());
      const database = await open();
      finish('success', database.entriesReplayed, null);
      return database;
    } catch (error) {
      finish('failed', null, error instanceof Error ? error.message : String(error));
      throw error;
    }
  }
}

function describe({ restore, interrupted, swept }: Recovery): string[] {
  const warnings: string[] = [];
  if (restore !== null) {
    warnings.push(`a restore was interrupted and is now finished: the ${restore} state stands`);
  }
  for (const id of interrupted) warnings.push(`run ${id} did not finish because its process ended`);
  if (swept.length > 0) warnings.push(`${swept.length} partial folders were removed`);
  return warnings;
}
