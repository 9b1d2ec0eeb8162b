import { ERROR_CODES, type ErrorCode, StillpointError, toStillpointError } from '../../errors.ts';
import { TOOL } from '../../snapshot/version.ts';
import {
  artifactPathOf,
  makeDurable,
  prepareDownload,
  syncTree,
  temporaryFolderOf,
} from '../copies/artifacts.ts';
import { folderDigest } from '../copies/digest.ts';
import { buildManifest, readFleetManifest, writeFleetManifest } from '../copies/manifest.ts';
import type { FleetEnvironment } from '../journal/open-run.ts';
import {
  type ArtifactRow,
  isDone,
  type JournalRecord,
  type OperationRow,
} from '../journal/operation-states.ts';
import type { BackupPlan, PlanTarget, PlanUnit } from '../plan/plan.ts';
import { checkPreflight, PREFLIGHT_VALID_MS, type Receipt } from '../plan/receipts.ts';
import type { Claim, Decision, EndedRecord, Lane, StepWithPoint } from '../steps/steps.ts';
import { type EffectContext, effectKey, type FleetExecutor, type ReceiptFacts } from './executor.ts';

/** What an operation leaves: the facts of its receipt, and the new row of the target's artifact. */
interface Effect {
  readonly facts: ReceiptFacts;
  readonly artifact?: ArtifactRow;
}

export interface OperationsOptions {
  readonly env: FleetEnvironment;
  readonly layout: string;
  readonly plan: BackupPlan;
  /** Drives the operations and records them. */
  readonly lane: Lane;
  readonly executor: FleetExecutor;
  readonly signal: AbortSignal;
}

/** A node that loses its lease again and again needs a longer lease, and not another window. */
const MOST_REOPENED = 3;

/**
 * Runs single operations of a plan: claimed, then done, then ended, each on record. Which one is next is the
 * runner's to decide.
 */
export class Operations {
  readonly #options: OperationsOptions;
  readonly #targets: ReadonlyMap<string, PlanTarget>;

  #reopened = 0;

  constructor(options: OperationsOptions) {
    this.#options = options;
    this.#targets = new Map(options.plan.targets.map((target) => [target.target_id, target]));
  }

