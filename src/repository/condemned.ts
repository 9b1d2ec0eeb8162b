import * as z from 'zod';
import { bodyOf, getSmall } from '../destination/destination.ts';
import { decodeJson } from '../env/durable-json.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import { condemnedPrefix, isObjectKey, isPackKey, sweepKey, sweepOf } from './layout.ts';
import type { StoreBackups } from './store-backups.ts';

/**
 * Lists of objects that are about to be deleted. A sweep writes one, and a later one deletes what is on it, a grace after. All times
 * are those of the destination, so that no clock of a machine decides.
 */

/** How long an object is left alone before it is listed, and again before it is deleted. */
export const GRACE_MS = 48 * 60 * 60 * 1000;
/** More than the clocks of the servers of one destination differ by. */
const MARGIN_MS = 60 * 60 * 1000;

export interface CondemnedList {
  readonly sweepId: string;
  readonly listedAtMs: number;
  /** When all of it was deleted. */
  readonly doneAtMs: number | undefined;
  readonly keys: ReadonlySet<string>;
}

/** So many that a list can be read in one piece. */
export const LIST_LIMIT = 100_000;
const LIMIT_BYTES = 64 * 1024 * 1024;

const schema = z.strictObject({
  format: z.literal('stillpoint-condemned'),
  version: z.literal(1),
  store_id: z.string(),
  keys: z.array(z.string()),
});

export async function writeCondemned(
  { destination, storeId }: StoreBackups,
  sweepId: string,
  keys: readonly string[],
): Promise<void> {
  const list: z.infer<typeof schema> = {
    format: 'stillpoint-condemned',
    version: 1,
    store_id: storeId,
    keys: [...keys],
  };
  const body = bodyOf(Buffer.from(`${JSON.stringify(list)}\n`));
  await destination.put(sweepKey(storeId, sweepId, 'list'), body, {
    ifAbsent: true,
    makesRoom: true,
  });
}

export interface Sweeps {
  readonly lists: readonly CondemnedList[];
  /** Sweeps that ended without a list, with the time at which they began. */
  readonly unlisted: ReadonlyMap<string, number>;
}

/** One that does not read is passed over, with a warning: by such a list nothing is ever deleted. */
export async function readSweeps(store: StoreBackups): Promise<Sweeps> {
  const { destination, storeId } = store;
  const times = new Map<string, { began?: number; list?: number; done?: number }>();
  for await (const { key, modifiedAtMs } of destination.list(condemnedPrefix(storeId))) {
    const found = sweepOf(storeId, key);
    if (found === undefined) continue;
    times.set(found.sweepId, { ...times.get(found.sweepId), [found.step]: modifiedAtMs });
  }
  const lists: CondemnedList[] = [];
  const unlisted = new Map<string, number>();
  for (const [sweepId, { began, list, done }] of times) {
    if (list === undefined) {
      unlisted.set(sweepId, began ?? done ?? 0);
      continue;
    }
    try {
      const keys = await readList(store, sweepId);
      if (keys !== undefined) lists.push({ sweepId, listedAtMs: list, doneAtMs: done, keys });
    } catch (error) {
      if (!(error instanceof StillpointError) || error.code !== 'REPOSITORY_INVALID') throw error;
      warn(error);
    }
  }
  return { lists, unlisted };
}

async function readList({ destination, storeId }: StoreBackups, sweepId: string) {
  const key = sweepKey(storeId, sweepId, 'list');
  const refuse = (why: string, cause?: unknown) =>
    new StillpointError('REPOSITORY_INVALID', `${key}: ${why}`, { path: key, cause });
  const bytes = await getSmall(destination, key, LIMIT_BYTES);
  if (bytes === undefined) return undefined; // removed since it was listed
  const { store_id, keys } = decodeJson(bytes.toString(), schema, refuse);
  if (store_id !== storeId) throw refuse(`it is of another store, ${store_id}`);
  const other = keys.find((one) => !isObjectKey(storeId, one) && !isPackKey(storeId, one));
  if (other !== undefined) throw refuse(`${JSON.stringify(other)} is no object of this store`);
  return new Set(keys);
}

/** The keys of all objects that may be deleted soon: nothing new is to name them. */
export async function condemnedKeys(store: StoreBackups): Promise<Set<string>> {
  const { lists } = await readSweeps(store);
  return new Set(lists.flatMap(({ keys }) => [...keys]));
}

/**
 * Of these keys one that a sweep may delete although a manifest of that time names it. The reading of manifests that comes before the
 * deletion begins a grace after the list was written: it sees every manifest that is older.
 */
export async function endangered(
  store: StoreBackups,
  keys: Iterable<string>,
  manifestAtMs: number,
): Promise<string | undefined> {
  const { lists } = await readSweeps(store);
  const late = lists.filter(({ listedAtMs }) => manifestAtMs >= listedAtMs + GRACE_MS - MARGIN_MS);
  for (const key of keys) if (late.some((list) => list.keys.has(key))) return key;
  return undefined;
}
