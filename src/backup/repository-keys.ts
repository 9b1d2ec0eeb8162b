import { checkArgument, OptionSet, type OptionsOf, optional } from '../options/option.ts';
import { nested, wholeNumber } from '../options/values.ts';
import { addKeys, type ChangedKeys, removeKey, rotateKeys, showKeys } from '../repository/change-keys.ts';
import type { KeyDocument } from '../repository/sealing/key-documents.ts';
import { environmentOption } from '../snapshot/environment.ts';
import { encryptionOptions, readUnlockers, readWrappers, wrapperOptions } from './encryption.ts';
import {
  type DestinationChoice,
  destinationChoice,
  destinationOf,
  environmentOf,
  translated,
} from './options.ts';

export const keyOptions = new OptionSet(() => ({
  environment: environmentOption(),
  encryption: optional(nested(encryptionOptions.fields), { description: 'Opens the repository.' }),
}));
export type KeyOptions = OptionsOf<typeof keyOptions>;

export interface RepositoryKeys {
  readonly repositoryId: string;
  readonly revision: number;
  /** Of the data keys; the last one seals what is new. */
  readonly generations: readonly number[];
  readonly slots: readonly KeySlotSummary[];
}

/** One way to open the repository. */
export interface KeySlotSummary {
  readonly slot: number;
  readonly kind: 'recipient' | 'passphrase' | 'key-file';
  /** Null for a passphrase and a key file. */
  readonly recipient: string | null;
  readonly addedAtMs: number;
}

export type ChangedRepositoryKeys = RepositoryKeys & { readonly warnings: readonly string[] };

/** Who can open a repository. Needs no key. `REPOSITORY_NOT_ENCRYPTED`. */
export async function listRepositoryKeys(
  destination: DestinationChoice,
  options: KeyOptions = {},
): Promise<RepositoryKeys> {
  checkArgument('listRepositoryKeys: destination', destinationChoice(), destination);
  keyOptions.check('listRepositoryKeys', options);
  return translated(async () => summarize(await showKeys(await destinationOf(destination))));
}

/** Lets others open a repository, too. `CONFLICT` when a recipient can already. */
export async function addRepositoryKeys(
  destination: DestinationChoice,
  added: OptionsOf<typeof wrapperOptions>,
  options: KeyOptions,
): Promise<ChangedRepositoryKeys> {
  wrapperOptions.check('addRepositoryKeys', added);
  return change('addRepositoryKeys', destination, options, async (env, opened, unlockers) =>
    addKeys(env, opened, unlockers, await readWrappers(env.fs, added)),
  );
}

/** Removes a way to open a repository; the key in `options` must be that of another one. Who has read the keys keeps them. */
export async function removeRepositoryKey(
  destination: DestinationChoice,
  slot: number,
  options: KeyOptions,
): Promise<ChangedRepositoryKeys> {
  checkArgument('removeRepositoryKey: slot', wholeNumber(1), slot);
  return change('removeRepositoryKey', destination, options, (env, opened, unlockers) =>
    removeKey(env, opened, unlockers, slot),
  );
}

/** Seals what is stored from now on with a new data key. What is stored already stays as it is. */
export async function rotateRepositoryKeys(
  destination: DestinationChoice,
  options: KeyOptions,
): Promise<ChangedRepositoryKeys> {
  return change('rotateRepositoryKeys', destination, options, rotateKeys);
}

async function change(
  what: string,
  destination: DestinationChoice,
  options: KeyOptions,
  work: (...args: Parameters<typeof rotateKeys>) => Promise<ChangedKeys>,
): Promise<ChangedRepositoryKeys> {
  checkArgument(`${what}: destination`, destinationChoice(), destination);
  keyOptions.check(what, options);
  return translated(async () => {
    const env = environmentOf(options);
    const unlockers = await readUnlockers(env.fs, options.encryption);
    const { document, warnings } = await work(env, await destinationOf(destination), unlockers);
    return { ...summarize(document), warnings };
  });
}

const summarize = ({ repository_id, revision, generations, slots }: KeyDocument): RepositoryKeys => ({
  repositoryId: repository_id,
  revision,
  generations,
  slots: slots.map(({ slot, kind, recipient, added_at_ms }) => ({
    slot,
    kind,
    recipient: recipient ?? null,
    addedAtMs: added_at_ms,
  })),
});
