import { fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compiled } from '../support/build.ts';
import { type ChildMessage, type ChildTask, PRESENT_HEADER_BYTES } from './child.ts';

/** No input here takes a second. */
const HANG_MS = 30_000;
const HEAP_MIB = 1024;

export interface Outcome {
  readonly executions: number;
  /** Of the text of the functions that ran. */
  readonly percent: number;
  readonly functions: number;
  /** Inputs that led somewhere new. */
  readonly inputs: number;
  readonly slowestMs: number;
  /** Few small inputs that reach what the seeds do not. */
  readonly kept: readonly Uint8Array[];
  readonly defects: readonly Defect[];
}

export interface Defect {
  readonly message: string;
  readonly stack: string;
  readonly input: Uint8Array;
}

/** `hangMs`: how long nothing may come back before the input under way counts as a defect. Default 30 seconds. */
export type FuzzOptions = Omit<ChildTask, 'presentFile'> & { readonly hangMs?: number };

/** One decoder for so many seconds. An input that does not come back, or that ends the process, is a defect like any other. */
export async function fuzzTarget({ hangMs = HANG_MS, ...options }: FuzzOptions): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'stillpoint-fuzz-'));
  const presentFile = join(folder, 'present');
  writeFileSync(presentFile, Buffer.alloc(PRESENT_HEADER_BYTES));
  const child = fork(compiled('test/fuzz/child.ts'), [], {
    execArgv: [`--max-old-space-size=${HEAP_MIB}`],
    serialization: 'advanced',
  });
  child.send({ ...options, presentFile } satisfies ChildTask);

  const present = (): { count: number; input: Uint8Array } => {
    const bytes = readFileSync(presentFile);
    const end = PRESENT_HEADER_BYTES + bytes.readUInt32LE(4);
    return { count: bytes.readUInt32LE(0), input: bytes.subarray(PRESENT_HEADER_BYTES, end) };
  };
  const defects: Defect[] = [];
  let done: Omit<Outcome, 'defects'> | undefined;
  let isHung = false;
  let lastCount = -1;
  const watch = setInterval(() => {
    const { count } = present();
    isHung = count > 0 && count === lastCount; // 0 while the modules load
    lastCount = count;
    if (isHung) child.kill('SIGKILL');
  }, hangMs);
  child.on('message', (message: ChildMessage) => {
    if (message.kind === 'defect') defects.push(message);
    else done = message;
  });
  const how = await new Promise<string>((resolve) =>
    child.on('exit', (code, signal) => resolve(signal ?? `exit code ${code}`)),
  );
  clearInterval(watch);
  const { count, input } = present();
  rmSync(folder, { recursive: true });
  if (done !== undefined) return { ...done, defects };
  const message = isHung ? `does not come back within ${hangMs} ms` : `the process ended with ${how}`;
  defects.push({ message, stack: '', input });
  return { executions: count, percent: 0, functions: 0, inputs: 0, slowestMs: 0, kept: [], defects };
}
