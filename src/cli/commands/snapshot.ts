import type { Command } from 'commander';
import { BackupCoordinator, type SnapshotResult } from '../../coordinator/backup.ts';
import { Snapshots } from '../../coordinator/snapshots.ts';
import { Lifecycle, lifecycleOptions } from '../../operation/lifecycle.ts';
import { snapshotOptions } from '../../options/snapshot.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { Flags, type Given } from '../flags.ts';
import { examples } from '../help-text.ts';
import { isKnownDamaged } from '../known-damage.ts';
import { explainNoSpace } from '../no-space.ts';
import { engineFlag, noteConcurrency } from '../options.ts';
import { addWaitFlag, patiently, waitMs } from '../patience.ts';
import { recoverFirst } from '../recover-first.ts';
import { findingLines, proofText } from '../report-text.ts';
import type { Style } from '../style.ts';
import { count, duration, leftLine, size, visible } from '../text.ts';

const flags = new Flags(snapshotOptions.fields, [
  ...(['mode', 'clone', 'reuse', 'reprove', 'allowUnread', 'level', 'keep'] as const),
  ...(['pace', 'medium', 'maxBytesPerSecond', 'concurrency'] as const),
]);

const DAMAGED =
  'the database itself is known to be damaged, though this snapshot is proven: `stillpoint status` says what to do';

const placeFlags = new Flags(lifecycleOptions.fields, ['lifecycleDir']);

export function define(command: Command, cli: Cli): void {
  engineFlag.addTo(command);
  placeFlags.addTo(command);
  flags.addTo(command);
  addWaitFlag(command)
    .addHelpText(
      'after',
      examples(
        'snapshot ./data',
        'snapshot ./data --keep 7 --json',
        'snapshot ./data --mode link --level open',
        'snapshot ./data --keep 7 --quiet --wait 30m  # from a timer',
        'snapshot ./data --to /mnt/other-disk/data  # remembered: list, restore and undo find it',
        'snapshot ./data --reprove',
        'snapshot ./data --pace quiet  # beside a busy database',
        'snapshot ./data --max-bytes-per-second 20M --concurrency 1',
      ),
    )
    .action((dir: string, given: Given) => explainNoSpace(dir, () => takeSnapshot(cli, dir, given)));
}

async function takeSnapshot(cli: Cli, dataDir: string, given: Given): Promise<void> {
  const options = flags.read(given);
  noteConcurrency(cli, options.concurrency);
  const lifecycle = new Lifecycle({ dataDir, ...placeFlags.read(given), environment: commandEnvironment });
  await cli.interruptible((signal) =>
    patiently(cli, waitMs(given), signal, () => recoverFirst(cli, lifecycle)),
  );
  const coordinator = new BackupCoordinator({ dataDir, lifecycle, ...engineFlag.read(given) });
  const result = await cli.watched(async (signal, progress) => {
    const { id } = await patiently(cli, waitMs(given), signal, () =>
      coordinator.startBackup({ ...options, signal }),
    );
    progress.follow(async () => {
      const state = await coordinator.status(id);
      const { bytesProcessed, bytesTotal } = state.progress ?? {};
      progress.show(state.phase ?? '', bytesProcessed ?? 0, bytesTotal ?? 0);
    });
    return coordinator.finished(id);
  }, options.maxBytesPerSecond);
  // A timer's run that says nothing would let the last snapshot of what was there grow old unseen.
  if (cli.output.quiet)
    for (const { code, message } of result.report.findings)
      if (code === 'STATE_OLDER') cli.output.warning(message);
  // It may share what was proven before, and then says nothing of the database's own files.
  if (await isKnownDamaged(new Snapshots({ dataDir }))) cli.output.warning(DAMAGED);
  cli.output.result(result, (style) => summarize(result, style, options.clone));
}

function summarize(result: SnapshotResult, style: Style, clone?: string): string[] {
  const { name, engine, location, entries, totalBytes, report, leftOut, pruned } = result;
  const { copiedBytes, linkedBytes, clonedBytes, reusedBytes, carriedBytes, reprovenBytes } = result;
  const holes = totalBytes - copiedBytes - linkedBytes - clonedBytes - reusedBytes;
  const shares = [
    `${size(copiedBytes)} copied`,
    ...(linkedBytes > 0 ? [`${size(linkedBytes)} shared with the database`] : []),
    ...(clonedBytes > 0 ? [`${size(clonedBytes)} cloned, blocks shared with the database`] : []),
    ...(reusedBytes > 0 ? [`${size(reusedBytes)} shared with the last snapshot`] : []),
    ...(holes > 0 ? [`${size(holes)} of holes`] : []),
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
    ...findingLines(report.findings, style).map((line) => `  ${line}`),
    ...leftLine(
      'not in the snapshot, since the engine did not write it (`--engine parts` takes it too)',
      leftOut,
    ),
    `  ${duration(ms)}`,
    ...(pruned.length === 0 ? [] : [`  pruned: ${pruned.join(', ')}`]),
  ];
}
