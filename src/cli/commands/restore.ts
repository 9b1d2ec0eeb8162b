import type { Command } from 'commander';
import {
  previewRestoreInPlace,
  previewRestoreInto,
  type RestorePreview,
} from '../../coordinator/preview-restore.ts';
import { restoreSnapshot } from '../../coordinator/snapshot-by-path.ts';
import { Snapshots } from '../../coordinator/snapshots.ts';
import { ERROR_CODES, StillpointError } from '../../errors.ts';
import { restoreIntoOptions } from '../../options/restore.ts';
import { nameOf, ownerOf } from '../../snapshot/store/layout.ts';
import { namingBest, noteLesser } from '../best-snapshot.ts';
import type { Cli } from '../cli.ts';
import { blockingEnvironment, commandEnvironment } from '../environment.ts';
import { Flags, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { describeUndo, restoreInPlace } from '../in-place.ts';
import { explainNoSpaceToRestore } from '../no-space.ts';
import { addDataDirFlag, noteConcurrency } from '../options.ts';
import { addWaitFlag, waitMs } from '../patience.ts';
import type { Progress } from '../progress.ts';
import { proofText, warningLines } from '../report-text.ts';
import { explainNotFound, findOperand } from '../snapshot-operand.ts';
import { stateText } from '../state-text.ts';
import type { Style } from '../style.ts';
import { age, count, leftLine, MOVES_ALONG, size, visible } from '../text.ts';

const { fields } = restoreIntoOptions;
const intoFlags = new Flags(fields, ['into', 'files']);
const flags = new Flags(fields, [
  ...(['level', 'clone', 'rewriteManifest', 'pace', 'medium'] as const),
  ...(['maxBytesPerSecond', 'concurrency'] as const),
]);
type How = ReturnType<typeof flags.read> & { readonly files?: readonly string[] };

interface Options extends Given {
  readonly inPlace?: true;
  readonly dryRun?: true;
  readonly dataDir?: string;
}

const NOTE = `
A restore in place needs the database closed; it is refused while the database has its lock. The data
directory is --data-dir, or the one that the snapshot's path lies in. Nothing is replaced before the
restored files have passed their proof.`;

export function define(command: Command, cli: Cli): void {
  intoFlags.addTo(command, '', {
    into: (option) => option.conflicts('inPlace'),
    files: (option) => option.conflicts(['inPlace', 'dryRun']),
  });
  command.option('--in-place', 'replace the files of the data directory; `stillpoint undo` brings them back');
  command.option('--dry-run', 'say what would be restored, replaced and left, and change nothing');
  flags.addTo(command);
  addWaitFlag(command);
  addDataDirFlag(command)
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples(
        'restore latest --data-dir ./data --into ./copy',
        'restore latest --data-dir ./files --into ./copy --file letters/to-ann.txt --file photos',
        'restore latest --data-dir ./data --in-place --dry-run',
        'restore latest --data-dir ./data --in-place',
        'restore ./data/.lifecycle/backup/ts-1763625600 --in-place',
      )}`,
    )
    .action((snapshot: string, options: Options) => {
      const { inPlace, dryRun, dataDir } = options;
      const { into, files } = intoFlags.read(options);
      const how = { ...flags.read(options), ...(files !== undefined && { files }) };
      noteConcurrency(cli, how.concurrency);
      return explainNotFound(snapshot, dataDir, () => {
        if (dryRun && (into !== undefined || inPlace)) return preview(cli, snapshot, dataDir, into);
        if (into !== undefined)
          return namingBest(snapshot, dataDir, () => restoreInto(cli, snapshot, dataDir, into, how));
        if (inPlace)
          return namingBest(snapshot, dataDir, () =>
            restoreHere(cli, snapshot, dataDir, how, waitMs(options)),
          );
        throw new StillpointError('INVALID_REQUEST', 'where to is missing: --into <dir> or --in-place', {
          hint: 'Run `stillpoint restore --help`.',
        });
      });
    });
}

async function preview(
  cli: Cli,
  snapshot: string,
  dataDir: string | undefined,
  into: string | undefined,
): Promise<void> {
  const found = await findOperand(snapshot, dataDir);
  const environment = blockingEnvironment;
  const shown =
    into === undefined
      ? await previewRestoreInPlace(found, dataDir ?? ownerHere(found.location), environment)
      : await previewRestoreInto(found, into, environment);
  cli.output.result(shown, (style) => describePreview(shown, style));
  if (shown.neededBytes > shown.freeBytes) cli.exitCode = NO_SPACE;
}

const NO_SPACE = ERROR_CODES.NO_SPACE.exit;
const NAMES_SHOWN = 8;

function ownerHere(location: string): string {
  const owner = ownerOf(location);
  if (owner !== undefined) return owner;
  throw new StillpointError('INVALID_REQUEST', `the data directory to restore ${location} in is missing`, {
    hint: 'Add `--data-dir DIR`, or name a path inside DIR/.lifecycle/.',
  });
}

function describePreview(shown: RestorePreview, style: Style): string[] {
  const {
    snapshot,
    target,
    inPlace,
    replaced,
    replacedBytes,
    leftInPlace,
    movedAlong,
    neededBytes,
    freeBytes,
  } = shown;
  const names = [...replaced.slice(0, NAMES_SHOWN), ...(replaced.length > NAMES_SHOWN ? ['…'] : [])];
  const fits = neededBytes <= freeBytes;
  return [
    `${style.bold(snapshot.name)}, ${age(snapshot.ageMs)} old, ${stateText(snapshot)}, would be restored ${inPlace ? 'in place' : 'into'}: ${visible(target)}`,
    `  ${fits ? 'needs' : style.red('needs')} ${size(neededBytes)}; ${size(freeBytes)} are free`,
    ...(inPlace
      ? [
          `  replaced, and kept for \`undo\`: ${size(replacedBytes)} (${names.map(visible).join(', ') || 'nothing'})`,
        ]
      : []),
    ...leftLine('left where it is, since the engine did not write it', leftInPlace),
    ...leftLine(MOVES_ALONG, movedAlong),
    '  nothing was changed',
  ];
}

