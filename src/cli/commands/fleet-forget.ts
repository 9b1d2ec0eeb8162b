import type { Command } from 'commander';
import { forgetFleet } from '../../fleet/forget.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { examples, paragraph } from '../help-text.ts';
import { subcommand } from '../subcommand.ts';
import { count, visible } from '../text.ts';

const NOTE = `
A pushed backup pins its members in their repository, and no prune removes them. This ends those pins and removes nothing. Until a prune
removes a member the backup can still be restored.`;

export function defineForget(command: Command, cli: Cli): void {
  subcommand(command, 'forget', 'let prunes remove the members of a pushed backup', {
    '<dir>': 'the folder of a backup',
  })
    .addHelpText('after', `${paragraph(NOTE)}\n${examples('fleet forget ./backups/today')}`)
    .action(async (dir: string) => {
      const forgotten = await forgetFleet(dir, commandEnvironment);
      const { backupId, repository, unpinned } = forgotten;
      cli.output.result(forgotten, (style) => [
        `${style.bold(backupId)}: ${count(unpinned, 'pin')} ended in ${visible(repository)}; a prune may remove its members`,
      ]);
    });
}
