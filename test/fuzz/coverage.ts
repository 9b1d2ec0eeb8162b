import { Session } from 'node:inspector';

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}
interface FunctionCoverage {
  readonly ranges: readonly [Range, ...Range[]];
}
interface ScriptCoverage {
  readonly url: string;
  readonly functions: readonly FunctionCoverage[];
}

/** How often each character of each function ran, as powers of two: what one or more runs of a decoder went through. */
export type Trace = ReadonlyMap<string, Uint8Array>;

/**
 * What of the sources runs in this thread, by V8's own block coverage. V8 joins a block with what is around it when both
 * ran equally often, so that ranges come and go; painted over the characters of their function they can be compared.
 */
export class Coverage {
  readonly #session = new Session();
  readonly #isWatched: (url: string) => boolean;

  constructor(isWatched: (url: string) => boolean) {
    this.#isWatched = isWatched;
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** What ran since the last call. */
  take(): Trace {
    const { result } = this.#post('Profiler.takePreciseCoverage') as { result: readonly ScriptCoverage[] };
    const trace = new Map<string, Uint8Array>();
    for (const { url, functions } of result) {
      if (!this.#isWatched(url)) continue;
      for (const { ranges } of functions) {
        const { startOffset: from, endOffset: to, count } = ranges[0];
        if (count === 0) continue;
        const characters = new Uint8Array(to - from);
        for (const { startOffset, endOffset, count: times } of ranges)
          characters.fill(bucketOf(times), startOffset - from, endOffset - from);
        trace.set(`${url}:${from}-${to}`, characters);
      }
    }
    return trace;
  }

  close(): void {
    this.#session.disconnect();
  }

  #post(method: string, params: object = {}): unknown {
    let outcome: unknown;
    let failure: Error | null = null;
    // In a session with one's own thread the answer comes before `post` returns.
    this.#session.post(method, params, (error, result) => {
      failure = error;
      outcome = result;
    });
    if (failure !== null) throw failure;
    return outcome;
  }
}

/** 0 for never, then a bit for each order of magnitude: once, twice, up to 4, 8, 32, more. */
function bucketOf(count: number): number {
  if (count <= 2) return count;
  return count <= 4 ? 4 : count <= 8 ? 8 : count <= 32 ? 16 : 32;
}

/** All that was ever seen. */
export class Seen {
  readonly #functions = new Map<string, Uint8Array>();

  /** Adds a trace; whether any of it is new. With `isCoarse`, more often than before is nothing new. */
  add(trace: Trace, isCoarse = false): boolean {
    let isNew = false;
    for (const [name, characters] of trace) {
      let known = this.#functions.get(name);
      if (known === undefined) {
        known = new Uint8Array(characters.length);
        this.#functions.set(name, known);
      }
      for (let at = 0; at < characters.length; at++) {
        const bits = isCoarse ? Math.min(1, characters[at]!) : characters[at]!;
        if ((bits & ~known[at]!) === 0) continue;
        known[at]! |= bits;
        isNew = true;
      }
    }
    return isNew;
  }

  /** Of the functions that ran at all: how much of their text. */
  get percent(): number {
    let covered = 0;
    let total = 0;
    for (const characters of this.#functions.values()) {
      total += characters.length;
      for (const bits of characters) if (bits !== 0) covered++;
    }
    return total === 0 ? 0 : (100 * covered) / total;
  }

  get functions(): number {
    return this.#functions.size;
  }
}
