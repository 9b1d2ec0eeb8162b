import type { Destination } from '../destination/destination.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from '../snapshot/environment.ts';
import { readIdentity, type Unlocked, unlockRepository } from './identity.ts';
import {
  type KeyDocument,
  type KeySlot,
  makeSlot,
  readKeys,
  removeOlderKeys,
  writeKeys,
} from './sealing/key-documents.ts';
import type { Unlockers, Wrapper } from './sealing/key-slots.ts';
import { unwrap } from './sealing/key-slots.ts';

/**
 * Changes who can open a repository. Each change is a new document with all keys, which is durable before the older ones go. None
 * of them revokes anything of who has read the keys already.
 */

export interface ChangedKeys {
  readonly document: KeyDocument;
  readonly warnings: readonly string[];
}

/** Who can open a repository: this is no secret. `REPOSITORY_NOT_ENCRYPTED`. */
export async function showKeys(destination: Destination): Promise<KeyDocument> {
  const identity = await readIdentity(destination);
  if (identity.encryption === undefined) throw notEncrypted(destination);
  return readKeys(destination, identity.repository_id);
}

/** Lets one more open it. */
export async function addKeys(
  env: Environment,
  destination: Destination,
  unlockers: Unlockers | undefined,
  wrappers: readonly Wrapper[],
): Promise<ChangedKeys> {
  const unlocked = await unlocking(destination, unlockers);
  const { document, keyring } = unlocked;
  const slots = [...document.slots];
  for (const wrapper of wrappers) {
    if (wrapper.kind === 'recipient' && slots.some(({ recipient }) => recipient === wrapper.recipient)) {
      throw new StillpointError(
        'CONFLICT',
        `${wrapper.recipient} is a recipient of this repository already`,
        {
          hint: '`stillpoint repo keys list DEST` shows who can open it.',
        },
      );
    }
    const slot = Math.max(...slots.map(({ slot }) => slot)) + 1;
    slots.push(await makeSlot(keyring, wrapper, slot, env.clock.nowMs()));
  }
  return replaceKeys(env, destination, unlocked, slots);
}

/** `CONFLICT` where the key at hand opens no other slot: whoever removes a slot has shown that there is another way in. */
export async function removeKey(
  env: Environment,
  destination: Destination,
  unlockers: Unlockers | undefined,
  slot: number,
): Promise<ChangedKeys> {
  const unlocked = await unlocking(destination, unlockers);
  const { slots } = unlocked.document;
  const left = slots.filter((other) => other.slot !== slot);
  if (left.length === slots.length) {
    throw new StillpointError('NOT_FOUND', `there is no slot ${slot}`, {
      hint: '`stillpoint repo keys list DEST` shows the slots.',
    });
  }
  for (const other of left) {
    if ((await unwrap(other, unlockers!)) !== undefined) return replaceKeys(env, destination, unlocked, left);
  }
  throw new StillpointError('CONFLICT', `slot ${slot} is the only one that this key opens`, {
    hint: 'Name the key of a slot that stays: that shows that somebody can still open the repository.',
  });
}

/**
 * Begins a new data key: what is stored from now on is sealed with it. All slots are wrapped anew, so each passphrase and key file
 * among them must be at hand: `CONFLICT` where one is not.
 */
export async function rotateKeys(
  env: Environment,
  destination: Destination,
  unlockers: Unlockers | undefined,
): Promise<ChangedKeys> {
  const unlocked = await unlocking(destination, unlockers);
  const keyring = unlocked.keyring.rotated();
  const slots: KeySlot[] = [];
  for (const slot of unlocked.document.slots) {
    const wrapper = await wrapperOf(slot, unlockers!);
    slots.push(await makeSlot(keyring, wrapper, slot.slot, slot.added_at_ms));
  }
  return replaceKeys(env, destination, { ...unlocked, keyring }, slots);
}

async function wrapperOf(slot: KeySlot, { passphrases, keyFiles }: Unlockers): Promise<Wrapper> {
  const { kind, recipient = '' } = slot;
  if (kind === 'recipient') return { kind, recipient };
  const only = (part: Partial<Unlockers>): Unlockers => ({
    identities: [],
    passphrases: [],
    keyFiles: [],
    ...part,
  });
  for (const passphrase of kind === 'passphrase' ? passphrases : []) {
    if ((await unwrap(slot, only({ passphrases: [passphrase] }))) !== undefined)
      return { kind: 'passphrase', passphrase };
  }
  for (const key of kind === 'key-file' ? keyFiles : []) {
    if ((await unwrap(slot, only({ keyFiles: [key] }))) !== undefined) return { kind: 'key-file', key };
  }
  const what = kind === 'passphrase' ? 'passphrase' : 'key file';
  throw new StillpointError(
    'CONFLICT',
    `the new key cannot be wrapped for slot ${slot.slot}: its ${what} is not at hand`,
    {
      hint: `Name it, too (\`--${what.replace(' ', '-')}\`), or remove that slot first: \`stillpoint repo keys remove DEST ${slot.slot}\`.`,
    },
  );
}

async function unlocking(destination: Destination, unlockers: Unlockers | undefined): Promise<Unlocked> {
  const unlocked = await unlockRepository(destination, await readIdentity(destination), unlockers);
  if (unlocked === undefined) throw notEncrypted(destination);
  return unlocked;
}

async function replaceKeys(
  { clock }: Environment,
  destination: Destination,
  { document: { revision }, keyring }: Unlocked,
  slots: readonly KeySlot[],
): Promise<ChangedKeys> {
  const document = await writeKeys(destination, clock, keyring, revision + 1, slots);
  const warning = await removeOlderKeys(destination, document);
  return { document, warnings: warning === undefined ? [] : [warning] };
}

const notEncrypted = (destination: Destination): StillpointError =>
  new StillpointError('REPOSITORY_NOT_ENCRYPTED', `the repository in ${destination.url} is not encrypted`, {
    hint: 'Encryption is chosen when a repository is made: `stillpoint repo init`.',
  });
