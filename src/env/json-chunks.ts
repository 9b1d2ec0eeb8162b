import { setImmediate } from 'node:timers/promises';

/** What one piece takes to read or write is about what an event loop does not notice. */
const ITEMS = 500;

/** A long list of plain data as JSON texts, for another thread; the event loop goes on between any two of them. */
export async function toChunks(list: readonly unknown[]): Promise<string[]> {
  const pieces: string[] = [];
  for (let at = 0; at < list.length; at += ITEMS) {
    if (at > 0) await setImmediate();
    pieces.push(JSON.stringify(list.slice(at, at + ITEMS)));
  }
  return pieces;
}

/** The list that `toChunks` was given. */
export async function fromChunks<T>(pieces: readonly string[]): Promise<T[]> {
  const list: T[] = [];
  for (const [i, piece] of pieces.entries()) {
    if (i > 0) await setImmediate();
    for (const item of JSON.parse(piece) as T[]) list.push(item);
  }
  return list;
}
