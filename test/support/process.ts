import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { onTestFinished } from 'vitest';

let count = 0;

/**
 * Runs TypeScript in a second Node process, killed when the test ends at the latest. Imports are relative to a folder
 * two levels below the project (`../../src/index.ts`). Errors go to the test's own stderr.
 *
 * @param wrapper Put before the command line, such as `['unshare', '-m']`.
 */
export function startScript(
  text: string,
  args: readonly string[] = [],
  wrapper: readonly string[] = [],
): ChildProcessByStdio<Writable, Readable, null> {
  const file = join(import.meta.dirname, `.script-${process.pid}-${count++}.mts`);
  writeFileSync(file, text);
  const [program, ...rest] = [...wrapper, process.execPath, '--import', 'tsx', file, ...args];
  const child = spawn(program!, rest, {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
    rmSync(file, { force: true });
  });
  return child;
}
