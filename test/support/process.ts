import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { onTestFinished } from 'vitest';
import { compiled } from './build.ts';

let count = 0;

/**
 * Runs JavaScript in a second Node process, killed when the test ends at the latest. `stillpoint` is what it imports of the product.
 * Errors go to the test's own stderr.
 * @param wrapper Put before the command line, such as `['setpriv', '--bounding-set=-all']`.
 */
export function startScript(
  text: string,
  args: readonly string[] = [],
  wrapper: readonly string[] = [],
): ChildProcessByStdio<Writable, Readable, null> {
  const file = compiled(`scripts/${process.pid}-${count++}.mjs`);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  const [program, ...rest] = [...wrapper, process.execPath, file, ...args];
  const child = spawn(program!, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}
