import { chanceFrom } from '../support/chance.ts';
import { type Coverage, Seen } from './coverage.ts';
import { execute, shrink } from './execute.ts';
import { mutate } from './mutate.ts';
import type { Target } from './target.ts';

const MAX_BYTES = 4096;
/** Looking at the coverage costs more than a run: it is done for so many at once, and again one by one if there was news. */
const BATCH = 8;
const KEPT_BYTES = 6 * 1024;

export interface SearchOptions {
  readonly seed: number;
  readonly corpus: readonly Buffer[];
  /** Told each input before it runs, so that whoever watches knows which one does not come back. */
  onInput(input: Buffer): void;
  onDefect(defect: Error, input: Buffer): void;
}

/** Looks for inputs that lead a decoder somewhere new, by changing those that did so before. */
export class Search {
  executions = 0;
  slowestMs = 0;
  readonly seen = new Seen();
  readonly #target: Target;
  readonly #options: SearchOptions;
  readonly #coverage: Coverage;
  readonly #chance: () => number;
  readonly #words: readonly Buffer[];
  readonly #inputs: Buffer[] = [];
  readonly #defects = new Set<string>();
  #seeds: readonly Buffer[] = [];

  constructor(target: Target, coverage: Coverage, options: SearchOptions) {
    this.#target = target;
    this.#coverage = coverage;
    this.#options = options;
    this.#chance = chanceFrom(options.seed);
    this.#words = (target.words ?? []).map((word) => Buffer.from(word));
  }

  /** Inputs that led somewhere new, the seeds included. */
  get inputs(): number {
    return this.#inputs.length;
  }

  async begin(): Promise<void> {
    this.#seeds = (await this.#target.seeds()).map((seed) => Buffer.from(seed));
    for (const input of [...this.#seeds, ...this.#options.corpus]) await this.#tryAlone(input, true);
  }

  /** A few hundred runs. */
  async step(): Promise<void> {
    for (let turn = 0; turn < 32; turn++) {
      const batch = Array.from({ length: BATCH }, () => this.#next());
      for (const input of batch) await this.#run(input);
      if (!this.seen.add(this.#coverage.take())) continue;
      for (const input of batch) await this.#tryAlone(input, false);
    }
  }

  /** The smallest inputs that reach what the seeds do not, within a bound. */
  async distill(): Promise<Buffer[]> {
    const seen = new Seen();
    const reaches = async (input: Buffer): Promise<boolean> => {
      await this.#run(input);
      return seen.add(this.#coverage.take(), true);
    };
    for (const seed of this.#seeds) await reaches(seed);
    const kept: Buffer[] = [];
    let bytes = 0;
    for (const input of [...this.#inputs].sort((a, b) => a.byteLength - b.byteLength)) {
      if (bytes + input.byteLength > KEPT_BYTES || !(await reaches(input))) continue;
      kept.push(input);
      bytes += input.byteLength;
    }
    return kept;
  }

  #below = (limit: number): number => Math.floor(this.#chance() * limit);

  #pick(): Buffer {
    const count = this.#inputs.length;
    // The newest half as often as all.
    const from = this.#below(2) === 0 ? Math.floor(count / 2) : 0;
    return this.#inputs[from + this.#below(count - from)] ?? Buffer.alloc(0);
  }

  #next(): Buffer {
    const { maxBytes = MAX_BYTES } = this.#target;
    const input = mutate(this.#pick(), this.#below, { words: this.#words, other: this.#pick(), maxBytes });
    if (this.#below(4) > 0) this.#target.fix?.(input);
    return input;
  }

  async #tryAlone(input: Buffer, always: boolean): Promise<void> {
    this.#coverage.take();
    await this.#run(input);
    const isNew = this.#alone.add(this.#coverage.take());
    if (isNew || always) this.#inputs.push(input);
    if (always) this.seen.add(this.#coverage.take());
  }
  /** As `seen`, of those that ran alone: in a batch counts add up to what no input has. */
  readonly #alone = new Seen();

  async #run(input: Buffer): Promise<void> {
    this.#options.onInput(input);
    this.executions++;
    const begin = performance.now();
    const defect = await execute(this.#target, input);
    this.slowestMs = Math.max(this.slowestMs, performance.now() - begin);
    if (defect === undefined) return;
    const kind = kindOf(defect);
    if (this.#defects.has(kind)) return;
    this.#defects.add(kind);
    const isStill = async (candidate: Buffer) => {
      this.#options.onInput(candidate);
      const found = await execute(this.#target, candidate);
      return found !== undefined && kindOf(found) === kind;
    };
    this.#options.onDefect(defect, await shrink(input, isStill));
  }
}

/** Two inputs show the same defect if it is told in the same words at the same place; numbers vary. */
const kindOf = ({ message, stack = '' }: Error): string =>
  `${message.replaceAll(/\d+/g, 'N').slice(0, 80)} ${/at .*\/(?:src|test)\/.*/.exec(stack)?.[0] ?? ''}`;
