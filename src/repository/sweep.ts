import { bodyOf } from '../destination/destination.ts';
import type { Clock } from '../env/clock.ts';
import { mapConcurrent } from '../env/concurrency.ts';
import type { RunControl } from '../env/run-control.ts';
import { newUlid } from '../env/ulid.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import { objectsOf } from './backup-manifest.ts';
import { type CondemnedList, GRACE_MS, LIST_LIMIT, readSweeps, writeCondemned } from './condemned.ts';
import {
  backupsPrefix,
  damagedKey,
  isObjectKey,
  isPackKey,
  objectsPrefix,
  SWEEP_STEPS,
  sweepKey,
} from './layout.ts';
import { isMarked } from './marks.ts';
import type { StoreBackups } from './store-backups.ts';

export interface Swept {
  /** Put on a list: a later sweep deletes them. */
  readonly objectsCondemned: number;
  readonly objectsDeleted: number;
}

export interface SweepRequest {
  /** Ids of backups that are on record somewhere: a listing may leave them out. */
  readonly recorded: Iterable<string>;
  readonly control: RunControl;
}

/** After the manifests were read: a new one may name what was unnamed then. */
const DELETE_WITHIN_MS = 10 * 60 * 1000;
const DELETED_AT_ONCE = 500;
const QUESTIONS_AT_ONCE = 16;
const LEAST_LISTED = 100;

/**
 * Removes objects that no backup names, in two halves that lie a grace apart. The first lists what is unnamed and older than a grace;
 * the second, of a later sweep, deletes what is on such a list and still unnamed. Whoever publishes a backup looks at the lists
 * afterwards: so either the sweep has seen the manifest, or the writer sees the list. Rejects, and deletes nothing, when a backup
 * that should be there cannot be read.
 */
export async function sweep(store: StoreBackups, { recorded, control }: SweepRequest): Promise<Swept> {
  const { destination, environment, storeId } = store;
  const { clock } = environment;
  const sweepId = newUlid(clock.nowMs());
  const began = sweepKey(storeId, sweepId, 'began');
  await destination.put(began, bodyOf(Buffer.from('\n')), { ifAbsent: true, makesRoom: true });
  const nowMs = (await destination.head(began))?.modifiedAtMs;
  if (nowMs === undefined) throw notThere(began);
  const { lists, unlisted } = await readSweeps(store);
  const isRecent = stopwatch(clock);
  const named = await namedObjects(store, recorded, control);
  let objectsDeleted = 0;
  for (const list of lists) {
    if (list.doneAtMs !== undefined) {
      if (isOlder(list.doneAtMs, nowMs)) await forget(store, list.sweepId);
    } else if (isOlder(list.listedAtMs, nowMs)) {
      objectsDeleted += await deleteListed(store, list, named, () => {
        control.checkCancelled();
        return isRecent();
      });
    }
  }
  for (const [id, beganAtMs] of unlisted) {
    if (id !== sweepId && isOlder(beganAtMs, nowMs)) await forget(store, id);
  }
  const listed = new Set(lists.flatMap(({ keys }) => [...keys]));
  const condemned: string[] = [];
  for await (const { key, modifiedAtMs } of storedObjects(store)) {
    control.checkCancelled();
    if (isOlder(modifiedAtMs, nowMs) && !named.has(key) && !listed.has(key) && condemned.length < LIST_LIMIT)
      condemned.push(key);
  }
  if (condemned.length === 0) await forget(store, sweepId);
  const objectsCondemned = condemned.length === 0 ? 0 : await listAsRoomAllows(store, sweepId, condemned);
  return { objectsCondemned, objectsDeleted };
}

/** Fewer fit where the destination is full; they make room for the others. Resolves to how many. */
async function listAsRoomAllows(
  store: StoreBackups,
  sweepId: string,
  keys: readonly string[],
): Promise<number> {
  try {
    await writeCondemned(store, sweepId, keys);
    return keys.length;
  } catch (error) {
    if (keys.length <= LEAST_LISTED || toStillpointError(error).code !== 'DESTINATION_NO_SPACE') throw error;
    return listAsRoomAllows(store, sweepId, keys.slice(0, Math.ceil(keys.length / 4)));
  }
}

