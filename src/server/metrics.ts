import type { Clock } from '../env/clock.ts';
import { residentBytes } from '../env/runtime.ts';

/** So many of the latest requests count for the latencies. */
const SAMPLES = 1024;
/** Requests per second are counted over so many whole seconds. */
const SECONDS = 10;

export interface MetricsReading {
  readonly qps: number;
  readonly avg_latency_ms: number;
  readonly p99_latency_ms: number;
  readonly memory_usage_mb: number | null;
  readonly active_connections: number;
}

/** How busy the server is, over the last few seconds. Bounded in memory. */
export class Metrics {
  readonly #clock: Clock;
  readonly #latencies = new Float64Array(SAMPLES);
  readonly #perSecond = new Map<number, number>();
  readonly #startedMs: number;
  #requests = 0;
  connections = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedMs = clock.monotonicMs();
  }

  get uptimeSeconds(): number {
    return Math.floor((this.#clock.monotonicMs() - this.#startedMs) / 1000);
  }

  /** A request was answered; `latencyMs` until the answer began. */
  record(latencyMs: number): void {
    this.#latencies[this.#requests % SAMPLES] = latencyMs;
    this.#requests++;
    const second = this.#second();
    this.#perSecond.set(second, (this.#perSecond.get(second) ?? 0) + 1);
    if (this.#perSecond.size > 2 * SECONDS) this.#forget(second);
  }

  read(): MetricsReading {
    const second = this.#second();
    this.#forget(second);
    let recent = 0;
    for (const [when, count] of this.#perSecond) if (when < second) recent += count;
    const latencies = this.#latencies.slice(0, Math.min(this.#requests, SAMPLES)).sort();
    const sum = latencies.reduce((total, latency) => total + latency, 0);
    const resident = residentBytes();
    return {
      qps: round(recent / SECONDS),
      avg_latency_ms: round(sum / Math.max(1, latencies.length)),
      p99_latency_ms: round(latencies[Math.ceil(latencies.length * 0.99) - 1] ?? 0),
      memory_usage_mb: resident === undefined ? null : round(resident / (1024 * 1024)),
      active_connections: this.connections,
    };
  }

  #second(): number {
    return Math.floor(this.#clock.monotonicMs() / 1000);
  }

  #forget(second: number): void {
    for (const when of this.#perSecond.keys()) if (when < second - SECONDS) this.#perSecond.delete(when);
  }
}

const round = (value: number): number => Math.round(value * 100) / 100;
