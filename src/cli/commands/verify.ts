import type { Command } from 'commander';
import { verifySnapshot } from '../../coordinator/operations.ts';
import type { EngineName } from '../../engine/engine.ts';
import type { Level, Report } from '../../engine/report.ts';
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
      const report = await cli.watched((signal, progress) =>
        explainNotFound(path, dataDir, () =>
          verifySnapshot(path, {
            level,
            engine,
            signal,
            onProgress: (done, total) => progress.show('verify', done, total),
            ...(dataDir !== undefined && { dataDir }),
          }),
        ),
      );
      cli.output.result(report, (style) => describe(report, path, style));
      if (!report.ok) cli.exitCode = DAMAGED;
    });
}

function describe(report: Report, path: string, style: Style): string[] {
  const { findings, counts, steps, engine, level } = report;
  const ms = steps.reduce((sum, step) => sum + step.duration_ms, 0);
  return [
    ...findings.map((finding) => findingLine(finding, style)),
    `${visible(path)}: ${verdictText(report, style)}  ${style.dim(`(${engine}, level ${level})`)}`,
    `  read: ${proofText(report)}`,
    `  ${count(counts.files, 'file')}, ${size(counts.bytes)} in ${duration(ms)}`,
  ];
}
