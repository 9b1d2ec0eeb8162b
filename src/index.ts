export {
  BackupCoordinator,
  type BackupCoordinatorOptions,
  type BackupEvents,
  type CheckpointHook,
  type SnapshotResult,
  type StartBackupOptions,
} from './coordinator/backup.ts';
export { type LevelDatabase, type SnapshotLevelOptions, snapshotLevel } from './coordinator/level.ts';
export {
  Lifecycle,
  type LifecycleMode,
  type LifecycleOptions,
  type Recovery,
} from './coordinator/lifecycle.ts';
export type { BackgroundOptions, Manners } from './coordinator/manners.ts';
export type { OperationState } from './coordinator/operation-state.ts';
export {
  deleteSnapshot,
  listSnapshots,
  pruneSnapshots,
  type RestoreIntoResult,
  restoreSnapshot,
  type SnapshotList,
  showSnapshot,
  type VerifyAllOptions,
  verifyAll,
  verifySnapshot,
} from './coordinator/operations.ts';
export {
  RestoreCoordinator,
  type RestoreCoordinatorOptions,
  type RestoreEvents,
  type RestoreMetadata,
  type RestoreResult,
  type StartRestoreOptions,
} from './coordinator/restore.ts';
export type { CaptureItem, CapturePlan, Engine, EngineName, Hold } from './engine/engine.ts';
export { createLeveldbEngine, type LeveldbOptions } from './engine/leveldb/index.ts';
export { type ClassicLevelProbe, openWithClassicLevel, type ProbeResult } from './engine/leveldb/probe.ts';
export { type Committed, LsmDatabase, openLsm } from './engine/lsm/database/database.ts';
export type { LsmOptions } from './engine/lsm/database/options.ts';
export type { Counts, Finding, Level, Report, Verdict } from './engine/report.ts';
export { CATALOGUE, type ErrorCode, StillpointError } from './errors.ts';
export type { Mode } from './snapshot/capture.ts';
export type { SnapshotSummary } from './snapshot/list.ts';
export type { SnapshotVerdict, VerifyAllResult, VerifyAllTotals } from './snapshot/verify-all.ts';
