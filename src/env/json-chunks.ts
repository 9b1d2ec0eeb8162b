import { setImmediate } from 'node:timers/promises';

/** Items in a chunk: one chunk is encoded or decoded in less time than an event loop notices. */
const ITEMS = 500;

/** A long list of plain data as JSON texts, to be sent to another thread. The event loop turns between any two chunks. */
export async function toChunks(list: readonly unknown[]): Promise<string[]> {
  const chunks: string[] = [];
  for (let at = 0; at < list.length; at += ITEMS) {
    if (at > 0) await setImmediate();
    chunks.push(JSON.stringify(list.slice(at, at + ITEMS)));
  }
  return chunks;
}

/** The reverse of `toChunks`. */
export async function fromChunks<T>(chunks: readonly string[]): Promise<T[]> {
  const list: T[] = [];
  for (const [i, chunk] of chunks.entries()) {
    if (i > 0) await setImmediate();
    for (const item of JSON.parse(chunk) as T[]) list.push(item);
  }
  return list;
}
