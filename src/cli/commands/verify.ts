import type { Command } from 'commander';
import { showSnapshot, verifySnapshot } from '../../coordinator/operations.ts';
import type { EngineName } from '../../engine/engine.ts';
import type { Level, Report } from '../../engine/report.ts';
import { LATEST, nameOf } from '../../snapshot/layout.ts';
import type { Cli } from '../cli.ts';
import { dataDirOption, engineOption, examples, levelOption } from '../options.ts';
import type { Style } from '../output.ts';
import { findingLine, proofText, verdictText } from '../report-text.ts';
import { explainNotFound } from '../snapshot-operand.ts';
import { count, duration, size, visible } from '../text.ts';

interface Options {
  readonly level: Level;
  readonly engine: 'auto' | EngineName;
  readonly dataDir?: string;
}

const DAMAGED = 3;

export function define(command: Command, cli: Cli): void {
  command
    .addOption(levelOption())
    .addOption(engineOption())
    .addOption(dataDirOption())
    .addHelpText(
      'after',
      examples('verify ./data', 'verify latest --data-dir ./data', 'verify ./copy --level files --json'),
    )
    .action(async (path: string, { level, engine, dataDir }: Options) => {
      const folder = await explainNotFound(path, dataDir, () => folderOf(path, dataDir));
      const report = await cli.watched((signal, progress) =>
        explainNotFound(path, dataDir, () =>
          verifySnapshot(folder, {
            level,
            engine,
            signal,
            onProgress: (done, total) => progress.show('verify', done, total),
          }),
        ),
      );
      const judged = nameOf(folder) === nameOf(path) ? path : `${path} (${nameOf(folder)})`;
      cli.output.result(report, (style) => describe(report, judged, style));
      if (!report.ok) cli.exitCode = DAMAGED;
    });
}

/** What is to be read. `latest` is looked up once, so that what is judged is what is named. */
async function folderOf(path: string, dataDir: string | undefined): Promise<string> {
  if (dataDir === undefined && nameOf(path) !== LATEST) return path;
  return (await showSnapshot(path, dataDir === undefined ? {} : { dataDir })).location;
}

function describe(report: Report, judged: string, style: Style): string[] {
  const { findings, counts, steps, engine, level } = report;
  const ms = steps.reduce((sum, step) => sum + step.duration_ms, 0);
  return [
    ...findings.map((finding) => findingLine(finding, style)),
    `${visible(judged)}: ${verdictText(report, style)}  ${style.dim(`(${engine}, level ${level})`)}`,
    `  read: ${proofText(report)}`,
    `  ${count(counts.files, 'file')}, ${size(counts.bytes)} in ${duration(ms)}`,
  ];
}
