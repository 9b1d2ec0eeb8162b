import type { Command } from 'commander';
import type { Cli } from '../cli.ts';
import { examples, paragraph } from '../help-text.ts';
import { describeUndo, undoInPlace } from '../in-place.ts';
import { visible } from '../text.ts';

const NOTE = `
The files of now become an undo folder in their turn, so that a second undo takes the first one back. The
database must be closed.`;

export function define(command: Command, cli: Cli): void {
  command
    .addHelpText('after', `${paragraph(NOTE)}\n${examples('undo ./data', 'undo ./data --json')}`)
    .action(async (dir: string) => {
      const { from, into, undo } = await undoInPlace(cli, dir);
      cli.output.result({ from, into, undo }, () => [
        `${visible(into)} is again what it was before the last restore or undo`,
        ...describeUndo(into, undo),
      ]);
    });
}
