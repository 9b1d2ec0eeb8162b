export type { EffectContext, FleetExecutor, PreflightRequest } from './executor.ts';
export {
  type AbortResult,
  abortFleet,
  checkFleet,
  type FleetCheck,
  type NodeCheck,
  planFleet,
  runFleet,
} from './fleet.ts';
export { type FleetFile, readFleetFile } from './fleet-file.ts';
export { HttpExecutor, type HttpExecutorOptions } from './http/executor.ts';
export {
  type FleetFinding,
  type FleetReport,
  type VerifyFleetOptions,
  verifyFleetBackup,
} from './integrity.ts';
export type { FleetPlan } from './make-plan.ts';
export type { AbortFleetOptions, CheckFleetOptions, PlanFleetOptions, RunFleetOptions } from './options.ts';
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
  type NodeProgress,
  type NodeResult,
  type RunConfig,
  runFleetBackup,
  type UnitResult,
} from './run-in-parallel.ts';
export { type FleetStatus, fleetStatus } from './status.ts';
