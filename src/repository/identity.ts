import * as z from 'zod';
import type { Destination } from '../destination/destination.ts';
import { isUlid } from '../env/ulid.ts';
import { StillpointError } from '../errors.ts';
import { REPOSITORY_KEY } from './layout.ts';
import { type KeyDocument, readKeys, unlock } from './sealing/key-documents.ts';
import type { Unlockers } from './sealing/key-slots.ts';
import type { Keyring } from './sealing/keyring.ts';
import { readJson } from './small-json.ts';

const ulid = z.string().refine(isUlid, 'is no ULID');

const repositorySchema = z.strictObject({
  format: z.literal('stillpoint-repository'),
  version: z.literal(1),
  repository_id: ulid,
  created_at_ms: z.number().int().min(0),
  /** Absent where nothing is encrypted. */
  encryption: z
    .strictObject({ cipher: z.literal('AES-256-GCM'), fingerprint: z.string().regex(/^[0-9a-f]{64}$/) })
    .optional(),
});

export type RepositoryIdentity = z.infer<typeof repositorySchema>;

/** `DESTINATION_NOT_FOUND` when there is no repository, `REPOSITORY_INVALID` when it cannot be read. */
export async function readIdentity(destination: Destination): Promise<RepositoryIdentity> {
  const identity = await readJson(destination, REPOSITORY_KEY, repositorySchema);
  if (identity !== undefined) return identity;
  throw new StillpointError('DESTINATION_NOT_FOUND', `there is no repository in ${destination.url}`, {
    hint: 'Check that its disk is mounted. To make one: `stillpoint repo init DEST`.',
  });
}

export interface Unlocked {
  readonly document: KeyDocument;
  readonly keyring: Keyring;
  /** The slot that the keys came from. */
  readonly slot: number;
}

/** Undefined where the repository is not encrypted. A key for one in clear is refused: it is not the one that was meant. */
export async function unlockRepository(
  destination: Destination,
  { repository_id, encryption }: RepositoryIdentity,
  unlockers: Unlockers | undefined,
): Promise<Unlocked | undefined> {
  if (encryption === undefined && unlockers === undefined) return undefined;
  if (encryption === undefined) {
    throw new StillpointError(
      'REPOSITORY_NOT_ENCRYPTED',
      `a key was given, and the repository in ${destination.url} is not encrypted`,
    );
  }
  if (unlockers === undefined) {
    throw new StillpointError('REPOSITORY_KEY_REQUIRED', `the repository in ${destination.url} is encrypted`);
  }
  const document = await readKeys(destination, repository_id);
  return { document, ...(await unlock(document, encryption.fingerprint, unlockers)) };
}
