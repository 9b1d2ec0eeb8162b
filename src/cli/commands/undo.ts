import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import type { Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { describeUndo, undoInPlace } from '../in-place.ts';
import { addWaitFlag, waitMs } from '../patience.ts';
import { visible } from '../text.ts';

const NOTE = `
The files of now become an undo folder in their turn, so that a second undo takes the first one back. The
database must be closed.`;

export function define(command: Command, cli: Cli): void {
  addWaitFlag(command)
    .addHelpText('after', `${paragraph(NOTE)}\n${examples('undo ./data', 'undo ./data --json')}`)
    .action(async (dir: string, given: Given) => {
      const { from, into, undo } = await undoInPlace(cli, dir, waitMs(given));
      cli.output.result({ from, into, undo }, () => [
        `${visible(into)} is again what it was before the last restore or undo`,
        ...describeUndo(into, undo),
      ]);
    });
}
