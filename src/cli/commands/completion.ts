import { Argument, type Command } from 'commander';
import type { Cli } from '../cli.ts';
import { describeCommand } from '../command-tree.ts';
import { examples } from '../help-text.ts';
import { completionOf, SHELLS, type Shell } from '../shell-completion.ts';

export function define(command: Command, cli: Cli): void {
  command
    .addArgument(new Argument('<shell>', 'whose completion it is').choices(SHELLS))
    .addHelpText(
      'after',
      examples(
        'source <(stillpoint completion bash)  # in ~/.bashrc',
        'stillpoint completion fish > ~/.config/fish/completions/stillpoint.fish',
      ),
    )
    .action((shell: Shell) => {
      const script = completionOf(describeCommand(command.parent!), shell);
      cli.output.result({ shell, script }, () => [script.trimEnd()]);
    });
}
