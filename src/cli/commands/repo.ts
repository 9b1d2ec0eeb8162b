import type { Command } from 'commander';
import { wrapperOptions } from '../../backup/encryption.ts';
import { initRepository, type RepositorySummary, showRepository } from '../../backup/repositories.ts';
import { shellWord } from '../../options/shell-word.ts';
import type { Cli } from '../cli.ts';
import { Flags, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { addKeyFlags, keyOf } from '../key-flags.ts';
import type { Style } from '../style.ts';
import { DESTINATION, subcommand } from '../subcommand.ts';
import { count, table, time, visible } from '../text.ts';
import { defineKeys } from './repo-keys.ts';

const wrapperFlags = new Flags(wrapperOptions.fields, ['recipients', 'passphrase', 'keyFile']);

const INIT_NOTE = `
With a recipient, a passphrase or a key file, all that is stored is encrypted: the content and the names of files.
Without one it is stored in clear. This cannot be changed later.`;

const KEEP_THE_KEY =
  'keep the key apart from this machine and from the repository, on paper or in a password manager: who loses it loses all backups, and nobody can bring them back';

export function define(command: Command, cli: Cli): void {
  const init = subcommand(command, 'init', 'make a repository; a missing folder is made', DESTINATION);
  wrapperFlags.addTo(init);
  init
    .addHelpText(
      'after',
      `${paragraph(INIT_NOTE)}\n${examples(
        'repo init /mnt/backups',
        'repo init s3://bucket/orders --recipient age1… --passphrase file:/etc/stillpoint/passphrase',
        'repo init /mnt/backups --key-file /etc/stillpoint/key',
      )}`,
    )
    .action(async (destination: string, given: Given) => {
      const encryption = wrapperFlags.read(given);
      const isEncrypted = Object.keys(encryption).length > 0;
      const made = await initRepository(destination, isEncrypted ? { encryption } : {});
      for (const warning of made.warnings) cli.output.note(warning);
      if (isEncrypted) cli.output.note(KEEP_THE_KEY);
      cli.output.result(made, (style) => [
        `repository ${style.bold(made.repositoryId)} made in ${visible(made.destination)}`,
        made.keyFingerprint === null
          ? '  not encrypted: whoever reads the destination reads the data'
          : `  encrypted; fingerprint of its keys ${made.keyFingerprint.slice(0, 16)}`,
        `  first backup: stillpoint backup run DIR --to ${shellWord(destination)}${isEncrypted ? ' --identity FILE | --passphrase NAME | --key-file FILE' : ''}`,
      ]);
    });
  const show = subcommand(
    command,
    'show',
    'show what a repository is and which stores it holds',
    DESTINATION,
  );
  addKeyFlags(show);
  show
    .addHelpText('after', examples('repo show /mnt/backups', 'repo show /mnt/backups --json'))
    .action(async (destination: string, given: Given) => {
      const summary = await showRepository(destination, keyOf(given));
      cli.output.result(summary, (style) => describe(summary, style));
    });
  defineKeys(command, cli);
}

function describe(
  { repositoryId, destination, createdAtMs, keyFingerprint, stores }: RepositorySummary,
  style: Style,
): string[] {
  const rows = stores.map(({ storeId, name, engine, backups, latest }) => [
    storeId,
    visible(name ?? '-'),
    visible(engine ?? '-'),
    String(backups),
    latest ?? '-',
  ]);
  const [head = '', ...lines] = table([['STORE', 'NAME', 'ENGINE', 'BACKUPS', 'LATEST'], ...rows], [3]);
  return [
    `repository ${style.bold(repositoryId)} in ${visible(destination)}`,
    `  made ${time(createdAtMs)}; ${keyFingerprint === null ? 'not encrypted' : 'encrypted'}; ${count(stores.length, 'store')}`,
    ...(stores.length === 0 ? [] : [style.dim(head), ...lines]),
  ];
}
