import * as z from 'zod';
import { bodyOf, type Destination } from '../destination/destination.ts';
import { decodeJson, type Refuse } from '../env/durable-json.ts';
import { isUlid } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import { storeKey } from './layout.ts';
import type { Sealer } from './sealing/sealer.ts';
import { readJson } from './small-json.ts';

const base = {
  format: z.literal('stillpoint-store'),
  version: z.literal(1),
  store_id: z.string().refine(isUlid, 'is no ULID'),
};

const about = {
  engine: z.string().min(1).max(50),
  /** The last part of the data directory's path when the store was first seen. */
  name: z.string().max(255),
  first_seen_at_ms: z.number().int().min(0),
};

const aboutSchema = z.strictObject(about);
const clearSchema = z.strictObject({ ...base, ...about });
/** A name tells something: where the repository is encrypted, so is this. */
const sealedSchema = z.strictObject({ ...base, sealed: z.base64() });

export type StoreIdentity = z.infer<typeof clearSchema>;

/** Undefined before the first backup. `REPOSITORY_INVALID` when it cannot be trusted, or is that of another store. */
export async function readStoreDocument(
  destination: Destination,
  storeId: string,
  sealer: Sealer | undefined,
): Promise<StoreIdentity | undefined> {
  const key = storeKey(storeId);
  const refuse: Refuse = (why, cause) =>
    new StillpointError('REPOSITORY_INVALID', `${key} ${why}`, { path: key, cause });
  try {
    return await readTrusted(destination, storeId, sealer, refuse);
  } catch (error) {
    if (!(error instanceof StillpointError) || error.code !== 'REPOSITORY_INVALID') throw error;
    throw new StillpointError(error.code, error.message, {
      path: key,
      cause: error,
      hint: 'It holds the name of the database and its engine, and no restore needs it. Remove it: the next backup writes it anew.',
    });
  }
}

async function readTrusted(
  destination: Destination,
  storeId: string,
  sealer: Sealer | undefined,
  refuse: Refuse,
): Promise<StoreIdentity | undefined> {
  const key = storeKey(storeId);
  const found =
    sealer === undefined
      ? await readJson(destination, key, clearSchema)
      : opened(await readJson(destination, key, sealedSchema), key, sealer, refuse);
  if (found === undefined || found.store_id === storeId) return found;
  throw refuse(`is of another store, ${found.store_id}`);
}

function opened(
  document: z.infer<typeof sealedSchema> | undefined,
  key: string,
  sealer: Sealer,
  refuse: Refuse,
): StoreIdentity | undefined {
  if (document === undefined) return undefined;
  const { sealed, ...rest } = document;
  let text: string;
  try {
    text = sealer.open({ key }, Buffer.from(sealed, 'base64')).toString();
  } catch (error) {
    if (!(error instanceof StillpointError) || error.code !== 'BACKUP_DAMAGED') throw error;
    throw refuse(error.message.slice(key.length + 1), error);
  }
  return { ...rest, ...decodeJson(text, aboutSchema, refuse) };
}

/** The document that stands afterwards: another process may have put one. */
export async function createStoreDocument(
  destination: Destination,
  identity: StoreIdentity,
  sealer: Sealer | undefined,
): Promise<StoreIdentity> {
  const { format, version, store_id, ...rest } = identity;
  const key = storeKey(store_id);
  const document =
    sealer === undefined
      ? identity
      : {
          format,
          version,
          store_id,
          sealed: sealer.seal({ key }, Buffer.from(JSON.stringify(rest))).toString('base64'),
        };
  const body = bodyOf(Buffer.from(`${JSON.stringify(document)}\n`));
  const answer = await destination.put(key, body, { ifAbsent: true });
  const stands = answer === 'written' ? identity : await readStoreDocument(destination, store_id, sealer);
  if (stands !== undefined) return stands;
  throw new StillpointError('REPOSITORY_INVALID', `${key} exists and cannot be read`, { path: key });
}
