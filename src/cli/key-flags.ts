import type { Command, Option } from 'commander';
import { type EncryptionOptions, encryptionOptions } from '../backup/encryption.ts';
import { Flags, type Given } from './flags.ts';

const flags = new Flags(encryptionOptions.fields, ['identity', 'passphrase', 'keyFile']);

const from = (variable: string) => (option: Option) => {
  option.env(variable);
};

/** The flags that open an encrypted repository. Each has a variable of the environment, too. */
export function addKeyFlags(command: Command): void {
  flags.addTo(command, '', {
    identity: from('STILLPOINT_IDENTITY'),
    passphrase: from('STILLPOINT_PASSPHRASE'),
    keyFile: from('STILLPOINT_KEY_FILE'),
  });
}

/** What the flags name; nothing where none is given. */
export function keyOf(given: Given): { readonly encryption?: EncryptionOptions } {
  const encryption = flags.read(given);
  return Object.keys(encryption).length === 0 ? {} : { encryption };
}
