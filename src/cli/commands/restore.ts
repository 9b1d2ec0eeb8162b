import { type Command, Option } from 'commander';
import { restoreSnapshot } from '../../coordinator/snapshots.ts';
import { LEVELS, type Level } from '../../engine/report.ts';
import { StillpointError } from '../../errors.ts';
import { nameOf } from '../../snapshot/store/layout.ts';
import type { CloneChoice } from '../../snapshot/tasks/reflinker.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { examples, paragraph } from '../help-text.ts';
import { describeUndo, restoreInPlace } from '../in-place.ts';
import { nonEmpty } from '../non-empty.ts';
import {
  addThrottleOptions,
  cloneOption,
  dataDirOption,
  type ThrottleFlags,
  throttleOptionsOf,
} from '../options.ts';
import { proofText } from '../report-text.ts';
import { explainNotFound } from '../snapshot-operand.ts';
import { count, size, visible } from '../text.ts';

interface Options extends ThrottleFlags {
  readonly into?: string;
  readonly inPlace?: true;
  readonly dataDir?: string;
  readonly level?: Level;
  readonly clone: CloneChoice;
}

type How = ThrottleFlags & { readonly clone: CloneChoice };

const NOTE = `
A restore in place needs the database closed; it is refused while the database has its lock. The data
directory is --data-dir, or the one that the snapshot's path lies in. In place, what is restored is always
proven in full before anything is replaced; --level is for --into.`;

export function define(command: Command, cli: Cli): void {
  command
    .addOption(
      new Option('--into <dir>', 'a new folder; must not exist or be empty')
        .argParser(nonEmpty)
        .conflicts('inPlace'),
    )
    .option('--in-place', 'replace the files of the data directory; they are kept for `stillpoint undo`')
    .addOption(dataDirOption())
    .addOption(
      new Option(
        '--level <level>',
        'with --into: how thoroughly the restored files are proven (default: "full")',
      )
        .choices(LEVELS)
        .conflicts('inPlace'),
    )
    .addOption(cloneOption("the snapshot's files"));
  addThrottleOptions(command, 'copy and read back')
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples(
        'restore latest --data-dir ./data --into ./copy',
        'restore latest --data-dir ./data --in-place',
        'restore ./data/.lifecycle/backup/ts-1763625600 --in-place',
      )}`,
    )
    .action((snapshot: string, options: Options) => {
      const { into, inPlace, dataDir, level = 'full', clone } = options;
      const how = { clone, ...throttleOptionsOf(cli, options) };
      return explainNotFound(snapshot, dataDir, () => {
        if (into !== undefined) return restoreInto(cli, snapshot, { into, level, dataDir, ...how });
        if (inPlace) return restoreHere(cli, snapshot, dataDir, how);
        throw new StillpointError('INVALID_REQUEST', 'where to is missing: --into <dir> or --in-place', {
          hint: 'Run `stillpoint restore --help`.',
        });
      });
    });
}

async function restoreInto(
  cli: Cli,
  snapshot: string,
  { dataDir, ...options }: { into: string; level: Level; dataDir: string | undefined } & How,
): Promise<void> {
  const { from, into, files, bytes, clonedBytes, undo, report } = await cli.watched(
    (signal, progress) =>
      restoreSnapshot(snapshot, {
        ...options,
        environment: commandEnvironment,
        signal,
        onProgress: (done, total) => progress.show('restore', done, total),
        ...(dataDir !== undefined && { dataDir }),
      }),
    options.maxBytesPerSecond,
  );
  cli.output.result({ from, into, files, bytes, clonedBytes, undo }, (style) => [
    `${style.bold(nameOf(from))} restored into ${visible(into)}`,
    `  ${count(files, 'file')}, ${sizes(bytes, clonedBytes)}; ${style.green('proven')}: ${proofText(report)}`,
  ]);
}

async function restoreHere(cli: Cli, snapshot: string, dataDir: string | undefined, how: How): Promise<void> {
  const { from, into, files, bytes, clonedBytes, undo, report } = await restoreInPlace(
    cli,
    snapshot,
    dataDir,
    how,
  );
  cli.output.result({ from, into, files, bytes, clonedBytes, undo }, (style) => [
    `${style.bold(nameOf(from))} restored in place: ${visible(into)}`,
    `  ${count(files, 'file')}, ${sizes(bytes, clonedBytes)}${report === null ? '' : `; ${style.green('proven')}: ${proofText(report)}`}`,
    ...describeUndo(into, undo),
  ]);
}

const sizes = (bytes: number, cloned: number): string =>
  cloned === 0 ? size(bytes) : `${size(bytes)} (${size(cloned)} cloned, blocks shared with the snapshot)`;
