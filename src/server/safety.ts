import { type Findings, gather } from '../coordinator/status.ts';
import { directoryOf, type Lifecycle } from '../operation/lifecycle.ts';
import type { Environment } from '../snapshot/environment.ts';

/** So long an answer counts: status is asked for often, and looking at thousands of files takes a while. */
const FRESH_MS = 5_000;

/** What is known of the snapshots, for `status` and the metrics. */
export class Safety {
  readonly #environment: Environment;
  readonly #lifecycle: Lifecycle;
  #looked: { readonly atMs: number; readonly findings: Promise<Findings> } | undefined;

  constructor(environment: Environment, lifecycle: Lifecycle) {
    this.#environment = environment;
    this.#lifecycle = lifecycle;
  }

  /** Something was written, verified or removed: the next question looks again. */
  forget(): void {
    this.#looked = undefined;
  }

  /** Of the last seconds. Those who ask at once wait for one look. */
  findings(): Promise<Findings> {
    const nowMs = this.#environment.clock.monotonicMs();
    if (this.#looked !== undefined && nowMs - this.#looked.atMs < FRESH_MS) return this.#looked.findings;
    const looked = { atMs: nowMs, findings: this.#look() };
    this.#looked = looked;
    looked.findings.catch(() => {
      if (this.#looked === looked) this.#looked = undefined;
    });
    return looked.findings;
  }

  async #look(): Promise<Findings> {
    const layout = await directoryOf(this.#lifecycle).layout();
    return gather(this.#environment, layout, await this.#lifecycle.runs());
  }
}
