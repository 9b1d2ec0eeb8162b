import type { Command } from 'commander';
import { initRepository, type RepositorySummary, showRepository } from '../../backup/repositories.ts';
import type { Cli } from '../cli.ts';
import { examples } from '../help-text.ts';
import type { Style } from '../style.ts';
import { subcommand } from '../subcommand.ts';
import { count, table, time, visible } from '../text.ts';

export const DESTINATION = { '<dest>': 'a folder (/path, folder:/path) or a bucket (s3://bucket/prefix)' };

export function define(command: Command, cli: Cli): void {
  subcommand(command, 'init', 'make a repository; a missing folder is made', DESTINATION)
    .addHelpText('after', examples('repo init /mnt/backups'))
    .action(async (destination: string) => {
      const made = await initRepository(destination);
      for (const warning of made.warnings) cli.output.note(warning);
      cli.output.result(made, (style) => [
        `repository ${style.bold(made.repositoryId)} made in ${visible(made.destination)}`,
        `  first backup: stillpoint backup run DIR --to ${visible(destination)}`,
      ]);
    });
  subcommand(command, 'show', 'show what a repository is and which stores it holds', DESTINATION)
    .addHelpText('after', examples('repo show /mnt/backups', 'repo show /mnt/backups --json'))
    .action(async (destination: string) => {
      const summary = await showRepository(destination);
      cli.output.result(summary, (style) => describe(summary, style));
    });
}

function describe(
  { repositoryId, destination, createdAtMs, stores }: RepositorySummary,
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
    `  made ${time(createdAtMs)}; ${count(stores.length, 'store')}`,
    ...(stores.length === 0 ? [] : [style.dim(head), ...lines]),
  ];
}
