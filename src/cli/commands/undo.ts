import type { Command } from 'commander';
import { previewUndo, type UndoPreview } from '../../coordinator/preview-restore.ts';
import { startUndoOptions } from '../../options/restore.ts';
import { nameOf } from '../../snapshot/store/layout.ts';
import type { Cli } from '../cli.ts';
import { blockingEnvironment } from '../environment.ts';
import { Flags, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { describeUndo, undoInPlace } from '../in-place.ts';
import { addWaitFlag, waitMs } from '../patience.ts';
import { leftLine, MOVES_ALONG, size, time, visible } from '../text.ts';

const flags = new Flags(startUndoOptions.fields, ['to']);

const NOTE = `
The files of now become an undo folder in their turn, so that a second undo takes the first one back. The
database must be closed. \`stillpoint prune DIR --undo --keep 99 --dry-run\` lists the undo folders.`;

export function define(command: Command, cli: Cli): void {
  flags.addTo(command);
  command.option('--dry-run', 'say what would come back and what would be replaced, and change nothing');
  addWaitFlag(command)
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('undo ./data', 'undo ./data --dry-run', 'undo ./data --to ts-1763625600')}`,
    )
    .action(async (dir: string, given: Given) => {
      const options = flags.read(given);
      if (given.dryRun === true) {
        const shown = await previewUndo(dir, options.to, blockingEnvironment);
        return cli.output.result(shown, () => describePreview(shown));
      }
      const { from, into, undo } = await undoInPlace(cli, dir, options, waitMs(given));
      const when = options.to === undefined ? 'the last restore or undo' : `what left ${nameOf(from)}`;
      cli.output.result({ from, into, undo }, () => [
        `${visible(into)} is again what it was before ${when}`,
        ...describeUndo(into, undo),
      ]);
    });
}

function describePreview(shown: UndoPreview): string[] {
  const { from, replacedAtMs, diskBytes, target, replaced, replacedBytes, leftInPlace, movedAlong } = shown;
  return [
    `${nameOf(from)}, replaced ${time(replacedAtMs)}, ${size(diskBytes)}, would come back in ${visible(target)}`,
    `  replaced, and kept for \`undo\`: ${size(replacedBytes)} (${replaced.map(visible).join(', ') || 'nothing'})`,
    ...leftLine('left where it is, since the engine did not write it', leftInPlace),
    ...leftLine(MOVES_ALONG, movedAlong),
    '  nothing was changed',
  ];
}
