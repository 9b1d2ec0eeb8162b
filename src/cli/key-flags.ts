import type { Command } from 'commander';
import { type EncryptionOptions, encryptionOptions } from '../backup/encryption.ts';
import { Flags, fromVariable, type Given } from './flags.ts';

const flags = new Flags(encryptionOptions.fields, ['identity', 'passphrase', 'keyFile']);

/** The flags that open an encrypted repository. Each has a variable of the environment, too. */
export function addKeyFlags(command: Command): void {
  flags.addTo(command, '', {
    identity: fromVariable,
    passphrase: fromVariable,
    keyFile: fromVariable,
  });
}

/** What the flags name; nothing where none is given. */
export function keyOf(given: Given): { readonly encryption?: EncryptionOptions } {
  const encryption = flags.read(given);
  return Object.keys(encryption).length === 0 ? {} : { encryption };
}
