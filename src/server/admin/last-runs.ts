import type { BackupCoordinator } from '../../coordinator/backup.ts';
import type { RestoreCoordinator } from '../../coordinator/restore.ts';
import type { Lifecycle } from '../../operation/lifecycle.ts';
import { isFinished, type OperationState } from '../../operation/operation-state.ts';
import { type SnakeCased, toJson } from '../../options/casing.ts';

/** The newest backup and the newest restore, also of earlier processes, for `status`. Undoing counts as a restore. */
export class LastRuns {
  backupId: string | undefined;
  restoreId: string | undefined;
  lastBackupAtMs: number | null = null;
  lastRestoreAtMs: number | null = null;

  static async load(
    lifecycle: Lifecycle,
    backups: BackupCoordinator,
    restores: RestoreCoordinator,
  ): Promise<LastRuns> {
    const runs = new LastRuns();
    for (const { id, kind, state } of await lifecycle.runs()) {
      const finishedMs = state.status === 'completed' ? state.finishedAtMs : null;
      if (kind === 'backup') {
        runs.backupId = id;
        runs.lastBackupAtMs = finishedMs ?? runs.lastBackupAtMs;
      } else if (kind === 'restore' || kind === 'undo') {
        runs.restoreId = id;
        runs.lastRestoreAtMs = finishedMs ?? runs.lastRestoreAtMs;
      }
    }
    // The archive and exports are snapshots too, but none that a restore finds by itself.
    backups.on('completed', ({ id, state }) => {
      if (id === runs.backupId) runs.lastBackupAtMs = state.finishedAtMs;
    });
    restores.on('completed', ({ state }) => {
      runs.lastRestoreAtMs = state.finishedAtMs;
    });
    return runs;
  }
}

/**
 * The state of a run; when it has finished, only after its place is free for the next one. So whoever reads `completed` may
 * start another run at once.
 */
export async function settledState(
  coordinator: Pick<BackupCoordinator | RestoreCoordinator, 'status' | 'finished'>,
  id: string,
): Promise<OperationState> {
  const state = await coordinator.status(id);
  // A run of an earlier process has no outcome here; a failed one has its reason in its state.
  if (isFinished(state)) await coordinator.finished(id).catch(() => undefined);
  return state;
}

/** What a completed run of this process resolved to, without the state, which its reply has anyway; null for any other. */
export async function resultOf<Result extends { readonly id: string; readonly state: OperationState }>(
  coordinator: { finished(id: string): Promise<Result> },
  id: string,
  { status }: OperationState,
): Promise<SnakeCased<Omit<Result, 'id' | 'state'>> | null> {
  if (status !== 'completed') return null;
  const result = await coordinator.finished(id).catch(() => undefined);
  if (result === undefined) return null;
  const { id: _, state: __, ...rest } = result;
  return toJson(rest);
}
