import { hkdfSync, randomBytes } from 'node:crypto';
import { StillpointError } from '../../errors.ts';
import { scryptIdentity, scryptRecipient } from './scrypt-stanza.ts';
import { ChunkCipher, decodeHeader, encodeHeader, HEADER_BYTES, SALT_BYTES } from './seal.ts';

/** What opens a repository: any of them will do. */
export interface Unlockers {
  /** Secret keys of age: `AGE-SECRET-KEY-1…`. */
  readonly identities: readonly string[];
  readonly passphrases: readonly string[];
  /** Contents of key files: 32 bytes each. */
  readonly keyFiles: readonly Uint8Array[];
}

/** Whom secrets are wrapped for. */
export type Wrapper =
  | { readonly kind: 'recipient'; readonly recipient: string }
  | { readonly kind: 'passphrase'; readonly passphrase: string }
  | { readonly kind: 'key-file'; readonly key: Uint8Array };

export type SlotKind = Wrapper['kind'];

/** For a recipient and a passphrase an armored file of age; for a key file base64 of what was sealed with it. */
export async function wrap(wrapper: Wrapper, secret: string): Promise<string> {
  if (wrapper.kind === 'key-file') return sealWith(wrapper.key, secret);
  const { armor, Encrypter, Stanza } = await import('age-encryption');
  const encrypter = new Encrypter();
  if (wrapper.kind === 'passphrase') encrypter.addRecipient(scryptRecipient(Stanza, wrapper.passphrase));
  else addRecipient(encrypter, wrapper.recipient);
  return armor.encode(await encrypter.encrypt(secret));
}

function addRecipient(encrypter: { addRecipient(recipient: string): void }, recipient: string): void {
  try {
    encrypter.addRecipient(recipient);
  } catch (cause) {
    throw new StillpointError(
      'REPOSITORY_KEY_INVALID',
      `${JSON.stringify(recipient)} is no recipient of age`,
      {
        cause,
        hint: 'A recipient begins with `age1`; `age-keygen -y FILE` prints that of an identity.',
      },
    );
  }
}

/** Refuses what is no recipient before anything is made. */
export async function checkRecipient(recipient: string): Promise<void> {
  const { Encrypter } = await import('age-encryption');
  addRecipient(new Encrypter(), recipient);
}

/** What was wrapped; undefined where none of the unlockers fits. */
export async function unwrap(
  { kind, wrapped }: { readonly kind: SlotKind; readonly wrapped: string },
  { identities, passphrases, keyFiles }: Unlockers,
): Promise<string | undefined> {
  if (kind === 'key-file') {
    for (const key of keyFiles) {
      const secret = openWith(key, wrapped);
      if (secret !== undefined) return secret;
    }
    return undefined;
  }
  const fitting = kind === 'recipient' ? identities : passphrases;
  if (fitting.length === 0) return undefined;
  const { armor, Decrypter } = await import('age-encryption');
  for (const text of fitting) {
    const decrypter = new Decrypter();
    if (kind === 'passphrase') decrypter.addIdentity(scryptIdentity(text));
    else addIdentity(decrypter, text);
    try {
      return await decrypter.decrypt(armor.decode(wrapped), 'text');
    } catch {
      // Of another key, or damaged: the caller says that no key fits.
    }
  }
  return undefined;
}

function addIdentity(decrypter: { addIdentity(identity: string): void }, identity: string): void {
  try {
    decrypter.addIdentity(identity);
  } catch {
    // Without the cause: it could name the secret.
    throw new StillpointError('REPOSITORY_KEY_INVALID', 'an identity of age is mistyped or cut off', {
      hint: 'Bring the file back from a copy of it.',
    });
  }
}

const CONTEXT = 'stillpoint key file';

function sealWith(key: Uint8Array, secret: string): string {
  const header = { generation: 0, place: Buffer.alloc(16), salt: randomBytes(SALT_BYTES) };
  const sealed = new ChunkCipher(wrappingKey(key), header, CONTEXT).seal(0, true, [Buffer.from(secret)]);
  return Buffer.concat([encodeHeader(header), ...sealed]).toString('base64');
}

function openWith(key: Uint8Array, wrapped: string): string | undefined {
  const bytes = Buffer.from(wrapped, 'base64');
  const header = decodeHeader(bytes.subarray(0, HEADER_BYTES));
  if (header === undefined) return undefined;
  const cipher = new ChunkCipher(wrappingKey(key), header, CONTEXT);
  const content = cipher.open(0, true, bytes.subarray(HEADER_BYTES));
  return content && Buffer.concat(content).toString();
}

const wrappingKey = (key: Uint8Array): Uint8Array =>
  new Uint8Array(hkdfSync('sha256', key, '', 'stillpoint key file 1', 32));
