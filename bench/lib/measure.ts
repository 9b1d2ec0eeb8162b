import { performance } from 'node:perf_hooks';
import { run } from './command.ts';
import { ratios, type Spread, spreadOf } from './stats.ts';
import { removeAll } from './workspace.ts';

/** One way of doing something, measured beside others. */
export interface Way {
  readonly name: string;
  /** What it has to hold in the end; times are compared by the byte. */
  readonly bytes: number;
  /** Folders that it makes. They go before the next measurement, so that the next one may use their memory and blocks. */
  readonly leaves?: readonly string[];
  /** Not measured. */
  readonly before?: () => Promise<unknown>;
  readonly work: () => Promise<unknown>;
  /** Not measured. */
  readonly after?: () => Promise<unknown>;
}

export class Times {
  readonly #ways = new Map<string, { bytes: number; ms: number[] }>();

  /** In the order in which they will be shown. */
  constructor(ways: readonly Pick<Way, 'name' | 'bytes'>[]) {
    for (const { name, bytes } of ways) this.#ways.set(name, { bytes, ms: [] });
  }

  add(name: string, ms: number): void {
    this.#of(name).ms.push(ms);
  }

  /** The ways of another alternation, by names of their own. */
  join(other: Times): void {
    for (const [name, way] of other.#ways) this.#ways.set(name, way);
  }

  has(name: string): boolean {
    return this.#ways.has(name);
  }

  ms(name: string): Spread {
    return spreadOf(this.#of(name).ms);
  }

  bytes(name: string): number {
    return this.#of(name).bytes;
  }

  /** Time per byte over time per byte. */
  ratio(ours: string, theirs: string): Spread {
    return ratios(this.#perByte(ours), this.#perByte(theirs));
  }

  toJSON(): Record<string, { bytes: number; ms: number[] }> {
    return Object.fromEntries(this.#ways);
  }

  #perByte(name: string): number[] {
    const { bytes, ms } = this.#of(name);
    return ms.map((value) => value / bytes);
  }

  #of(name: string): { bytes: number; ms: number[] } {
    const way = this.#ways.get(name);
    if (way === undefined) throw new Error(`nothing was measured by the name ${name}`);
    return way;
  }
}

/** Another order each round, so that nobody always comes after the one that tires the disk most. */
export function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

/**
 * All ways in alternation. Before each, what others left is removed and the disk is at rest: the memory of the last copy is
 * free again for the next one, whoever makes it. Without that, a virtual machine has to fetch new memory from its host,
 * which takes longer than the copying. The first round warms up and does not count.
 */
export async function alternate(root: string, ways: readonly Way[], rounds: number): Promise<Times> {
  const times = new Times(ways);
  const clean = () => {
    for (const folder of new Set(ways.flatMap(({ leaves = [] }) => leaves))) removeAll(folder);
  };
  for (let round = 0; round <= rounds; round++) {
    for (const way of shuffled(ways)) {
      clean();
      await way.before?.();
      await run('sync', ['-f', root]);
      const begin = performance.now();
      await way.work();
      const ms = performance.now() - begin;
      await way.after?.();
      if (round > 0) times.add(way.name, ms);
    }
  }
  clean();
  return times;
}
