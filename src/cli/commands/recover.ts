import type { Command } from 'commander';
import type { Recovery } from '../../operation/data-directory.ts';
import { directoryOf, Lifecycle } from '../../operation/lifecycle.ts';
import type { Cli } from '../cli.ts';
import type { Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { addWaitFlag, patiently, waitMs } from '../patience.ts';
import { visible } from '../text.ts';

const NOTE = `
Run it with the database closed. It ends in exactly the state from before the restore or exactly the restored
one.`;

export function define(command: Command, cli: Cli): void {
  addWaitFlag(command)
    .addHelpText('after', `${paragraph(NOTE)}\n${examples('recover ./data', 'recover ./data --json')}`)
    .action(async (dir: string, given: Given) => {
      const lifecycle = new Lifecycle({ dataDir: dir });
      await directoryOf(lifecycle).layout(); // a missing directory is a typing error
      const recovery = await cli.interruptible((signal) =>
        patiently(cli, waitMs(given), signal, () => lifecycle.recover()),
      );
      cli.output.result(recovery, () => describe(recovery));
    });
}

function describe({ restore, interrupted, swept }: Recovery): string[] {
  const lines = [
    ...(restore === 'new' ? ['the interrupted restore is finished: the restored state stands'] : []),
    ...(restore === 'old' ? ['the interrupted restore is taken back: the old state stands'] : []),
    ...interrupted.map(
      (id) => `run ${visible(id)} did not finish because its process ended; it is on record as failed`,
    ),
    ...swept.map((path) => `removed ${visible(path)}`),
  ];
  return lines.length === 0 ? ['nothing to recover'] : lines;
}
