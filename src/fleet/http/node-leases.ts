import type { Clock } from '../../env/clock.ts';
import { StillpointError } from '../../errors.ts';
import type { AdminClient } from '../../rpc/client.ts';

export const DEFAULT_LEASE_MS = 60 * 1000;

interface Held {
  readonly epoch: string;
  readonly stopRenewing: () => void;
}

/** The leases that this process has on nodes. They are renewed until they are forgotten; when this process dies they run out. */
export class NodeLeases {
  /** How long a node refuses writes without hearing from this process again. */
  readonly leaseMs: number;
  readonly #clock: Clock;
  readonly #held = new Map<string, Held>();

  constructor(clock: Clock, leaseMs = DEFAULT_LEASE_MS) {
    this.#clock = clock;
    this.leaseMs = leaseMs;
  }

  /** Quiesces a node. A lease that the run had there before is dead then. */
  async take(
    id: string,
    client: AdminClient,
    run: string,
    signal: AbortSignal,
  ): Promise<{ epoch: string; expires_at_ms: number | null }> {
    const body = { run, ttl_ms: this.leaseMs };
    this.forget(id);
    const { epoch, expires_at_ms } = await client.quiesce(body, signal);
    if (epoch === null) throw new StillpointError('NODE_REPLY_INVALID', `${id} gave no epoch`);
    this.#renew(id, client, { ...body, epoch });
    return { epoch, expires_at_ms };
  }

  /** Of the lease that was taken last, also when it was lost since: then whoever shows it is refused. */
  epochOf(id: string): string | undefined {
    return this.#held.get(id)?.epoch;
  }

  /** Ends the renewal. The node is not told. */
  forget(id: string): void {
    this.#held.get(id)?.stopRenewing();
    this.#held.delete(id);
  }

  close(): void {
    for (const { stopRenewing } of this.#held.values()) stopRenewing();
  }

  /** A renewal that fails is not the end of the lease: whoever needs it is told by the node. */
  #renew(id: string, client: AdminClient, body: { run: string; ttl_ms: number; epoch: string }): void {
    let isBusy = false;
    const stopRenewing = this.#clock.every(Math.ceil(this.leaseMs / 3), () => {
      if (isBusy) return;
      isBusy = true;
      client
        .quiesce(body)
        .catch((error) => error instanceof StillpointError && error.code === 'LEASE_LOST' && stopRenewing())
        .finally(() => {
          isBusy = false;
        });
    });
    this.#held.set(id, { epoch: body.epoch, stopRenewing });
  }
}
