import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { verifyAllSnapshots, verifySnapshot } from '../../coordinator/snapshot-by-path.ts';
import { verifyAllOptions, verifyOptions } from '../../coordinator/snapshot-work.ts';
import { Snapshots } from '../../coordinator/snapshots.ts';
import { isDamaged, type Report } from '../../engine/report.ts';
import { nodeFileSystem } from '../../env/node-file-system.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import { shellWord } from '../../options/shell-word.ts';
import { keptLayout } from '../../snapshot/store/home.ts';
import { isSnapshotName, LATEST, nameOf, ownerOf } from '../../snapshot/store/layout.ts';
import { realFolder } from '../../snapshot/store/real-folder.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { Flags, type Given } from '../flags.ts';
import { examples } from '../help-text.ts';
import { isKnownDamaged } from '../known-damage.ts';
import { addDataDirFlag, noteConcurrency, proofEngineFlag } from '../options.ts';
import { findingLines, proofText, verdictText } from '../report-text.ts';
import { explainNotFound, findOperand } from '../snapshot-operand.ts';
import type { Style } from '../style.ts';
import { count, duration, size, visible } from '../text.ts';
import { verifyAllText } from '../verify-all-text.ts';

const verifyFlags = new Flags(verifyOptions.fields, [
  'level',
  'medium',
  'pace',
  'maxBytesPerSecond',
  'concurrency',
]);
const nightlyFlags = new Flags(verifyAllOptions.fields, ['maxBytes', 'olderThanMs']);

interface Options extends Given {
  readonly dataDir?: string;
  readonly all?: true;
}

const DAMAGED = 3;
const UNREAD = 7;

export function define(command: Command, cli: Cli): void {
  verifyFlags.addTo(command);
  proofEngineFlag.addTo(command);
  nightlyFlags.addTo(command, 'with --all: ');
  addDataDirFlag(command)
    .addOption(
      new Option(
        '--all',
        'all snapshots of a data directory, or in a folder; a file that several share is read once',
      ).conflicts(['dataDir', 'engine']),
    )
    .addHelpText(
      'after',
      examples(
        'verify ./data',
        'verify latest --data-dir ./data',
        'verify ./copy --level files --json',
        'verify ./data --all --older-than 7d --max-bytes 50G  # every night',
      ),
    )
    .action(async (path: string, options: Options) => {
      if (options.all) return verifyEvery(cli, path, options);
      refuseWithoutAll(options);
      const { dataDir } = options;
      const chosen = { ...verifyFlags.read(options), ...proofEngineFlag.read(options) };
      noteConcurrency(cli, chosen.concurrency);
      const folder = await explainNotFound(path, dataDir, () => folderOf(path, dataDir));
      const report = await cli.watched(
        (signal, progress) =>
          explainNotFound(path, dataDir, () =>
            verifySnapshot(folder, {
              ...chosen,
              environment: commandEnvironment,
              signal,
              onProgress: (done, total) => progress.show('verify', done, total),
            }),
          ),
        chosen.maxBytesPerSecond,
      );
      const judged = nameOf(folder) === nameOf(path) ? path : `${path} (${nameOf(folder)})`;
      const next = await nextStep(report, folder);
      cli.output.result(report, (style) => [...describe(report, judged, style), ...next]);
      if (!report.ok) cli.exitCode = isDamaged(report) ? DAMAGED : UNREAD;
    });
}

async function verifyEvery(cli: Cli, dir: string, options: Options): Promise<void> {
  const chosen = { ...verifyFlags.read(options), ...nightlyFlags.read(options) };
  noteConcurrency(cli, chosen.concurrency);
  const result = await cli.watched(
    (signal, progress) =>
      explainSingle(dir, () =>
        verifyAllSnapshots(dir, {
          ...chosen,
          environment: commandEnvironment,
          signal,
          onProgress: (done, total) => progress.show('verify', done, total),
        }),
      ),
    chosen.maxBytesPerSecond,
  );
  const owner = ownerOf(result.location);
  const sourceDamaged =
    owner !== undefined &&
    result.totals.damaged > 0 &&
    (await isKnownDamaged(new Snapshots({ dataDir: owner })));
  cli.output.result(result, (style) => verifyAllText(result, sourceDamaged, style));
  if (result.totals.damaged > 0) cli.exitCode = DAMAGED;
  else if (!result.ok) cli.exitCode = UNREAD;
}

/** Where there are no snapshots, a single one may have been meant. */
async function explainSingle<T>(dir: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code } = toStillpointError(error);
    const isSingle = nameOf(dir) === LATEST || isSnapshotName(nameOf(dir));
    if (!isSingle || (code !== 'NOT_FOUND' && code !== 'NOT_A_FOLDER')) throw error;
    throw new StillpointError(
      'INVALID_REQUEST',
      `${dir} is no data directory, and --all verifies all of one`,
      {
        path: dir,
        hint: 'For a single snapshot leave --all out; else name the data directory.',
      },
    );
  }
}

function refuseWithoutAll(options: Options): void {
  const { maxBytes, olderThanMs } = nightlyFlags.read(options);
  if (maxBytes === undefined && olderThanMs === undefined) return;
  const option = maxBytes === undefined ? '--older-than' : '--max-bytes';
  throw new StillpointError('INVALID_REQUEST', `${option} goes with --all`, {
    hint: 'Add --all, or leave it out: a single snapshot is always read whole.',
  });
}

/** What is to be read. `latest` is looked up once, so that what is judged is what is named. */
async function folderOf(path: string, dataDir: string | undefined): Promise<string> {
  if (dataDir === undefined && nameOf(path) !== LATEST) return path;
  return (await findOperand(path, dataDir)).location;
}

/** What to do about damage; nothing where there is none. */
async function nextStep(report: Report, folder: string): Promise<string[]> {
  if (!isDamaged(report)) return [];
  const owner = ownerOf(resolve(folder));
  if (owner !== undefined) {
    return [
      `next: stillpoint list ${shellWord(owner)} shows which snapshots are good; latest-good names the best of them`,
    ];
  }
  const { backup } = await keptLayout(nodeFileSystem, await realFolder(nodeFileSystem, folder));
  const hasSnapshots = (await nodeFileSystem.inspect(backup)) !== undefined;
  if (!hasSnapshots) {
    const salvage = `stillpoint salvage ${shellWord(folder)} --into NEW writes what can still be read of it into a new database`;
    return [`next: use another copy or a backup; without one, ${salvage}`];
  }
  return [
    `next: remove no snapshot; stillpoint list ${shellWord(folder)} shows which are good. With the database closed,`,
    `  stillpoint restore latest-good --data-dir ${shellWord(folder)} --in-place brings the best of them back`,
  ];
}

function describe(report: Report, judged: string, style: Style): string[] {
  const { findings, counts, steps, engine, level } = report;
  const ms = steps.reduce((sum, step) => sum + step.durationMs, 0);
  return [
    ...findingLines(findings, style),
    `${visible(judged)}: ${verdictText(report, style)}  ${style.dim(`(${engine}, level ${level})`)}`,
    `  read${report.medium ? ' from the disk itself' : ''}: ${proofText(report)}`,
    `  ${count(counts.files, 'file')}, ${size(counts.bytes)} in ${duration(ms)}`,
  ];
}
