import { dirname, resolve } from 'node:path';
import * as z from 'zod/mini';
import type { FileSystem } from '../env/file-system.ts';
import { createFile, realPlace } from '../env/io.ts';
import { randomHex } from '../env/random.ts';
import { isSecretName, readKeyFile, readSecret, refuseShared } from '../env/secrets.ts';
import { StillpointError, systemCode } from '../errors.ts';
import { OptionSet, type OptionsOf, optional } from '../options/option.ts';
import { path } from '../options/values.ts';
import { checkRecipient, type Unlockers, type Wrapper } from '../repository/sealing/key-slots.ts';

const secretName = () =>
  z
    .string('must be `env:NAME` or `file:/path`')
    .check(z.refine(isSecretName, 'must be `env:NAME` or `file:/path`: a passphrase is named, not given'));

const recipients = () =>
  z.readonly(
    z.array(
      z
        .string('must be an array of recipients, as `age1…`')
        .check(z.regex(/^age1[0-9a-z]+$/, 'must be as `age1…`')),
    ),
  );

/** What opens an encrypted repository. */
export const encryptionOptions = new OptionSet(() => ({
  identity: optional(path(), {
    description: 'A file with identities of age (`AGE-SECRET-KEY-1…`), as `age-keygen` writes it.',
    flag: { value: 'file', description: 'opens an encrypted repository: a file with identities of age' },
  }),
  passphrase: optional(secretName(), {
    description: 'The name of its passphrase: `env:NAME`, or `file:/path` for the content of a file.',
    flag: { value: 'name', description: 'the same: its passphrase, as env:NAME or file:/path' },
  }),
  keyFile: optional(path(), {
    description: 'A key file with 64 hexadecimal digits and mode 0600, as `repo init` makes it.',
    flag: { value: 'file', description: 'the same: its key file' },
  }),
}));
export type EncryptionOptions = OptionsOf<typeof encryptionOptions>;

const wrapperFields = (prefix: '' | 'add-') => ({
  recipients: optional(recipients(), {
    description: 'Encrypts for these public keys of age (`age1…`).',
    flag: {
      name: 'recipient',
      value: 'age1…',
      description: 'encrypt for this public key of age; may be repeated',
    },
  }),
  passphrase: optional(secretName(), {
    description: 'Encrypts with a passphrase: `env:NAME`, or `file:/path` for the content of a file.',
    flag: {
      name: `${prefix}passphrase`,
      value: 'name',
      description: 'encrypt with a passphrase: env:NAME or file:/path',
    },
  }),
  keyFile: optional(path(), {
    description: 'Encrypts with a key file, which is made if it is missing.',
    flag: {
      name: `${prefix}key-file`,
      value: 'file',
      description: 'encrypt with a key file, which is made if it is missing',
    },
  }),
});

/** Who may open a repository that is made. */
export const wrapperOptions = new OptionSet(() => wrapperFields(''));
/** The same where the flags that open the repository stand beside. */
export const addedWrapperOptions = new OptionSet(() => wrapperFields('add-'));
export type WrapperOptions = OptionsOf<typeof wrapperOptions>;

/** Somebody who passes these options wants encryption: where all of them are empty, a setting of his got lost. */
const nothingNamed = (): StillpointError =>
  new StillpointError('REPOSITORY_KEY_INVALID', '`encryption` was given, and it names no key', {
    hint: 'Check where the setting comes from: a variable that is not set, perhaps.',
  });

/** Undefined without options. `REPOSITORY_KEY_INVALID` says which one cannot be used, and why. */
export async function readUnlockers(
  fs: FileSystem,
  options: EncryptionOptions | undefined,
): Promise<Unlockers | undefined> {
  if (options === undefined) return undefined;
  const { identity, passphrase, keyFile } = options;
  if (identity === undefined && passphrase === undefined && keyFile === undefined) throw nothingNamed();
  return {
    identities: identity === undefined ? [] : await readIdentities(fs, identity),
    passphrases: passphrase === undefined ? [] : [await readSecret(fs, passphrase)],
    keyFiles: keyFile === undefined ? [] : [await readKey(fs, keyFile)],
  };
}

async function readIdentities(fs: FileSystem, file: string): Promise<string[]> {
  const lines = (await readKeyFile(fs, file)).toString().split(/\r?\n/);
  const identities = lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
  const isIdentity = (line: string) => /^AGE-SECRET-KEY-1[0-9A-Z]+$/.test(line);
  if (identities.length > 0 && identities.every(isIdentity)) return identities;
  throw new StillpointError('REPOSITORY_KEY_INVALID', `${file} holds no identity of age`, {
    path: file,
    hint: 'An identity begins with `AGE-SECRET-KEY-1`; `age-keygen` makes one. Decrypt the file first if it is encrypted itself.',
  });
}

async function readKey(fs: FileSystem, file: string): Promise<Uint8Array> {
  const text = (await readKeyFile(fs, file)).toString().trim();
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new StillpointError('REPOSITORY_KEY_INVALID', `${file} is no key file`, {
      path: file,
      hint: 'A key file has 64 hexadecimal digits. `stillpoint repo init DEST --key-file FILE` makes one.',
    });
  }
  await refuseShared(fs, file);
  return Buffer.from(text, 'hex');
}

export async function readWrappers(fs: FileSystem, options: WrapperOptions): Promise<Wrapper[]> {
  const { recipients = [], passphrase, keyFile } = options;
  const wrappers: Wrapper[] = [];
  if (recipients.length === 0 && passphrase === undefined && keyFile === undefined) throw nothingNamed();
  for (const recipient of new Set(recipients)) {
    await checkRecipient(recipient);
    wrappers.push({ kind: 'recipient', recipient });
  }
  if (passphrase !== undefined)
    wrappers.push({ kind: 'passphrase', passphrase: await readSecret(fs, passphrase) });
  if (keyFile !== undefined) {
    await makeKeyFile(fs, keyFile);
    wrappers.push({ kind: 'key-file', key: await readKey(fs, keyFile) });
  }
  return wrappers;
}

/** Durable before anything is encrypted with it. One that exists stays as it is. */
async function makeKeyFile(fs: FileSystem, file: string): Promise<void> {
  const place = await realPlace(fs, resolve(file));
  try {
    await createFile(fs, place, Buffer.from(`${randomHex(32)}\n`));
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return;
    throw error;
  }
  await fs.syncFolder(dirname(place));
}
