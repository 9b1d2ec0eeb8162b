import type * as z from 'zod';
import { type Destination, getSmall } from '../destination/destination.ts';
import { decodeJson } from '../env/durable-json.ts';
import { StillpointError } from '../errors.ts';

const LIMIT_BYTES = 64 * 1024;

/** A small JSON object; `REPOSITORY_INVALID` when it does not read, undefined when there is none. */
export async function readJson<T>(
  destination: Destination,
  key: string,
  schema: z.ZodType<T>,
): Promise<T | undefined> {
  const bytes = await getSmall(destination, key, LIMIT_BYTES);
  if (bytes === undefined) return undefined;
  return decodeJson(bytes.toString(), schema, (why, cause) => {
    return new StillpointError('REPOSITORY_INVALID', `${key}: ${why}`, { path: key, cause });
  });
}
