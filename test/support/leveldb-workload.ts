/**
 * A sequence of batches that anybody can compute from their numbers alone, so that a copy of the database can be compared
 * with the one state that its counter names. Each batch touches several keys; every third deletes some.
 */

export const COUNTER = 'counter';
const KEYS = 1500;

export type WorkloadOperation =
  | { readonly type: 'put'; readonly key: string; readonly value: string }
  | { readonly type: 'del'; readonly key: string };

/** The batch of that number; the first is 1. */
export function batchOf(number: number): WorkloadOperation[] {
  const operations: WorkloadOperation[] = [{ type: 'put', key: COUNTER, value: String(number) }];
  for (let part = 0; part < 4; part++) {
    const key = `key-${mix(number, part) % KEYS}`;
    if (number % 3 === 0 && part > 1) operations.push({ type: 'del', key });
    else operations.push({ type: 'put', key, value: contentOf(number, part) });
  }
  return operations;
}

function contentOf(number: number, part: number): string {
  const seed = mix(part + 7, number);
  return `${number}.${part}.`.padEnd(50 + (seed % 1500), seed.toString(36));
}

function mix(a: number, b: number): number {
  let hash = Math.imul(a, 0x9e3779b1) ^ Math.imul(b + 1, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** The state after each number of batches; cheap when asked for in ascending order. */
export class WorkloadModel {
  #number = 0;
  #state = new Map<string, string>();

  after(number: number): ReadonlyMap<string, string> {
    if (number < this.#number) {
      this.#number = 0;
      this.#state = new Map();
    }
    while (this.#number < number) {
      for (const operation of batchOf(++this.#number)) {
        if (operation.type === 'put') this.#state.set(operation.key, operation.value);
        else this.#state.delete(operation.key);
      }
    }
    return this.#state;
  }

  /** What distinguishes `found` from the state that its own counter names; undefined when nothing does. */
  difference(found: ReadonlyMap<string, string>): string | undefined {
    const number = Number(found.get(COUNTER) ?? 0);
    const expected = this.after(number);
    for (const [key, value] of expected) {
      if (found.get(key) !== value) return `state ${number}: ${key} is ${describe(found.get(key))}`;
    }
    for (const key of found.keys()) if (!expected.has(key)) return `state ${number}: ${key} should be gone`;
    return undefined;
  }
}

const describe = (value: string | undefined): string =>
  value === undefined ? 'missing' : `that of batch ${value.split('.')[0]}`;
