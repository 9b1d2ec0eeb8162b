import { createCipheriv, createDecipheriv, createHash, randomBytes, scrypt } from 'node:crypto';
import type { Identity, Recipient } from 'age-encryption';

/**
 * The passphrase stanza of age (https://age-encryption.org/v1, "scrypt recipient stanza"). The library has one of its own, which
 * holds up the event loop for seconds. Here scrypt runs in a thread of Node's.
 */

/** 128 MiB, and well under a second. */
const LOG_N = 17;
/** 256 MiB: more is refused, since the number comes from the repository. */
const LOG_N_LIMIT = 18;
const LABEL = 'age-encryption.org/v1/scrypt';
const TAG_BYTES = 16;

type StanzaClass = typeof import('age-encryption').Stanza;

export function scryptRecipient(Stanza: StanzaClass, passphrase: string): Recipient {
  return {
    async wrapFileKey(fileKey) {
      const salt = randomBytes(16);
      const cipher = createCipheriv(
        'chacha20-poly1305',
        await keyOf(passphrase, salt, LOG_N),
        NONCE,
        OPTIONS,
      );
      const body = Buffer.concat([cipher.update(fileKey), cipher.final(), cipher.getAuthTag()]);
      const text = salt.toString('base64').replace(/=+$/, '');
      return [new Stanza(['scrypt', text, String(LOG_N)], new Uint8Array(body))];
    },
  };
}

export function scryptIdentity(passphrase: string): Identity {
  return {
    async unwrapFileKey(stanzas) {
      const [stanza] = stanzas;
      const [kind, saltText = '', logText = ''] = stanza?.args ?? [];
      const salt = Buffer.from(saltText, 'base64');
      const isOurs = stanzas.length === 1 && kind === 'scrypt' && salt.byteLength === 16;
      if (!isOurs || !/^[1-9]\d?$/.test(logText) || Number(logText) > LOG_N_LIMIT) return null;
      const key = await rememberedKeyOf(passphrase, salt, Number(logText));
      const decipher = createDecipheriv('chacha20-poly1305', key, NONCE, OPTIONS);
      const { body } = stanza!;
      if (body.byteLength !== 16 + TAG_BYTES) return null;
      decipher.setAuthTag(body.subarray(16));
      const fileKey = decipher.update(body.subarray(0, 16));
      try {
        decipher.final();
      } catch {
        return null; // another passphrase
      }
      return new Uint8Array(fileKey);
    },
  };
}

/** Keys that were derived last, by what they come from. A page that looks at a repository every few seconds derives them once. */
const remembered = new Map<string, Promise<Buffer>>();
const MOST_REMEMBERED = 16;

function rememberedKeyOf(passphrase: string, salt: Buffer, logN: number): Promise<Buffer> {
  const from = createHash('sha256')
    .update(JSON.stringify([passphrase, salt.toString('hex'), logN]))
    .digest('hex');
  const known = remembered.get(from);
  if (known !== undefined) return known;
  const key = keyOf(passphrase, salt, logN);
  remembered.set(from, key);
  key.catch(() => remembered.delete(from));
  for (const oldest of remembered.keys()) {
    if (remembered.size <= MOST_REMEMBERED) break;
    remembered.delete(oldest);
  }
  return key;
}

/** Each key is used once. */
const NONCE = Buffer.alloc(12);
const OPTIONS = { authTagLength: TAG_BYTES };

const keyOf = (passphrase: string, salt: Buffer, logN: number): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const N = 2 ** logN;
    const options = { N, r: 8, p: 1, maxmem: 256 * 8 * N };
    scrypt(passphrase, Buffer.concat([Buffer.from(LABEL), salt]), 32, options, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