/** Tells whether the time to delete is not over. A machine that slept knows it by its wall clock only. */
function stopwatch(clock: Clock): () => boolean {
  const beganMs = clock.nowMs();
  const beganMonotonicMs = clock.monotonicMs();
  return () => {
    const passedMs = clock.nowMs() - beganMs;
    const isLate = passedMs < 0 || passedMs >= DELETE_WITHIN_MS;
    return !isLate && clock.monotonicMs() - beganMonotonicMs < DELETE_WITHIN_MS;
  };
}

/** By more than a grace. A destination that tells no time (0) tells nothing. */
const isOlder = (atMs: number, nowMs: number): boolean => atMs > 0 && atMs + GRACE_MS <= nowMs;

/** How many objects a sweep would list now, by this machine's clock. Writes nothing. */
export async function countUnnamed(
  store: StoreBackups,
  { recorded, control }: SweepRequest,
): Promise<number> {
  const named = await namedObjects(store, recorded, control);
  const nowMs = store.environment.clock.nowMs();
  let count = 0;
  for await (const { key, modifiedAtMs } of storedObjects(store)) {
    if (isOlder(modifiedAtMs, nowMs) && !named.has(key)) count++;
  }
  return count;
}

async function* storedObjects({ destination, storeId }: StoreBackups) {
  for (const prefix of [objectsPrefix(storeId), backupsPrefix(storeId)]) {
    for await (const object of destination.list(prefix)) {
      if (isObjectKey(storeId, object.key) || isPackKey(storeId, object.key)) yield object;
    }
  }
}

/**
 * The objects of all backups. No single listing is believed: what is on record and what a manifest names as the backup before it is
 * looked for too. `BACKUP_DAMAGED` for one that should be there and does not read.
 */
async function namedObjects(
  store: StoreBackups,
  recorded: Iterable<string>,
  control: RunControl,
): Promise<Set<string>> {
  const named = new Set<string>();
  const seen = new Set<string>([...recorded, ...(await store.ids())]);
  // A set hands out what is added while it is walked through.
  for (const id of seen) {
    control.checkCancelled();
    const manifest = await store.read(id).catch(async (error) => {
      if (await isMarked(store, 'deleted', id)) return undefined;
      throw error;
    });
    if (manifest === undefined) {
      if (await isMarked(store, 'deleted', id)) continue;
      throw new StillpointError('BACKUP_DAMAGED', `the backup ${id} is on record and is not there`, {
        hint: 'Nothing was swept. If it is gone for good, say so: `stillpoint backup delete`.',
      });
    }
    for (const key of objectsOf(manifest).keys()) named.add(key);
    if (manifest.previous !== undefined) seen.add(manifest.previous);
  }
  return named;
}

async function deleteListed(
  store: StoreBackups,
  { sweepId, keys }: CondemnedList,
  named: ReadonlySet<string>,
  mayGoOn: () => boolean,
): Promise<number> {
  const { destination, storeId } = store;
  const unnamed = [...keys].filter((key) => !named.has(key));
  for (let at = 0; at < unnamed.length; at += DELETED_AT_ONCE) {
    if (!mayGoOn()) return at; // the next sweep goes on
    await destination.delete(unnamed.slice(at, at + DELETED_AT_ONCE));
  }
  await mapConcurrent(unnamed, QUESTIONS_AT_ONCE, async (key) => {
    if ((await destination.head(key)) === undefined) return;
    throw new StillpointError('IO_ERROR', `${key} was deleted and is still there`, { path: key });
  });
  await destination.delete(unnamed.map((key) => damagedKey(storeId, key)));
  await destination.put(sweepKey(storeId, sweepId, 'done'), bodyOf(Buffer.from('\n')), {
    ifAbsent: true,
    makesRoom: true,
  });
  return unnamed.length;
}

/** The list goes before what says when it was done. */
async function forget({ destination, storeId }: StoreBackups, sweepId: string): Promise<void> {
  for (const step of ['list', ...SWEEP_STEPS] as const)
    await destination.delete([sweepKey(storeId, sweepId, step)]);
}

const notThere = (key: string) =>
  new StillpointError('DESTINATION_UNREACHABLE', `${key} was put and is not there`, { path: key });
