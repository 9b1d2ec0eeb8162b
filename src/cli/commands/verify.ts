import { type Command, Option } from 'commander';
import { showSnapshot, verifyAll, verifySnapshot } from '../../coordinator/snapshots.ts';
import type { EngineName } from '../../engine/engine.ts';
import type { Level, Report } from '../../engine/report.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import { isSnapshotName, LATEST, nameOf } from '../../snapshot/store/layout.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { examples } from '../help-text.ts';
import {
  addThrottleOptions,
  byteCount,
  dataDirOption,
  engineOption,
  levelOption,
  period,
  type ThrottleFlags,
  throttleOptionsOf,
} from '../options.ts';
import { findingLine, proofText, verdictText } from '../report-text.ts';
import { explainNotFound } from '../snapshot-operand.ts';
import type { Style } from '../style.ts';
import { count, duration, size, visible } from '../text.ts';
import { verifyAllText } from '../verify-all-text.ts';

interface Options extends ThrottleFlags {
  readonly level: Level;
  readonly engine: 'auto' | EngineName;
  readonly dataDir?: string;
  readonly all?: true;
  readonly maxBytes?: number;
  readonly olderThan?: number;
}

const DAMAGED = 3;

export function define(command: Command, cli: Cli): void {
  command
    .addOption(levelOption())
    .addOption(engineOption())
    .addOption(dataDirOption())
    .addOption(
      new Option(
        '--all',
        'all snapshots of a data directory, or in a folder; a file that several share is read once',
      ).conflicts(['dataDir', 'engine']),
    )
    .addOption(
      new Option(
        '--max-bytes <size>',
        'with --all: stop after about so much (4096, 500M, 2G), oldest proof first',
      ).argParser(byteCount),
    )
    .addOption(
      new Option(
        '--older-than <time>',
        'with --all: skip files that were proven since (30m, 12h, 7d)',
      ).argParser(period),
    );
  addThrottleOptions(command, 'read')
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
      const { level, engine, dataDir } = options;
      const folder = await explainNotFound(path, dataDir, () => folderOf(path, dataDir));
      const report = await cli.watched(
        (signal, progress) =>
          explainNotFound(path, dataDir, () =>
            verifySnapshot(folder, {
              environment: commandEnvironment,
              level,
              engine,
              signal,
              ...throttleOptionsOf(cli, options),
              onProgress: (done, total) => progress.show('verify', done, total),
            }),
          ),
        options.maxBytesPerSecond,
      );
      const judged = nameOf(folder) === nameOf(path) ? path : `${path} (${nameOf(folder)})`;
      cli.output.result(report, (style) => describe(report, judged, style));
      if (!report.ok) cli.exitCode = DAMAGED;
    });
}

async function verifyEvery(cli: Cli, dir: string, options: Options): Promise<void> {
  const { level, maxBytes, olderThan } = options;
  const result = await cli.watched(
    (signal, progress) =>
      explainSingle(dir, () =>
        verifyAll(dir, {
          environment: commandEnvironment,
          level,
          signal,
          ...throttleOptionsOf(cli, options),
          ...(maxBytes !== undefined && { maxBytes }),
          ...(olderThan !== undefined && { olderThanMs: olderThan }),
          onProgress: (done, total) => progress.show('verify', done, total),
        }),
      ),
    options.maxBytesPerSecond,
  );
  cli.output.result(result, (style) => verifyAllText(result, style));
  if (!result.ok) cli.exitCode = DAMAGED;
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

function refuseWithoutAll({ maxBytes, olderThan }: Options): void {
  if (maxBytes === undefined && olderThan === undefined) return;
  const option = maxBytes === undefined ? '--older-than' : '--max-bytes';
  throw new StillpointError('INVALID_REQUEST', `${option} goes with --all`, {
    hint: 'Add --all, or leave it out: a single snapshot is always read whole.',
  });
}

/** What is to be read. `latest` is looked up once, so that what is judged is what is named. */
async function folderOf(path: string, dataDir: string | undefined): Promise<string> {
  if (dataDir === undefined && nameOf(path) !== LATEST) return path;
  return (await showSnapshot(path, dataDir === undefined ? {} : { dataDir })).location;
}

function describe(report: Report, judged: string, style: Style): string[] {
  const { findings, counts, steps, engine, level } = report;
  const ms = steps.reduce((sum, step) => sum + step.durationMs, 0);
  return [
    ...findings.map((finding) => findingLine(finding, style)),
    `${visible(judged)}: ${verdictText(report, style)}  ${style.dim(`(${engine}, level ${level})`)}`,
    `  read: ${proofText(report)}`,
    `  ${count(counts.files, 'file')}, ${size(counts.bytes)} in ${duration(ms)}`,
  ];
}
