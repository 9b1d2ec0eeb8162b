import type { Body } from '../destination/destination.ts';
import { StillpointError } from '../errors.ts';
import type { StoreBackups } from './store-backups.ts';

/** Objects as a store keeps them: as they are, or sealed where the repository is encrypted. */

/** A body as it is stored under this key. */
export const storedBody = ({ sealer }: StoreBackups, key: string, body: Body): Body =>
  sealer === undefined ? body : sealer.sealBody({ key }, body);

export interface ObjectRange {
  readonly key: string;
  /** Of the whole object. */
  readonly contentBytes: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * The content of an object, or a part of it, in chunks; undefined when it is missing. Rejects, also while it is read, with
 * `BACKUP_DAMAGED` and the key as its path when it is not what was sealed.
 */
export async function readObject(
  { destination, sealer }: StoreBackups,
  { key, contentBytes, offset, length }: ObjectRange,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array> | undefined> {
  const range = { offset, length };
  if (sealer === undefined) return destination.get(key, { range, signal });
  return sealer.openStream({ key }, contentBytes, range, (range) => destination.get(key, { range, signal }));
}

/** What an error says to be wrong with this object; undefined when it says something else. */
export function damageIn(error: unknown, key: string): string | undefined {
  const isDamage = error instanceof StillpointError && error.code === 'BACKUP_DAMAGED' && error.path === key;
  return isDamage ? error.message.slice(key.length + 1) : undefined;
}
