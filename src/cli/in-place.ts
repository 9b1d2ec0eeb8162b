import { basename, dirname, resolve } from 'node:path';
import { RestoreCoordinator, type RestoreResult, type StartRestoreOptions } from '../coordinator/restore.ts';
import { getSnapshot } from '../coordinator/snapshot-by-path.ts';
import { nodeFileSystem } from '../env/node-file-system.ts';
import { StillpointError } from '../errors.ts';
import { Lifecycle } from '../operation/lifecycle.ts';
import type { StartUndoOptions } from '../options/restore.ts';
import { shellWord } from '../options/shell-word.ts';
import type { SnapshotSource } from '../snapshot/source/snapshot-source.ts';
import { LATEST, ownerOf } from '../snapshot/store/layout.ts';
import type { Cli } from './cli.ts';
import { commandEnvironment } from './environment.ts';
import { explainNoSpaceToRestore } from './no-space.ts';
import { patiently } from './patience.ts';
import type { Progress } from './progress.ts';
import { recoverFirst } from './recover-first.ts';
import { visible } from './text.ts';

/**
 * Restores a snapshot in place. Without a data directory the snapshot must be a path inside the lifecycle folder of one.
 * The path may lie anywhere: the user of the command has access to it anyway.
 */
export async function restoreInPlace(
  cli: Cli,
  snapshot: string,
  dataDir: string | undefined,
  how: Omit<StartRestoreOptions, 'source'>,
  waitMs = 0,
): Promise<RestoreResult> {
  const path = await nodeFileSystem.realPath(snapshot).catch(() => resolve(snapshot));
  const owner = ownerOf(path);
  const target = dataDir ?? owner;
  if (target === undefined) {
    throw new StillpointError('INVALID_REQUEST', `the data directory to restore ${snapshot} in is missing`, {
      path: snapshot,
      hint: 'Add `--data-dir DIR`, or name a path inside DIR/.lifecycle/.',
    });
  }
  // `latest` by its path: the snapshot that the marker names.
  const isMarker = owner !== undefined && basename(path) === LATEST;
  const location = isMarker ? (await getSnapshot(path)).location : path;
  const source = dataDir === undefined || isMarker ? location : snapshot;
  return exchange(
    cli,
    target,
    { allowedSources: [dirname(location)] },
    (coordinator, signal) => coordinator.startRestore({ source, ...how, signal }),
    { waitMs, maxBytesPerSecond: how.maxBytesPerSecond },
  );
}

/** Restores what lies elsewhere in place: a backup in a repository. */
export function restoreFrom(
  cli: Cli,
  dataDir: string,
  source: () => Promise<SnapshotSource>,
  how: Omit<StartRestoreOptions, 'source'>,
): Promise<RestoreResult> {
  return exchange(cli, dataDir, {}, (coordinator, signal) =>
    coordinator.startRestore({ ...how, source, signal }),
  );
}

export function undoInPlace(
  cli: Cli,
  dataDir: string,
  options: StartUndoOptions,
  waitMs: number,
): Promise<RestoreResult> {
  return exchange(cli, dataDir, {}, (coordinator) => coordinator.startUndo(options), { waitMs });
}

/** What says how to come back. */
export const describeUndo = (dataDir: string, undo: string): string[] => [
  `  replaced files: ${visible(undo)}`,
  `  back with: stillpoint undo ${shellWord(dataDir)}`,
];

async function exchange(
  cli: Cli,
  dataDir: string,
  options: { readonly allowedSources?: readonly string[] },
  start: (coordinator: RestoreCoordinator, signal: AbortSignal) => Promise<{ id: string }>,
  { waitMs = 0, maxBytesPerSecond }: { waitMs?: number; maxBytesPerSecond?: number | undefined } = {},
): Promise<RestoreResult> {
  const lifecycle = new Lifecycle({ dataDir, environment: commandEnvironment });
  await cli.interruptible((signal) => patiently(cli, waitMs, signal, () => recoverFirst(cli, lifecycle)));
  const coordinator = new RestoreCoordinator({ dataDir, lifecycle, ...options });
  const work = async (signal: AbortSignal, progress: Progress): Promise<RestoreResult> => {
    const { id } = await patiently(cli, waitMs, signal, () => start(coordinator, signal));
    const cancel = () => {
      if (!coordinator.cancel(id))
        cli.output.note('the files are being exchanged already; that goes to its end');
    };
    signal.addEventListener('abort', cancel, { once: true });
    if (signal.aborted) cancel();
    progress.follow(async () => {
      const state = await coordinator.status(id);
      const { bytesProcessed, bytesTotal } = state.progress ?? {};
      progress.show(state.phase ?? '', bytesProcessed ?? 0, bytesTotal ?? 0);
    });
    return coordinator.finished(id);
  };
  return explainNoSpaceToRestore(() => cli.watched(work, maxBytesPerSecond));
}
