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
  RestoreCoordinator,
  type RestoreCoordinatorOptions,
  type RestoreEvents,
  type RestoreMetadata,
  type RestoreResult,
  type StartRestoreOptions,
} from './coordinator/restore.ts';
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
} from './coordinator/snapshots.ts';
export type * from './engine/api.ts';
export { registerEngine } from './engine/index.ts';
export { createLeveldbEngine, type LeveldbOptions } from './engine/leveldb/index.ts';
export { type ClassicLevelProbe, openWithClassicLevel, type ProbeResult } from './engine/leveldb/probe.ts';
export type { Report, Verdict } from './engine/report.ts';
export { CATALOGUE, type ErrorCode, StillpointError } from './errors.ts';
export { type Committed, LsmDatabase, openLsm } from './lsm-database/database.ts';
export type { LsmOptions } from './lsm-database/options.ts';
export {
  Lifecycle,
  type LifecycleMode,
  type LifecycleOptions,
  type Recovery,
} from './operation/lifecycle.ts';
export type { OperationState } from './operation/operation-state.ts';
export type { BackgroundOptions, ThrottleOptions } from './operation/throttle.ts';
export type { Mode } from './snapshot/capture/capture.ts';
export type { SnapshotSource } from './snapshot/source/snapshot-source.ts';
export type { SnapshotSummary } from './snapshot/store/list.ts';
export type { SnapshotVerdict, VerifyAllResult, VerifyAllTotals } from './snapshot/verify/verify-all.ts';
