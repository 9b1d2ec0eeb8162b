import type { Destination } from '../../src/destination/destination.ts';

/** Somebody at work on a destination, who takes one step, which is one call of a verb, when he is told to. */
export class Actor {
  readonly destination: Destination;
  steps = 0;
  error: unknown;
  isDone = false;
  readonly #waiting: (() => void)[] = [];
  #changed: () => void = () => {};

  constructor(inner: Destination, work: (destination: Destination) => Promise<unknown>) {
    this.destination = {
      url: inner.url,
      put: (...args) => this.#step(() => inner.put(...args)),
      get: (...args) => this.#step(() => inner.get(...args)),
      head: (...args) => this.#step(() => inner.head(...args)),
      list: (...args) => this.#list(() => inner.list(...args)),
      delete: (...args) => this.#step(() => inner.delete(...args)),
      abortStale: (...args) => this.#step(() => inner.abortStale(...args)),
      probe: () => this.#step(() => inner.probe()),
    };
    work(this.destination)
      .catch((error) => {
        this.error = error;
      })
      .finally(() => {
        this.isDone = true;
        this.#changed();
      });
  }

  async #step<T>(call: () => Promise<T>): Promise<T> {
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
      this.#changed();
    });
    return call();
  }

  async *#list(call: () => ReturnType<Destination['list']>): ReturnType<Destination['list']> {
    yield* await this.#step(async () => {
      const found = [];
      for await (const object of call()) found.push(object);
      return found;
    });
  }

  /** Lets it take steps until it has taken so many in all, or is done. */
  async run(until = Number.POSITIVE_INFINITY): Promise<void> {
    for (;;) {
      while (this.#waiting.length === 0 && !this.isDone) {
        await new Promise<void>((resolve) => {
          this.#changed = resolve;
        });
      }
      if (this.isDone || this.steps >= until) return;
      this.steps++;
      this.#waiting.shift()!();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}
