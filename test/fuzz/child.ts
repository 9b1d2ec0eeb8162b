import { once } from 'node:events';
import { openSync, writeSync } from 'node:fs';
import { Coverage } from './coverage.ts';
import { Search } from './search.ts';
import type { Target } from './target.ts';

/** One search in a process of its own, which can be ended when an input does not come back, and may die of one. */
export interface ChildTask {
  /** Exports `TARGETS`. */
  readonly module: string;
  readonly target: string;
  /** Part of the URLs of the sources whose coverage guides the search. */
  readonly watched: string;
  /** The search ends after so many seconds, after so many runs, or with the first defect if `runs` is given. */
  readonly seconds: number;
  readonly runs?: number;
  readonly seed: number;
  readonly corpus: readonly Uint8Array[];
  /** Where the input under way is written: u32 runs so far, u32 bytes, the input. */
  readonly presentFile: string;
}

export const PRESENT_HEADER_BYTES = 8;

export type ChildMessage =
  | { readonly kind: 'defect'; readonly message: string; readonly stack: string; readonly input: Uint8Array }
  | {
      readonly kind: 'done';
      readonly executions: number;
      readonly percent: number;
      readonly functions: number;
      readonly inputs: number;
      readonly slowestMs: number;
      readonly kept: readonly Uint8Array[];
    };

if (process.argv[1] === import.meta.filename) {
  const [task] = (await once(process, 'message')) as [ChildTask];
  const { TARGETS } = (await import(task.module)) as { TARGETS: readonly Target[] };
  const target = TARGETS.find(({ name }) => name === task.target)!;
  const send = (message: ChildMessage) => new Promise((resolve) => process.send!(message, resolve));
  const present = openSync(task.presentFile, 'r+');
  const header = Buffer.alloc(PRESENT_HEADER_BYTES);
  let defects = 0;
  const coverage = new Coverage((url) => url.includes(task.watched));
  const search = new Search(target, coverage, {
    seed: task.seed,
    corpus: task.corpus.map((input) => Buffer.from(input)),
    onInput(input) {
      header.writeUInt32LE(header.readUInt32LE(0) + 1, 0);
      header.writeUInt32LE(input.byteLength, 4);
      writeSync(present, Buffer.concat([header, input]), 0, undefined, 0);
    },
    onDefect({ message, stack = '' }, input) {
      defects++;
      void send({ kind: 'defect', message, stack, input });
    },
  });
  const end = performance.now() + task.seconds * 1000;
  await search.begin();
  const isOver = () =>
    performance.now() >= end || (task.runs !== undefined && (defects > 0 || search.executions >= task.runs));
  do await search.step();
  while (!isOver());
  const kept = await search.distill();
  const { executions, inputs, slowestMs } = search;
  const { percent, functions } = search.seen;
  await send({ kind: 'done', executions, percent, functions, inputs, slowestMs, kept });
  coverage.close();
  process.disconnect();
}
