import type { Command } from 'commander';
import { salvageBackup, salvageBackupOptions } from '../../backup/salvage-backup.ts';
import type { Cli } from '../cli.ts';
import { Flags, type Given, mandatory } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { addFrom, BACKUP, fromOf, shown } from '../repository-flags.ts';
import { subcommand } from '../subcommand.ts';
import { visible } from '../text.ts';
import { describe } from './salvage.ts';

const INCOMPLETE = 3;
const DAMAGED_SHOWN = 20;
const NOTE =
  'For a backup that does not restore any more. Its manifest must be whole. Try an older backup first: it has everything. Exits with 3 when something is missing.';

const flags = new Flags(salvageBackupOptions.fields, ['into', 'scratch']);

export function defineSalvage(command: Command, cli: Cli): void {
  const salvage = addFrom(
    subcommand(command, 'salvage', 'write what a damaged backup still says into a new database', BACKUP),
  );
  flags.addTo(salvage, '', { into: mandatory });
  salvage
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('backup salvage latest --from /mnt/backups --into ./salvaged')}`,
    )
    .action(async (backup: string, given: Given) => {
      const { into = '', ...how } = flags.read(given);
      const salvaged = await cli.watched((signal, progress) =>
        salvageBackup(backup, { ...fromOf(given), ...how, into, signal, onProgress: shown(progress) }),
      );
      cli.output.result(salvaged, (style) => [
        ...describe(salvaged, style),
        ...salvaged.damaged
          .slice(0, DAMAGED_SHOWN)
          .map(({ path, message }) => `damaged: ${visible(path)}: ${visible(message)}`),
      ]);
      if (!salvaged.complete) cli.exitCode = INCOMPLETE;
    });
}
