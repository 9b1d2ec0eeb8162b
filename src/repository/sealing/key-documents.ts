import * as z from 'zod';
import { bodyOf, type Destination } from '../../destination/destination.ts';
import type { Clock } from '../../env/clock.ts';
import { isUlid } from '../../env/ulid.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import { keysKey, keysPrefix, keysRevisionOf } from '../layout.ts';
import { readJson } from '../small-json.ts';
import { type Unlockers, unwrap, type Wrapper, wrap } from './key-slots.ts';
import { Keyring } from './keyring.ts';

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

const slotSchema = z.strictObject({
  slot: count.min(1),
  kind: z.enum(['recipient', 'passphrase', 'key-file']),
  /** Whom it is for, as `age1…`. */
  recipient: z.string().max(4096).optional(),
  added_at_ms: count,
  wrapped: z.string().max(64 * 1024),
});

const schema = z.strictObject({
  format: z.literal('stillpoint-keys'),
  version: z.literal(1),
  repository_id: z.string().refine(isUlid, 'is no ULID'),
  revision: count.min(1),
  /** Of the data keys that are wrapped. */
  generations: z.array(count.min(1)).min(1).max(10_000),
  created_at_ms: count,
  slots: z.array(slotSchema).min(1).max(100),
});

/** One way to the secrets. */
export type KeySlot = z.infer<typeof slotSchema>;

/** The secrets of a repository, wrapped for everyone who may open it. Each change is a new document; the newest counts. */
export type KeyDocument = z.infer<typeof schema>;

/** `REPOSITORY_INVALID` where there is none, or the newest does not read. */
export async function readKeys(destination: Destination, repositoryId: string): Promise<KeyDocument> {
  let newest = (await revisions(destination, repositoryId)).at(-1);
  let document: KeyDocument | undefined;
  for (let last: number | undefined; newest !== undefined && newest !== last; ) {
    document = await readJson(destination, keysKey(repositoryId, newest), schema);
    if (document !== undefined) break;
    // Somebody who changed the keys since it was listed has removed it, and put a newer one first.
    last = newest;
    newest = (await revisions(destination, repositoryId)).at(-1);
  }
  const key = keysKey(repositoryId, newest ?? 1);
  if (document === undefined) throw invalid(key, 'is missing: nobody can open this repository without it');
  if (document.repository_id !== repositoryId)
    throw invalid(key, `is of repository ${document.repository_id}`);
  if (document.revision !== newest) throw invalid(key, `says that it is revision ${document.revision}`);
  return document;
}

async function revisions(destination: Destination, repositoryId: string): Promise<number[]> {
  const found: number[] = [];
  for await (const { key } of destination.list(keysPrefix(repositoryId))) {
    const revision = keysRevisionOf(repositoryId, key);
    if (revision !== undefined) found.push(revision);
  }
  return found.sort((a, b) => a - b);
}

/** The secrets, and the slot that they came from. `REPOSITORY_KEY_WRONG` when none of the unlockers fits. */
export async function unlock(
  document: KeyDocument,
  fingerprint: string,
  unlockers: Unlockers,
): Promise<{ readonly keyring: Keyring; readonly slot: number }> {
  for (const slot of document.slots) {
    const secret = await unwrap(slot, unlockers);
    if (secret === undefined) continue;
    const key = keysKey(document.repository_id, document.revision);
    const keyring = Keyring.decode(secret, (why, cause) => invalid(key, `slot ${slot.slot} ${why}`, cause));
    if (keyring.repositoryId !== document.repository_id || keyring.fingerprint !== fingerprint)
      throw invalid(key, `slot ${slot.slot} holds the keys of another repository`);
    return { keyring, slot: slot.slot };
  }
  const kinds = [...new Set(document.slots.map(({ kind }) => KINDS[kind]))].join(', or ');
  throw new StillpointError('REPOSITORY_KEY_WRONG', 'the key that was given does not open this repository', {
    hint: `It is opened with ${kinds}. \`stillpoint repo keys list DEST\` shows for whom. If the key is right, ${keysKey(document.repository_id, document.revision)} is damaged: bring that object back from a copy of the repository.`,
  });
}

const KINDS = {
  recipient: 'the identity of one of its recipients (`--identity`)',
  passphrase: 'its passphrase (`--passphrase`)',
  'key-file': 'its key file (`--key-file`)',
} as const;

/** The secrets wrapped for one more. */
export async function makeSlot(
  keyring: Keyring,
  wrapper: Wrapper,
  slot: number,
  addedAtMs: number,
): Promise<KeySlot> {
  return {
    slot,
    kind: wrapper.kind,
    ...(wrapper.kind === 'recipient' && { recipient: wrapper.recipient }),
    added_at_ms: addedAtMs,
    wrapped: await wrap(wrapper, keyring.encode()),
  };
}

/**
 * Puts a document: it is durable, was read back and is the newest when this resolves. `CONFLICT` when another process put one meanwhile.
 */
export async function writeKeys(
  destination: Destination,
  clock: Clock,
  keyring: Keyring,
  revision: number,
  slots: readonly KeySlot[],
): Promise<KeyDocument> {
  const key = keysKey(keyring.repositoryId, revision);
  const document: KeyDocument = {
    format: 'stillpoint-keys',
    version: 1,
    repository_id: keyring.repositoryId,
    revision,
    generations: keyring.generations,
    created_at_ms: clock.nowMs(),
    slots: [...slots],
  };
  const text = `${JSON.stringify(document, undefined, 1)}\n`;
  await destination.put(key, bodyOf(Buffer.from(text)), { ifAbsent: true });
  const stands = await readJson(destination, key, schema);
  const isOurs = JSON.stringify(stands) === JSON.stringify(document);
  const isNewest = (await revisions(destination, keyring.repositoryId)).at(-1) === revision;
  if (isOurs && isNewest) return document;
  // Others may have gone on from the same document so far that this number was free again: then ours counts for nobody.
  if (isOurs) await destination.delete([key]);
  throw new StillpointError('CONFLICT', `somebody else changes the keys of this repository: ${key}`, {
    path: key,
    hint: '`stillpoint repo keys list DEST` shows who can open it now. If your change is not there, make it again.',
  });
}

/**
 * Removes what came before this document: it opens the repository for those who were taken off the list. Resolves to what keeps it
 * from being removed, where something does.
 */
export async function removeOlderKeys(
  destination: Destination,
  { repository_id, revision }: KeyDocument,
): Promise<string | undefined> {
  try {
    const older = (await revisions(destination, repository_id)).filter((found) => found < revision);
    await destination.delete(older.map((found) => keysKey(repository_id, found)));
    return undefined;
  } catch (error) {
    return `older documents in ${keysPrefix(repository_id)} could not be removed: ${toStillpointError(error).message}`;
  }
}

const invalid = (key: string, what: string, cause?: unknown): StillpointError =>
  new StillpointError('REPOSITORY_INVALID', `${key} ${what}`, { path: key, cause });
