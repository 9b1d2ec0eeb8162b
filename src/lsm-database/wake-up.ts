/** Wakes whoever waits for a change of shared state; they look again and, if need be, wait again. */
export class Signal {
  #waiting: (() => void)[] = [];

  notify(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  /** Resolves at the next `notify`. Look at the state and call this without an await between, or a change is missed. */
  wait(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}