async function restoreInto(
  cli: Cli,
  snapshot: string,
  dataDir: string | undefined,
  target: string,
  how: How,
): Promise<void> {
  const environment = commandEnvironment;
  const work = (signal: AbortSignal, progress: Progress) => {
    const onProgress = (done: number, total: number) => progress.show('restore', done, total);
    const options = { ...how, into: target, signal, onProgress };
    return dataDir === undefined
      ? restoreSnapshot(snapshot, { ...options, environment })
      : new Snapshots({ dataDir, environment }).restore(snapshot, options);
  };
  const { from, into, files, bytes, clonedBytes, undo, report } = await explainNoSpaceToRestore(() =>
    cli.watched(work, how.maxBytesPerSecond),
  );
  await noteLesser(cli, from, dataDir);
  const { verdict } = report;
  cli.output.result({ from, into, files, bytes, clonedBytes, undo, verdict }, (style) => [
    `${style.bold(nameOf(from))} restored into ${visible(into)}`,
    `  ${count(files, 'file')}, ${sizes(bytes, clonedBytes)}; ${style.green('proven')}: ${proofText(report)}`,
    ...warningLines(report, style),
  ]);
}

async function restoreHere(
  cli: Cli,
  snapshot: string,
  dataDir: string | undefined,
  how: How,
  wait: number,
): Promise<void> {
  const { from, into, files, bytes, clonedBytes, undo, leftInPlace, movedAlong, report } =
    await restoreInPlace(cli, snapshot, dataDir, how, wait);
  await noteLesser(cli, from, dataDir);
  const verdict = report?.verdict ?? null;
  cli.output.result(
    { from, into, files, bytes, clonedBytes, undo, verdict, leftInPlace, movedAlong },
    (style) => [
      `${style.bold(nameOf(from))} restored in place: ${visible(into)}`,
      `  ${count(files, 'file')}, ${sizes(bytes, clonedBytes)}${report === null ? '' : `; ${style.green('proven')}: ${proofText(report)}`}`,
      ...warningLines(report, style),
      ...leftLine('left where it is, since the engine did not write it', leftInPlace),
      ...leftLine(MOVES_ALONG, movedAlong),
      ...describeUndo(into, undo),
    ],
  );
}

const sizes = (bytes: number, cloned: number): string =>
  cloned === 0 ? size(bytes) : `${size(bytes)} (${size(cloned)} cloned, blocks shared with the snapshot)`;
