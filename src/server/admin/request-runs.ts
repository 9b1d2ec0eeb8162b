import type { FastifyRequest } from 'fastify';
import { toStillpointError } from '../../errors.ts';
import type { Audit, AuditOutcome } from '../audit.ts';

interface Coordinator {
  finished(id: string): Promise<unknown>;
  cancel(id: string): boolean;
}

/** The runs that requests began and that have not ended: each gets its line in the audit, and closing the server ends them. */
export class UnderWay {
  readonly #audit: Audit;
  readonly #closing: AbortSignal;
  readonly #runs = new Map<string, { coordinator: Coordinator; end: Promise<void> }>();

  constructor(audit: Audit, closing: AbortSignal) {
    this.#audit = audit;
    this.#closing = closing;
    closing.addEventListener('abort', () => {
      for (const [id, { coordinator }] of this.#runs) coordinator.cancel(id);
    });
  }

  add(request: FastifyRequest, action: string, id: string, coordinator: Coordinator): void {
    this.#audit.run(request, { action, id, outcome: 'accepted' });
    const end = this.#watch(request, action, id, coordinator);
    this.#runs.set(id, { coordinator, end });
    if (this.#closing.aborted) coordinator.cancel(id);
  }

  /** Resolves when none is left. */
  async idle(): Promise<void> {
    while (this.#runs.size > 0) await Promise.all([...this.#runs.values()].map(({ end }) => end));
  }

  async #watch(request: FastifyRequest, action: string, id: string, coordinator: Coordinator): Promise<void> {
    try {
      await coordinator.finished(id);
      this.#audit.run(request, { action, id, outcome: 'completed' });
    } catch (error) {
      const { code } = toStillpointError(error);
      const outcome: AuditOutcome = code === 'CANCELLED' ? 'cancelled' : 'failed';
      this.#audit.run(request, { action, id, outcome, code });
    } finally {
      this.#runs.delete(id);
    }
  }
}
