import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { stopCommands } from './command.ts';

/** A folder for all that is made here; it goes when the process ends, in whatever way it can notice. */
export function openWorkspace(dir: string): string {
  const root = mkdtempSync(join(dir, 'stillpoint-bench-'));
  process.on('exit', () => {
    stopCommands();
    removeAll(root);
  });
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.on(signal, () => process.exit(code));
  }
  return root;
}

/** Worker threads may still write into it: then it is tried again. */
export function removeAll(path: string): void {
  rmSync(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
}
