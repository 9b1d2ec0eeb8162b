import { bodyOf } from '../destination/destination.ts';
import { mapConcurrent } from '../env/concurrency.ts';
import { damagedKey, damagedObjectOf, damagedPrefix } from './layout.ts';
import type { StoreBackups } from './store-backups.ts';

/**
 * Objects that were read and found damaged. Each has a marker in the repository, so that the next backup, from whatever machine,
 * uploads its data again. A marker is never removed: a medium that failed once may read well now and fail later.
 */

const PUTS_AT_ONCE = 4;

/** All objects of the store that were found damaged: when that was found first, by the clock of the destination, by their keys. */
export async function readDamaged({ destination, storeId }: StoreBackups): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for await (const { key, modifiedAtMs } of destination.list(damagedPrefix(storeId))) {
    const object = damagedObjectOf(storeId, key);
    if (object !== undefined) found.set(object, modifiedAtMs);
  }
  return found;
}

/** Puts damage on record: why, by the key of the object. Rejects when the destination cannot be written. */
export async function recordDamaged(
  { destination, environment, storeId }: StoreBackups,
  damaged: ReadonlyMap<string, string>,
): Promise<void> {
  await mapConcurrent([...damaged], PUTS_AT_ONCE, async ([object, message]) => {
    const marker = { object, message, found_at_ms: environment.clock.nowMs() };
    const body = bodyOf(Buffer.from(`${JSON.stringify(marker)}\n`));
    await destination.put(damagedKey(storeId, object), body, { ifAbsent: true });
  });
}
