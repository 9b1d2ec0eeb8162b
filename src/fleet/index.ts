export { AdminClient, type AdminClientOptions } from '../rpc/client.ts';
export {
  type FleetFinding,
  type FleetReport,
  type VerifyFleetOptions,
  verifyFleetBackup,
} from './copies/integrity.ts';
export {
  type AbortResult,
  abortFleet,
  checkFleet,
  downloadFleet,
  type FleetCheck,
  type FleetRun,
  httpExecutor,
  type NodeCheck,
  planFleet,
  runFleet,
} from './fleet.ts';
export type { FleetFile } from './fleet-file.ts';
export { type ForgottenFleet, forgetFleet, forgetFleetIn } from './forget.ts';
export type { HttpExecutor, HttpExecutorOptions } from './http/executor.ts';
export type {
  AbortFleetOptions,
  CheckFleetOptions,
  DownloadFleetOptions,
  DownloadSnapshotsOptions,
  PlanFleetOptions,
  RestoreFleetOptions,
  RunFleetOptions,
  UndoFleetOptions,
} from './options.ts';
export type { FleetPlan } from './plan/derive-plan.ts';
export type { BackupPlan, PlanRepository, PlanTarget, Policy } from './plan/plan.ts';
export type { PreflightReceipts, ReceiptDetail } from './plan/receipts.ts';
export {
  type FleetRestore,
  type FleetRestoreNode,
  restoreFleet,
  undoFleetRestore,
} from './restore/restore-fleet.ts';
export type { RestoreProgress } from './restore/restore-run.ts';
export { downloadSnapshots, type SnapshotDownload } from './run/download-snapshots.ts';
export type { EffectContext, FleetExecutor, PreflightRequest } from './run/executor.ts';
export type { NodeProgress } from './run/node-progress.ts';
export {
  type ExecuteConfig,
  type ExecutedOperation,
  type ExecutionResponse,
  executeBackupPlan,
  type ResumeSummary,
} from './run/run-in-order.ts';
export {
  type FleetRunResult,
  type NodeResult,
  type RunConfig,
  runFleetBackup,
  type UnitResult,
} from './run/run-in-parallel.ts';
export type { LifecycleMode, RegistryRequest, SnapshotDriver, SnapshotScope } from './run/snapshot-driver.ts';
export { type FleetStatus, fleetStatus } from './status.ts';
