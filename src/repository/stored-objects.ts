import type { Body } from '../destination/destination.ts';
import { ByteStream } from '../env/byte-stream.ts';
import { StillpointError } from '../errors.ts';
import { expanded } from './compressed-objects.ts';
import type { StoreBackups } from './store-backups.ts';

/** Objects as a store keeps them: as they are or compressed, and then sealed where the repository is encrypted. */

/** A body as it is stored under this key. */
export const storedBody = ({ sealer }: StoreBackups, key: string, body: Body): Body =>
  sealer === undefined ? body : sealer.sealBody({ key }, body);

export interface ObjectRange {
  readonly key: string;
  /** Of the whole object. */
  readonly contentBytes: number;
  /** Of the whole object, before it was sealed; undefined where it is not compressed. */
  readonly compressedBytes: number | undefined;
  readonly offset: number;
  readonly length: number;
}

/**
 * The content of an object, or a part of it, in chunks; undefined when it is missing. Rejects, also while it is read, with
 * `BACKUP_DAMAGED` and the key as its path when it is not what was stored.
 */
export async function readObject(
  { destination, sealer }: StoreBackups,
  { key, contentBytes, compressedBytes, offset, length }: ObjectRange,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array> | undefined> {
  const read = async (bytes: number, range: { readonly offset: number; readonly length: number }) =>
    sealer === undefined
      ? destination.get(key, { range, signal })
      : sealer.openStream({ key }, bytes, range, (range) => destination.get(key, { range, signal }));
  if (compressedBytes === undefined) return read(contentBytes, { offset, length });
  // Compressed bytes are read from their beginning: nobody knows where a later frame begins.
  const whole = { offset: 0, length: compressedBytes };
  const stored = await read(compressedBytes, whole);
  return stored && within(expanded(key, contentBytes, stored), offset, length, contentBytes);
}

/** A part of the content; of its last part all is read, since only that shows that nothing follows. */
async function* within(
  content: AsyncIterable<Uint8Array>,
  offset: number,
  length: number,
  contentBytes: number,
): AsyncGenerator<Uint8Array> {
  const stream = new ByteStream(content);
  try {
    for (let position = 0; position < offset + length; ) {
      const inFront = position < offset;
      const chunk = await stream.next(inFront ? offset - position : offset + length - position);
      if (chunk === undefined) return;
      position += chunk.byteLength;
      if (position === contentBytes) await stream.next(1);
      if (!inFront) yield chunk;
    }
  } finally {
    await stream.close();
  }
}

/** What an error says to be wrong with this object; undefined when it says something else. */
export function damageIn(error: unknown, key: string): string | undefined {
  const isDamage = error instanceof StillpointError && error.code === 'BACKUP_DAMAGED' && error.path === key;
  return isDamage ? error.message.slice(key.length + 1) : undefined;
}
