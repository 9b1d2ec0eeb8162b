import { resolve } from 'node:path';
import type { Command } from 'commander';
import { salvageDatabase, salvageOptions } from '../../coordinator/salvage.ts';
import { shellWord } from '../../options/shell-word.ts';
import type { LostPart, Salvaged } from '../../salvage/salvage.ts';
import { layoutOf, ownerOf } from '../../snapshot/store/layout.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { Flags, type Given, mandatory } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import type { Style } from '../style.ts';
import { count, visible } from '../text.ts';

const INCOMPLETE = 3;
const LOST_SHOWN = 20;
const NOTE =
  'For a database that does not open or verify any more. The source is never changed; close the database first. Try `restore` of a good snapshot before: it has everything. Exits with 3 when something is missing.';

const flags = new Flags(salvageOptions.fields, ['into', 'doubtful', 'engine']);

export function define(command: Command, cli: Cli): void {
  flags.addTo(command, '', { into: mandatory });
  command
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('salvage ./data --into ./salvaged', 'salvage ./data --into ./salvaged --doubtful ./doubtful')}`,
    )
    .action(async (dir: string, given: Given) => {
      const { into = '', doubtful, engine } = flags.read(given);
      const salvaged = await cli.watched((signal, progress) =>
        salvageDatabase(dir, {
          into,
          doubtful,
          engine,
          environment: commandEnvironment,
          signal,
          onProgress: (done, total) => progress.show('salvage', done, total),
        }),
      );
      cli.output.result(salvaged, (style) => [
        ...describe(salvaged, style),
        ...nextSteps(salvaged.into, dir),
      ]);
      if (!salvaged.complete) cli.exitCode = INCOMPLETE;
    });
}

/** Into its place with its snapshots and a way back. Where the source is an undo folder, its program merges the two. */
function nextSteps(into: string, dir: string): string[] {
  if (ownerOf(resolve(dir)) !== undefined)
    return [`next: ${visible(into)} is a database of its own; take from it what yours lacks`];
  const [from, to] = [shellWord(into), shellWord(dir)];
  return [
    'next, with the database closed, to put it in the place of the old one, which is kept for `undo`:',
    `  stillpoint snapshot ${from}`,
    `  stillpoint restore ${shellWord(layoutOf(into).latest)} --data-dir ${to} --in-place`,
  ];
}

export function describe(
  { into, entries, tables, logs, lost, lostTotal, notes, complete, sourceProblem, doubtful }: Salvaged,
  style: Style,
): string[] {
  const partial = lostTotal === 0 ? 'all that was found' : 'not complete';
  const word = complete ? style.green('complete') : style.yellow(partial);
  const from = `${count(tables, 'table')} and ${count(logs, 'log')}`;
  return [
    `${word}: ${count(entries, 'entry', 'entries')} from ${from} now stand in ${visible(into)}, proven at level full`,
    ...(sourceProblem === null ? [] : [`the old one does not pass its proof: ${visible(sourceProblem)}`]),
    ...(doubtful === null
      ? []
      : [
          `${count(doubtful.entries, 'doubtful entry', 'doubtful entries')} in ${visible(doubtful.into)}: read where a checksum does not hold, and missing or older above`,
        ]),
    ...notes.map((note) => `note: ${visible(note)}`),
    ...lost.slice(0, LOST_SHOWN).map((part) => `lost: ${lineOf(part)}`),
    ...(lostTotal > LOST_SHOWN
      ? [`… and ${lostTotal - Math.min(LOST_SHOWN, lostTotal)} more; --json lists up to 1,000`]
      : []),
    ...(lostTotal > 0
      ? ['Keys of these places may be missing, have an older value, or be back although they were deleted.']
      : []),
  ];
}

function lineOf({ path, offset, what, from, upTo }: LostPart): string {
  const place = offset === null ? visible(path) : `${visible(path)} @${offset}`;
  const keys = [
    ...(from === null ? [] : [`from ${keyText(from)}`]),
    ...(upTo === null ? [] : [`up to ${keyText(upTo)}`]),
  ];
  return `${place} ${visible(what)}${keys.length === 0 ? '' : `; keys ${keys.join(' ')}`}`;
}

const keyText = (key: NonNullable<LostPart['from']>): string =>
  'text' in key && key.text !== undefined ? `"${visible(key.text)}"` : `0x${key.hex}`;
