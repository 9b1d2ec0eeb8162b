import type { Command } from 'commander';
import { VERSION } from '../../snapshot/version.ts';
import type { Cli } from '../cli.ts';
import { describeCommand } from '../command-tree.ts';
import { EXIT_CODES } from '../exit-codes.ts';
import { examples } from '../help-text.ts';
import { manualPage } from '../manual-page.ts';

export function define(command: Command, cli: Cli): void {
  command.addHelpText('after', examples('man | man -l -')).action(() => {
    const page = manualPage(describeCommand(command.parent!), VERSION, EXIT_CODES);
    cli.output.result({ page }, () => [page.trimEnd()]);
  });
}
