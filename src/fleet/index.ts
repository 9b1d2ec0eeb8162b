export type { EffectContext, FleetExecutor, PreflightRequest } from './executor.ts';
export {
  type FleetFinding,
  type FleetReport,
  type VerifyFleetOptions,
  verifyFleetBackup,
} from './integrity.ts';
export type { BackupPlan, PlanTarget, Policy } from './plan.ts';
export type { PreflightReceipts, ReceiptDetail } from './receipts.ts';
export {
  type ExecuteConfig,
  type ExecutedOperation,
  type ExecutionResponse,
  executeBackupPlan,
  type ResumeSummary,
} from './runner.ts';
