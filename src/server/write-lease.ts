import type { Clock } from '../env/clock.ts';
import { randomHex } from '../env/random.ts';
import { StillpointError } from '../errors.ts';

export interface Lease {
  /** Who has it: the run of a fleet's controller. */
  readonly run: string;
  /** 128 random bits, so that no epoch of an earlier lease or process is good again. */
  readonly epoch: string;
  readonly expiresAtMs: number;
}

/** So many epochs that were given back are known: to give one back twice is no error. */
const RELEASED_KEPT = 100;

/**
 * While a lease lives, the server refuses writes. It runs out by itself, by the monotonic clock, whether or not anybody is left to
 * end it, and it is kept in memory only: a restart ends it too.
 *
 * The epoch is the fencing number: whoever shows it was the last to get the lease. A lease that ran out is never renewed, so an
 * epoch that is good at two moments was good in between.
 */
export class WriteLease {
  readonly #clock: Clock;
  #lease: (Lease & { readonly endMs: number }) | undefined;
  #released: string[] = [];
  /** The epoch that the snapshot under way needs; undefined when it needs none, or has passed that point. */
  capturing: { readonly epoch: string } | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The lease that lives at this moment. */
  get current(): Lease | undefined {
    return this.#lease !== undefined && this.#clock.monotonicMs() < this.#lease.endMs
      ? this.#lease
      : undefined;
  }

  /**
   * Begins a lease. `CONFLICT` while another run has one. The same run gets a new epoch and the old one is dead: its answer may have
   * been lost.
   */
  take(run: string, ttlMs: number): Lease {
    this.refuseOthers(run);
    this.#lease = this.#of(run, randomHex(16), ttlMs);
    return this.#lease;
  }

  /** `LEASE_LOST` unless that very lease lives. */
  renew(run: string, epoch: string, ttlMs: number): Lease {
    this.require(epoch, run);
    this.#lease = this.#of(run, epoch, ttlMs);
    return this.#lease;
  }

  /** Ends a lease; one that was ended so before is no error. `LEASE_LOST` for any other epoch, and nothing changes. */
  release(run: string, epoch: string): void {
    if (this.#released.includes(epoch)) return;
    this.require(epoch, run);
    this.#lease = undefined;
    this.#released = [...this.#released.slice(1 - RELEASED_KEPT), epoch];
  }

  /** Ends a lease, if it lives, that nobody will give back. */
  withdraw(epoch: string): void {
    if (this.#lease?.epoch === epoch) this.#lease = undefined;
  }

  /** `LEASE_LOST` unless the lease of this epoch lives, and is that of `run` where one is named. */
  require(epoch: string, run?: string): void {
    const { current } = this;
    if (current?.epoch === epoch && (run === undefined || current.run === run)) return;
    throw new StillpointError('LEASE_LOST', 'the lease of this epoch does not live any more');
  }

  /** `LEASE_LOST` when the snapshot under way needs a lease that does not live any more. The next snapshot needs none. */
  requireForCapture(): void {
    const { capturing } = this;
    this.capturing = undefined;
    if (capturing !== undefined) this.require(capturing.epoch);
  }

  /** `CONFLICT` while a run other than `run` has a lease. */
  refuseOthers(run: string | undefined): void {
    const { current } = this;
    if (current === undefined || current.run === run) return;
    throw new StillpointError('CONFLICT', `the server is quiesced by the run ${current.run}`, {
      data: { run: current.run, expires_at_ms: current.expiresAtMs },
    });
  }

  /** `QUIESCED` while a lease lives. */
  refuseWrite(): void {
    const { current } = this;
    if (current === undefined) return;
    throw new StillpointError('QUIESCED', 'writes are refused while a snapshot is captured', {
      data: { retry_after_ms: Math.max(0, this.#lease!.endMs - this.#clock.monotonicMs()) },
    });
  }

  #of(run: string, epoch: string, ttlMs: number) {
    const endMs = this.#clock.monotonicMs() + ttlMs;
    return { run, epoch, endMs, expiresAtMs: this.#clock.nowMs() + ttlMs };
  }
}
