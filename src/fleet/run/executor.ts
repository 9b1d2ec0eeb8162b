import type { BackupPlan, PlanRepository, PlanTarget } from '../plan/plan.ts';
import type { PreflightReceipts, Receipt, ReceiptDetail } from '../plan/receipts.ts';

/** What one call of an executor is part of. */
export interface EffectContext {
  /**
   * `<run>/<operation>/<window>/<attempt>`: the same for the same effect, also after the controller died in the middle of it. An
   * executor that hands it on to the node gets each effect once.
   */
  readonly key: string;
  readonly runId: string;
  readonly attempt: number;
  readonly window: number;
  /** Aborted when the run is cancelled. */
  readonly signal: AbortSignal;
  /** What the target's `stop` returned in this window. */
  readonly stopped: ReceiptDetail | undefined;
  /** Of `createSnapshot`: call it when no write changes the snapshot any more. The target may take writes again from then on. */
  readonly onCaptured?: (() => void) | undefined;
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

export interface PreflightRequest {
  readonly plan: BackupPlan;
  readonly preflightId: string;
  /** The targets that are to be stopped next, and must be idle: others may be busy with snapshots of this run. Default: all. */
  readonly idle?: readonly string[] | undefined;
  readonly signal: AbortSignal;
}

/**
 * What does the work of a plan. Every function rejects when it did not do it; an effect whose answer was lost is asked for again with
 * the same key.
 */
export interface FleetExecutor {
  /**
   * Proves that the nodes are those of the plan and that everything that follows is allowed. Changes nothing. The receipts name
   * the plan and the preflight, and have one entry for each target in the plan's order.
   */
  preflight(request: PreflightRequest): Promise<PreflightReceipts>;
  /** Resolves when the target could be stopped at once. Changes nothing. Default: it always can. */
  ready?(target: PlanTarget, context: Pick<EffectContext, 'runId' | 'signal'>): Promise<void>;
  /** The target takes no more writes when this resolves. What it returns is on record for the calls that follow. */
  stop(target: PlanTarget, context: EffectContext): Promise<ReceiptDetail | undefined>;
  /** Resolves to the snapshot's id. `LEASE_LOST`: the target took writes meanwhile, and the unit needs a new window. */
  createSnapshot(target: PlanTarget, context: EffectContext): Promise<{ readonly snapshotId: string }>;
  /** The target takes writes again. Doing it twice is no error. */
  start(target: PlanTarget, context: EffectContext): Promise<void>;
  /** Writes the snapshot's files into `into`, an existing folder. The runner brings them to disk. What it returns is on record. */
  downloadSnapshot(
    target: PlanTarget,
    snapshot: { readonly snapshotId: string; readonly into: string },
    context: EffectContext,
  ): Promise<ReceiptDetail | undefined>;
  /**
   * Has the target upload the snapshot into a repository that its own settings name, and writes into `into`, an existing folder, where
   * that backup is. Needed for plans with a repository.
   */
  pushSnapshot?(
    target: PlanTarget,
    snapshot: { readonly snapshotId: string; readonly into: string; readonly repository: PlanRepository },
    context: EffectContext,
  ): Promise<ReceiptDetail | undefined>;
  /** Whether `into` may hold what an attempt before has left. Default false: it is emptied. */
  readonly resumesDownloads?: boolean;
  /** A further check of a download, before its digest is recorded. An error with exit code 3 means that the copy is bad. */
  verifyArtifact?(
    target: PlanTarget,
    artifact: {
      readonly snapshotId: string;
      readonly dir: string;
      /** Where the snapshot was pushed to: `dir` only says where it is there. What is good is pinned there. */
      readonly repository?: PlanRepository | undefined;
      /** Of the fleet backup that it is part of: pins carry its name. */
      readonly backupId: string;
    },
    context: EffectContext,
  ): Promise<ReceiptDetail | undefined>;
}

export const effectKey = (runId: string, operationId: string, window: number, attempt: number): string =>
  `${runId}/${operationId}/${window}/${attempt}`;

/** The receipt's part that an executor's answer fills. */
export type ReceiptFacts = Pick<Receipt, 'snapshot_id' | 'artifact_path' | 'checksum' | 'detail'>;
