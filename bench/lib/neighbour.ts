import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const CHILD = fileURLToPath(new URL('./neighbour-child.js', import.meta.url));

/** How long each durable append of another process to `path` took while `work` ran, in milliseconds. */
export async function besideNeighbour(path: string, work: () => Promise<unknown>): Promise<number[]> {
  const child = spawn(process.execPath, [CHILD, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  try {
    if ((await lines.next()).value !== 'begun') throw new Error(`the neighbour wrote nothing to ${path}`);
    await work();
    child.stdin.end();
    return JSON.parse((await lines.next()).value as string);
  } finally {
    child.stdin.end();
    await closed;
  }
}
