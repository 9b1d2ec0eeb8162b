import type { Command } from 'commander';
import { fromOptions } from '../../backup/list-backups.ts';
import { forgetFleet, forgetFleetIn } from '../../fleet/forget.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { Flags, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { addKeyFlags, keyOf } from '../key-flags.ts';
import { subcommand } from '../subcommand.ts';
import { count, visible } from '../text.ts';

const NOTE = `
A pushed backup pins its members in their repository, and no prune removes them. This ends those pins and removes nothing. Until a prune
removes a member the backup can still be restored. If the folder is lost, name the repository (--from) and the id of the fleet backup, which
"backup list" tells.`;

const fromFlags = new Flags(fromOptions.fields, ['from']);

export function defineForget(command: Command, cli: Cli): void {
  const forget = subcommand(command, 'forget', 'let prunes remove the members of a pushed backup', {
    '<dir>': 'the folder of a backup; with --from the id of a fleet backup',
  });
  fromFlags.addTo(forget);
  addKeyFlags(forget);
  forget
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('fleet forget ./backups/today', 'fleet forget 01KXXXXXXXXXXXXXXXXXXXXXXX --from /mnt/backups')}`,
    )
    .action(async (dir: string, given: Given) => {
      const { from } = fromFlags.read(given);
      const environment = commandEnvironment;
      const forgotten =
        from === undefined
          ? await forgetFleet(dir, environment)
          : await forgetFleetIn(dir, { from, environment, ...keyOf(given) });
      const { backupId, repository, unpinned } = forgotten;
      cli.output.result(forgotten, (style) => [
        `${style.bold(backupId)}: ${count(unpinned, 'pin')} ended in ${visible(repository)}; a prune may remove its members`,
      ]);
    });
}
