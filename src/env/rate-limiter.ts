import { pause } from './clock.ts';

/** After a time in which less was moved than allowed, this much may be caught up on. */
const CREDIT_NS = 100_000_000n;
const NS_PER_MS = 1_000_000;
const NS_PER_SECOND = 1_000_000_000n;

const ON = 0;
const RATE = 1;
const PAID_UNTIL = 2;
const PAUSED_UNTIL = 3;

/**
 * Limits the bytes per second of one run, over all its worker threads and streams, and pauses them. Its state lies in shared
 * memory. It uses the system's monotonic clock, which is the same in every thread.
 */
export class RateLimiter {
  static readonly SIZE_BYTES = 4 * BigInt64Array.BYTES_PER_ELEMENT;
  readonly #slots: BigInt64Array;

  constructor(shared: SharedArrayBuffer, offset: number) {
    this.#slots = new BigInt64Array(shared, offset, 4);
  }

  /** Switches the limiter on; before, it costs nothing. Default: no limit, only pauses. */
  start(maxBytesPerSecond = 0): void {
    Atomics.store(this.#slots, RATE, BigInt(maxBytesPerSecond));
    Atomics.store(this.#slots, PAID_UNTIL, nowNs());
    Atomics.store(this.#slots, ON, 1n);
  }

  get isOn(): boolean {
    return Atomics.load(this.#slots, ON) === 1n;
  }

  /** Threads stop after their current chunk, and go on by themselves once the time is over. */
  pause(ms: number): void {
    Atomics.store(this.#slots, PAUSED_UNTIL, nowNs() + BigInt(Math.round(ms * NS_PER_MS)));
  }

  /** Charges bytes that were moved. Returns the time at which they are paid for. */
  charge(bytes: number, now: bigint): bigint {
    const rate = Atomics.load(this.#slots, RATE);
    if (rate === 0n) return now;
    for (;;) {
      const before = Atomics.load(this.#slots, PAID_UNTIL);
      const from = before > now - CREDIT_NS ? before : now - CREDIT_NS;
      const until = from + (BigInt(bytes) * NS_PER_SECOND) / rate;
      if (Atomics.compareExchange(this.#slots, PAID_UNTIL, before, until) === before) return until;
    }
  }

  /**
   * Charges bytes, then blocks the calling thread until they are paid for and no pause lasts, or until `wake[0]` is no longer 0
   * and is notified. Never call it on the main thread.
   */
  hold(bytes: number, wake: Int32Array): void {
    if (!this.isOn) return;
    const paidUntil = this.charge(bytes, nowNs());
    for (let ms = this.#restMs(paidUntil); ms > 0; ms = this.#restMs(paidUntil))
      if (Atomics.wait(wake, 0, 0, ms) !== 'timed-out') return;
  }

  /** As `hold`, for streams on the main thread: waits without blocking. Rejects with the signal's reason. */
  async wait(bytes: number, signal: AbortSignal): Promise<void> {
    if (!this.isOn) return;
    const paidUntil = this.charge(bytes, nowNs());
    for (let ms = this.#restMs(paidUntil); ms > 0; ms = this.#restMs(paidUntil)) await pause(ms, signal);
  }

  #restMs(paidUntil: bigint): number {
    const pausedUntil = Atomics.load(this.#slots, PAUSED_UNTIL);
    const until = paidUntil > pausedUntil ? paidUntil : pausedUntil;
    return Number(until - nowNs()) / NS_PER_MS;
  }
}

const nowNs = (): bigint => process.hrtime.bigint();