  /** Asks for receipts unless the last ones are still good. Rejects with `PREFLIGHT_REFUSED` or `TOPOLOGY_CHANGED`. */
  async ensurePreflight(idle?: readonly string[]): Promise<void> {
    await this.#options.lane.decide('preflight', () =>
      this.#isPreflightValid ? undefined : this.#preflight(idle),
    );
  }

  /** Waits until all nodes of a unit can be stopped at once, so that none is stopped while another is busy. */
  async ensureReady({ unit_id, targets }: PlanUnit): Promise<void> {
    const { lane, executor, plan, signal } = this.#options;
    await lane.decide(`ready ${unit_id}`, async () => {
      const ready = (id: string) => executor.ready?.(this.#targets.get(id)!, { runId: plan.run_id, signal });
      await Promise.all(targets.map(ready));
      return undefined;
    });
  }

  /** Whether the receipts of the last preflight are good at this moment. A clock that went back makes them bad. */
  get #isPreflightValid(): boolean {
    const { preflight } = this.#options.lane.execution;
    const nowMs = this.#options.env.clock.nowMs();
    return preflight !== null && nowMs >= preflight.accepted_at_ms && nowMs < preflight.valid_until_ms;
  }

  async #preflight(idle: readonly string[] | undefined): Promise<Decision> {
    const { env, plan, executor, signal } = this.#options;
    if (plan.repository !== undefined && executor.pushSnapshot === undefined)
      throw new StillpointError('PREFLIGHT_REFUSED', 'this executor cannot push snapshots into a repository');
    const preflightId = env.newId();
    const acceptedAtMs = env.clock.nowMs(); // before they are asked for: what they say is at least so old
    const receipts = checkPreflight(
      plan,
      preflightId,
      await executor.preflight({ plan, preflightId, idle, signal }),
    );
    return {
      type: 'preflight',
      accepted: {
        preflight_id: preflightId,
        accepted_at_ms: acceptedAtMs,
        valid_until_ms: acceptedAtMs + PREFLIGHT_VALID_MS,
        receipts,
      },
    };
  }

  /**
   * Runs one operation. When it fails, its receipt says why, and the failure is thrown.
   * @param onProgress Called as the bytes of its effect move.
   */
  async run(row: OperationRow, onProgress?: EffectContext['onProgress']): Promise<void> {
    let failure: StillpointError | undefined;
    await this.#options.lane.step(row, async (claim) => {
      const [ended, error] = await this.#attempt(row, claim, { onProgress });
      failure = error;
      return ended;
    });
    throwFailure(row, failure);
  }

  /**
   * The same for a snapshot: its node may be started when no write changes it any more, long before it is copied and proven. A claim
   * that `repeats` has the key of the last one, and gets what the node made of that.
   */
  runSnapshot(row: OperationRow, onProgress: EffectContext['onProgress'], repeats: boolean): StepWithPoint {
    let failure: StillpointError | undefined;
    const effect = async (claim: Claim, reach: () => void) => {
      const [ended, error] = await this.#attempt(row, claim, { onCaptured: reach, onProgress });
      failure = error;
      return ended;
    };
    const { reached, finish } = this.#options.lane.stepWithPoint(row, effect, repeats);
    return {
      reached,
      async finish() {
        await finish();
        throwFailure(row, failure);
      },
    };
  }

  /** What happened is a record in any case; the error has more to say to people. */
  async #attempt(
    row: OperationRow,
    claim: Claim,
    watch: Pick<EffectContext, 'onCaptured' | 'onProgress'>,
  ): Promise<[EndedRecord, StillpointError?]> {
    const { lane, plan, signal } = this.#options;
    const { operation } = row;
    const { attempt, window } = claim;
    try {
      signal.throwIfAborted();
      const context: EffectContext = {
        key: effectKey(plan.run_id, operation.operation_id, window, attempt),
        runId: plan.run_id,
        attempt,
        window,
        signal,
        stopped: this.#stopped(operation.target_id),
        ...watch,
      };
      const { facts, artifact } = await this.#effect(row, context, claim);
      const ended: EndedRecord = {
        type: 'ended',
        receipt: { ...this.#receipt(row, attempt, 'completed'), ...facts },
        ...(artifact && { artifact }),
      };
      lane.execution.check(ended);
      return [ended];
    } catch (error) {
      const known = toStillpointError(error);
      const receipt = {
        ...this.#receipt(row, attempt, 'failed'),
        failure_reason: known.message,
        failure_code: known.code,
      };
      return [{ type: 'ended', receipt }, known];
    }
  }

  #receipt({ operation }: OperationRow, attempt: number, outcome: Receipt['outcome']): Receipt {
    const { plan, lane, env } = this.#options;
    return {
      plan_id: plan.plan_id,
      run_id: plan.run_id,
      preflight_id: lane.execution.preflight?.preflight_id ?? null,
      sequence: operation.sequence,
      operation_id: operation.operation_id,
      kind: operation.kind,
      target_id: operation.target_id,
      outcome,
      updated_at_ms: env.clock.nowMs(),
      attempt,
      window: lane.execution.window(operation.target_id),
    };
  }

  /**
   * After a snapshot that failed because its node took writes: takes the unit back to its beginning. False when the failure is
   * another one, and when this happened too often.
   */
  async reopenWindow({ operation }: OperationRow, error: unknown): Promise<boolean> {
    const isLost = error instanceof StillpointError && error.code === 'LEASE_LOST';
    if (!isLost || operation.kind !== 'create-snapshot' || this.#reopened >= MOST_REOPENED) return false;
    this.#reopened++;
    await this.openWindow(this.#options.lane.execution.unitOf(operation.target_id!), error.message);
    return true;
  }

  /** Takes a unit back to its beginning: all its snapshots are taken anew. */
  async openWindow({ unit_id, targets }: PlanUnit, reason: string): Promise<void> {
    const { lane, env } = this.#options;
    const window = lane.execution.window(targets[0]!) + 1;
    const decide = (): Decision => ({ type: 'window', unit_id, window, reason, at_ms: env.clock.nowMs() });
    await lane.decide(`window ${window}`, decide);
  }

  /**
   * Starts a node whatever happened before. Where its start cannot be recorded it is started all the same: nobody is to stay down.
   * @param start Runs the operation with its record.
   * @returns why it failed.
   */
  async startRegardless(row: OperationRow, start: () => Promise<void>): Promise<StillpointError | undefined> {
    try {
      if (!isDone(row)) await start();
      return undefined;
    } catch (error) {
      await this.#startUnrecorded(row).catch(() => undefined); // its lease runs out
      return toStillpointError(error);
    }
  }

  /** Records that an operation is not wanted. */
  async skip(row: OperationRow): Promise<void> {
    if (isDone(row)) return;
    await this.#options.lane.step(row, async ({ attempt }) => ({
      type: 'ended',
      receipt: this.#receipt(row, attempt, 'skipped'),
    }));
  }

  /** Gives a verified copy its name, on disk and on record. */
  async nameArtifact(target: PlanTarget): Promise<void> {
    if (this.#requireArtifact(target).state === 'Durable') return;
    await this.#options.lane.decide(`name ${target.target_id}`, () => this.#name(target));
  }

  async #name(target: PlanTarget): Promise<Extract<JournalRecord, { type: 'artifact' }>> {
    const { env, layout } = this.#options;
    const artifact = await makeDurable(env.fs, layout, target, this.#requireArtifact(target));
    return { type: 'artifact', artifact };
  }

  async #startUnrecorded({ operation }: OperationRow): Promise<void> {
    const { lane, plan, executor, signal } = this.#options;
    const { operation_id, target_id } = operation;
    const window = lane.execution.window(target_id);
    const key = effectKey(plan.run_id, operation_id, window, 0);
    const stopped = this.#stopped(target_id);
    const context = { key, runId: plan.run_id, attempt: 0, window, signal, stopped };
    await executor.start(this.#targets.get(target_id!)!, context);
  }

  /** The node's own words about how it was stopped in this window. */
  #stopped(targetId: string | null): Receipt['detail'] {
    if (targetId === null) return undefined;
    return this.#options.lane.execution.row('stop', targetId)?.receipt?.detail;
  }

  async #effect({ operation }: OperationRow, context: EffectContext, { note }: Claim): Promise<Effect> {
    if (operation.target_id === null) return this.#finalize(note);
    const target = this.#targets.get(operation.target_id)!;
    switch (operation.kind) {
      case 'stop': {
        const detail = await this.#options.executor.stop(target, context);
        return { facts: detail === undefined ? {} : { detail } };
      }
      case 'create-snapshot':
        return created(target, await this.#options.executor.createSnapshot(target, context));
      case 'start':
        await this.#options.executor.start(target, context);
        return { facts: {} };
      case 'download-snapshot':
      case 'push-snapshot':
        return this.#copy(target, context);
      default:
        return this.#verify(target, context);
    }
  }

  /** After a push the folder only says where the backup is. */
  async #copy(target: PlanTarget, context: EffectContext): Promise<Effect> {
    const { env, layout, executor, plan } = this.#options;
    const artifact = this.#requireArtifact(target);
    const { snapshot_id } = artifact;
    const { repository } = plan;
    const keepsContent = repository === undefined && executor.resumesDownloads === true;
    const into = await prepareDownload(env.fs, layout, target, keepsContent);
    const snapshot = { snapshotId: snapshot_id, into };
    const detail =
      repository === undefined
        ? await executor.downloadSnapshot(target, snapshot, context)
        : await executor.pushSnapshot!(target, { ...snapshot, repository }, context);
    await syncTree(env.fs, into);
    const artifact_path = artifactPathOf(target);
    return {
      facts: { snapshot_id, artifact_path, ...(detail && { detail }) },
      artifact: { target_id: target.target_id, state: 'Downloaded', snapshot_id, artifact_path },
    };
  }

  async #verify(target: PlanTarget, context: EffectContext): Promise<Effect> {
    const { env, layout, executor, plan, signal } = this.#options;
    const { repository } = plan;
    const artifact = this.#requireArtifact(target);
    const dir = temporaryFolderOf(layout, target);
    if ((await env.fs.inspect(dir))?.kind !== 'folder')
      throw new StillpointError('COPY_DAMAGED', `the copy of ${target.target_id} is gone: ${dir}`, {
        path: dir,
      });
    const detail = await executor.verifyArtifact?.(
      target,
      { snapshotId: artifact.snapshot_id, dir, repository, backupId: plan.backup_id },
      context,
    );
    const checksum = await folderDigest(env.fs, dir, signal);
    return {
      facts: { snapshot_id: artifact.snapshot_id, checksum, ...(detail && { detail }) },
      artifact: { ...artifact, state: 'ChecksumVerified', checksum },
    };
  }

  async #finalize(note: Claim['note']): Promise<Effect> {
    const { env, layout, plan, lane } = this.#options;
    const { execution } = lane;
    for (const target of plan.targets)
      if (this.#requireArtifact(target).state !== 'Durable') await note(await this.#name(target));
    const written = await readFleetManifest(env.fs, layout);
    if (written !== undefined && written.source.run_id !== plan.run_id)
      throw new StillpointError('TARGET_NOT_EMPTY', `${layout} holds the manifest of another backup`, {
        path: layout,
      });
    // A crash between writing it and its record: it stands, and says what it would say now.
    if (written === undefined)
      await writeFleetManifest(env.fs, layout, buildManifest(execution, env.clock.nowMs(), TOOL));
    return { facts: {} };
  }

  #requireArtifact({ target_id }: PlanTarget): ArtifactRow {
    const artifact = this.#options.lane.execution.artifact(target_id);
    if (artifact !== undefined) return artifact;
    throw new StillpointError('JOURNAL_INVALID', `there is no snapshot of ${target_id} on record`);
  }
}

function created({ target_id }: PlanTarget, { snapshotId }: { readonly snapshotId: string }): Effect {
  return {
    facts: { snapshot_id: snapshotId },
    artifact: { target_id, state: 'Created', snapshot_id: snapshotId },
  };
}

/** A failure that is on record from before is known by its receipt alone. */
function throwFailure({ receipt }: OperationRow, known: StillpointError | undefined): void {
  if (known !== undefined) throw known;
  if (receipt?.outcome !== 'failed') return;
  const { failure_code: code = '', failure_reason: reason = '' } = receipt;
  throw new StillpointError(Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'INTERNAL', reason);
}
