import type { Command } from 'commander';
import { type AlertTest, testAlerts } from '../../schedule/index.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { examples } from '../help-text.ts';
import type { Style } from '../style.ts';
import { subcommand } from '../subcommand.ts';
import { visible } from '../text.ts';

const FAILED = 1;

export function define(command: Command, cli: Cli): void {
  subcommand(command, 'test', 'send a test through each channel of a settings file, and one heartbeat', {
    '<settings>': 'a JSON file with a part "alerts"',
  })
    .addHelpText('after', examples('alerts test stillpoint.json'))
    .action(async (file: string) => {
      const test = await testAlerts(file, { environment: commandEnvironment });
      cli.output.result(test, (style) => describe(test, style));
      if (!test.ok) cli.exitCode = FAILED;
    });
}

const describe = ({ channels }: AlertTest, style: Style): string[] =>
  channels.map(({ channel, error }) =>
    error === null ? `${channel}: ${style.green('delivered')}` : `${channel}: ${style.red(visible(error))}`,
  );
