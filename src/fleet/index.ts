export { downloadSnapshots, type SnapshotDownload } from './download-snapshots.ts';
export type { EffectContext, FleetExecutor, PreflightRequest } from './executor.ts';
export {
  type AbortResult,
  abortFleet,
  checkFleet,
  downloadFleet,
  type FleetCheck,
  httpExecutor,
  type NodeCheck,
  planFleet,
  runFleet,
} from './fleet.ts';
export type { FleetFile } from './fleet-file.ts';
export type { HttpExecutor, HttpExecutorOptions } from './http/executor.ts';
export {
  type FleetFinding,
  type FleetReport,
  type VerifyFleetOptions,
  verifyFleetBackup,
} from './integrity.ts';
export type { FleetPlan } from './make-plan.ts';
export type { NodeProgress } from './node-progress.ts';
export type {
  AbortFleetOptions,
  CheckFleetOptions,
  DownloadFleetOptions,
  DownloadSnapshotsOptions,
  PlanFleetOptions,
  RunFleetOptions,
} from './options.ts';
export type { BackupPlan, PlanTarget, Policy } from './plan.ts';
export type { PreflightReceipts, ReceiptDetail } from './receipts.ts';
export {
  type ExecuteConfig,
  type ExecutedOperation,
  type ExecutionResponse,
  executeBackupPlan,
  type ResumeSummary,
} from './run-in-order.ts';
export {
  type FleetRunResult,
  type NodeResult,
  type RunConfig,
  runFleetBackup,
  type UnitResult,
} from './run-in-parallel.ts';
export type { LifecycleMode, RegistryRequest, SnapshotDriver, SnapshotScope } from './snapshot-driver.ts';
export { type FleetStatus, fleetStatus } from './status.ts';
