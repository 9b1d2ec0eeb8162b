export * from './backup/index.ts';
export {
  BackupCoordinator,
  type BackupCoordinatorOptions,
  type BackupEvents,
  type CheckpointHook,
  type SnapshotResult,
} from './coordinator/backup.ts';
export { type ClassicLevelDatabase, snapshotClassicLevel } from './coordinator/classic-level.ts';
export {
  RestoreCoordinator,
  type RestoreCoordinatorOptions,
  type RestoreEvents,
  type RestoreMetadata,
  type RestoreResult,
  type StartRestoreOptions,
} from './coordinator/restore.ts';
export { type SalvageOptions, salvageDatabase } from './coordinator/salvage.ts';
export {
  type GetSnapshotOptions,
  getSnapshot,
  type RestoreSnapshotOptions,
  restoreSnapshot,
  type VerifyAllSnapshotsOptions,
  type VerifySnapshotOptions,
  verifyAllSnapshots,
  verifySnapshot,
} from './coordinator/snapshot-by-path.ts';
export type {
  RestoreIntoOptions,
  RestoreIntoResult,
  VerifyAllOptions,
  VerifyOptions,
} from './coordinator/snapshot-work.ts';
export {
  type RunsOptions,
  type SnapshotList,
  Snapshots,
  type SnapshotsOptions,
} from './coordinator/snapshots.ts';
export type { SnapshotsStatus, StatusOptions } from './coordinator/status.ts';
export type { KeptFolders } from './coordinator/status-findings.ts';
export type * from './engine/api.ts';
export { registerEngine } from './engine/index.ts';
export { createLeveldbEngine, type LeveldbOptions } from './engine/leveldb/create-engine.ts';
export { type ProbeOptions, type ProbeResult, probeWithClassicLevel } from './engine/leveldb/probe.ts';
export type { Report, Verdict } from './engine/report.ts';
export { ERROR_CODES, type ErrorCode, StillpointError } from './errors.ts';
export { type Committed, LsmDatabase, openLsm } from './lsm-database/database.ts';
export type { LsmOptions } from './lsm-database/options.ts';
export type { Recovery } from './operation/data-directory.ts';
export { Lifecycle, type LifecycleMode, type LifecycleOptions } from './operation/lifecycle.ts';
export type { OperationState } from './operation/operation-state.ts';
export type { RunRecord } from './operation/run-record.ts';
export type { CloneChoice, Level, Mode, SnapshotKind } from './options/choices.ts';
export type { StartUndoOptions } from './options/restore.ts';
export type { SnapshotClassicLevelOptions, StartBackupOptions } from './options/snapshot.ts';
export type { BackgroundOptions, ThrottleOptions } from './options/throttle.ts';
export type { DeleteOptions, ListOptions, PruneOptions, PruneUndoOptions } from './options/verify.ts';
export type { LostPart, Salvaged } from './salvage/salvage.ts';
export {
  type AlertTest,
  checkSettings,
  listSchedules,
  type RunSchedulesOptions,
  runSchedules,
  type ScheduleState,
  type SettingsCheck,
  type SettingsProblem,
  testAlerts,
} from './schedule/index.ts';
export type { ScheduledRun } from './schedule/scheduler.ts';
export type { ChangedFile, SnapshotDifference } from './snapshot/compare-snapshots.ts';
export type { SnapshotSource } from './snapshot/source/snapshot-source.ts';
export type { DeletableSnapshot } from './snapshot/store/delete-refusal.ts';
export type { SnapshotSummary } from './snapshot/store/known-snapshot.ts';
export type { PruneResult } from './snapshot/store/prune.ts';
export type { PruneUndoResult, UndoFolder } from './snapshot/store/prune-undo.ts';
export type { ListedSnapshot, SnapshotState, SnapshotTotal } from './snapshot/store/standing.ts';
export type { SnapshotVerdict, VerifyAllResult, VerifyAllTotals } from './snapshot/verify/verify-all.ts';
