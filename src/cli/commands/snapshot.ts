import { type Command, Option } from 'commander';
import { BackupCoordinator, type SnapshotResult } from '../../coordinator/backup.ts';
import type { EngineName } from '../../engine/engine.ts';
import type { Level } from '../../engine/report.ts';
import { Lifecycle } from '../../operation/lifecycle.ts';
import { MODES, type Mode } from '../../snapshot/capture/capture.ts';
import type { CloneChoice } from '../../snapshot/tasks/reflinker.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { examples } from '../help-text.ts';
import {
  addThrottleOptions,
  cloneOption,
  engineOption,
  levelOption,
  positiveInteger,
  type ThrottleFlags,
  throttleOptionsOf,
} from '../options.ts';
import { recoverFirst } from '../recover-first.ts';
import { findingLine, proofText } from '../report-text.ts';
import type { Style } from '../style.ts';
import { count, duration, size, visible } from '../text.ts';

interface Options extends ThrottleFlags {
  readonly engine: 'auto' | EngineName;
  readonly mode: Mode;
  readonly clone: CloneChoice;
  readonly full?: true;
  readonly reprove?: true;
  readonly level: Level;
  readonly keep?: number;
}

export function define(command: Command, cli: Cli): void {
  command
    .addOption(engineOption())
    .addOption(
      new Option(
        '--mode <mode>',
        'copy (shares nothing with the database) or link (hard links, same file system)',
      )
        .choices(MODES)
        .default('copy'),
    )
    .addOption(cloneOption('unchanging files'))
    .option('--full', 'copy every file anew, also those that the last snapshot holds unchanged')
    .option('--reprove', 'read again also what is shared with the last snapshot and was proven then')
    .addOption(levelOption())
    .addOption(
      new Option('--keep <n>', 'afterwards remove all but the newest n snapshots').argParser(positiveInteger),
    );
  addThrottleOptions(command, 'copy and read back')
    .addHelpText(
      'after',
      examples(
        'snapshot ./data',
        'snapshot ./data --keep 7 --json',
        'snapshot ./data --mode link --level open',
        'snapshot ./data --reprove',
        'snapshot ./data --max-bytes-per-second 20M --concurrency 1',
      ),
    )
    .action((dir: string, options: Options) => takeSnapshot(cli, dir, options));
}

async function takeSnapshot(cli: Cli, dataDir: string, options: Options): Promise<void> {
  const { engine, mode, clone, level, keep } = options;
  const lifecycle = new Lifecycle({ dataDir, environment: commandEnvironment });
  await recoverFirst(cli, lifecycle);
  const coordinator = new BackupCoordinator({ dataDir, engine, lifecycle });
  const result = await cli.watched(async (signal, progress) => {
    const { full = false, reprove = false } = options;
    const { id } = await coordinator.startBackup({
      mode,
      clone,
      level,
      reuse: !full,
      reprove,
      signal,
      ...throttleOptionsOf(cli, options),
      ...(keep !== undefined && { keep }),
    });
    progress.follow(async () => {
      const state = await coordinator.status(id);
      const { bytesProcessed, bytesTotal } = state.progress ?? {};
      progress.show(state.phase ?? '', bytesProcessed ?? 0, bytesTotal ?? 0);
    });
    return coordinator.finished(id);
  }, options.maxBytesPerSecond);
  cli.output.result(result, (style) => summarize(result, style, options.clone));
}

function summarize(result: SnapshotResult, style: Style, clone?: string): string[] {
  const { name, engine, location, entries, totalBytes, report, pruned } = result;
  const { copiedBytes, linkedBytes, clonedBytes, reusedBytes, carriedBytes, reprovenBytes } = result;
  const holes = totalBytes - copiedBytes - linkedBytes - clonedBytes - reusedBytes;
  const shares = [
    `${size(copiedBytes)} copied`,
    ...(linkedBytes > 0 ? [`${size(linkedBytes)} shared with the database`] : []),
    ...(clonedBytes > 0 ? [`${size(clonedBytes)} cloned, blocks shared with the database`] : []),
    ...(reusedBytes > 0 ? [`${size(reusedBytes)} shared with the last snapshot`] : []),
    ...(holes > 0 ? [`the rest is holes`] : []),
    ...(clone === 'auto' && clonedBytes === 0 && copiedBytes > 0 ? ['nothing could be cloned'] : []),
  ];
  const proofs = [
    proofText(report),
    ...(carriedBytes > 0 ? [`${size(carriedBytes)} by an earlier proof`] : []),
    ...(reprovenBytes > 0 ? [`${size(reprovenBytes)} shared, and read again`] : []),
  ];
  const ms = Object.values(result.durationsMs).reduce((sum, phase) => sum + phase, 0);
  return [
    `${style.bold(name)}  ${engine}  ${style.dim(visible(location))}`,
    `  ${count(entries, 'file')}, ${size(totalBytes)}: ${shares.join(', ')}`,
    `  ${style.green('proven')}: ${proofs.join('; ')}`,
    ...report.findings.map((finding) => `  ${findingLine(finding, style)}`),
    `  ${duration(ms)}`,
    ...(pruned.length === 0 ? [] : [`  pruned: ${pruned.join(', ')}`]),
  ];
}
