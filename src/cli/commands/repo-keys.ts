import { type Command, InvalidArgumentError } from 'commander';
import { addedWrapperOptions } from '../../backup/encryption.ts';
import {
  addRepositoryKeys,
  type ChangedRepositoryKeys,
  listRepositoryKeys,
  type RepositoryKeys,
  removeRepositoryKey,
  rotateRepositoryKeys,
} from '../../backup/repository-keys.ts';
import type { Cli } from '../cli.ts';
import { Flags, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { addKeyFlags, keyOf } from '../key-flags.ts';
import type { Style } from '../style.ts';
import { DESTINATION, subcommand } from '../subcommand.ts';
import { table, time } from '../text.ts';

const LASTING = `
Who has opened the repository once may have kept its keys: this takes nothing away from him. What is stored already stays
sealed as it is.`;

/** `repo keys`: who can open an encrypted repository. */
export function defineKeys(parent: Command, cli: Cli): void {
  const command = parent
    .command('keys')
    .summary('show and change who can open an encrypted repository')
    .description('Show and change who can open an encrypted repository.');
  subcommand(command, 'list', 'list who can open a repository; needs no key', DESTINATION)
    .addHelpText('after', examples('repo keys list /mnt/backups'))
    .action(async (destination: string) => {
      const keys = await listRepositoryKeys(destination);
      cli.output.result(keys, (style) => describe(keys, style));
    });
  defineAdd(command, cli);
  defineRemove(command, cli);
  const rotate = subcommand(
    command,
    'rotate',
    'seal what is stored from now on with a new data key',
    DESTINATION,
  );
  addKeyFlags(rotate);
  rotate
    .addHelpText(
      'after',
      `${paragraph(LASTING)}\n${examples('repo keys rotate /mnt/backups --identity ~/key.txt')}`,
    )
    .action(async (destination: string, given: Given) =>
      tell(cli, await rotateRepositoryKeys(destination, keyOf(given))),
    );
}

const addedFlags = new Flags(addedWrapperOptions.fields, ['recipients', 'passphrase', 'keyFile']);

function defineAdd(parent: Command, cli: Cli): void {
  const add = subcommand(parent, 'add', 'let one more open a repository', DESTINATION);
  addedFlags.addTo(add);
  addKeyFlags(add);
  add
    .addHelpText(
      'after',
      examples(
        'repo keys add /mnt/backups --identity ~/key.txt --recipient age1…',
        'repo keys add /mnt/backups --identity ~/key.txt --add-passphrase env:PASSPHRASE',
      ),
    )
    .action(async (destination: string, given: Given) =>
      tell(cli, await addRepositoryKeys(destination, addedFlags.read(given), keyOf(given))),
    );
}

function defineRemove(parent: Command, cli: Cli): void {
  const remove = subcommand(parent, 'remove', 'remove one of those who can open a repository', DESTINATION);
  remove.argument('<slot>', 'the number of his slot, as `repo keys list` shows it', slotNumber);
  addKeyFlags(remove);
  remove
    .addHelpText(
      'after',
      `${paragraph(`${LASTING} The key must be that of a slot that stays.`)}\n${examples('repo keys remove /mnt/backups 2 --identity ~/key.txt')}`,
    )
    .action(async (destination: string, slot: number, given: Given) =>
      tell(cli, await removeRepositoryKey(destination, slot, keyOf(given))),
    );
}

function slotNumber(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be the number of a slot.');
}

function tell(cli: Cli, keys: ChangedRepositoryKeys): void {
  for (const warning of keys.warnings) cli.output.note(warning);
  cli.output.result(keys, (style) => describe(keys, style));
}

function describe({ repositoryId, generations, slots }: RepositoryKeys, style: Style): string[] {
  const rows = slots.map(({ slot, kind, recipient, addedAtMs }) => [
    String(slot),
    kind,
    time(addedAtMs),
    recipient ?? '-',
  ]);
  const [head = '', ...lines] = table([['SLOT', 'KIND', 'ADDED', 'RECIPIENT'], ...rows], [0]);
  return [
    `repository ${style.bold(repositoryId)}; data key ${generations.at(-1)} seals what is new`,
    style.dim(head),
    ...lines,
  ];
}
