import { join } from 'node:path';
import { mapConcurrent } from '../../env/concurrency.ts';
import { type ErrorCode, StillpointError, toStillpointError } from '../../errors.ts';
import { placeOf } from '../../snapshot/store/layout.ts';
import type { FleetEnvironment } from '../journal/open-run.ts';
import type { RecordLog } from '../journal/record-log.ts';
import type { RestoreContext, RestoreNodes } from './restore-nodes.ts';
import type { RestoreNode, RestorePlan } from './restore-plan.ts';
import type { RestoreExecution, RestoreRecord, RestoreStep } from './restore-states.ts';

export type RestorePhase = 'send' | 'quiesce' | 'save' | 'hold' | 'restore' | 'probe' | 'release' | 'undo';

export interface RestoreProgress {
  readonly targetId: string;
  readonly phase: RestorePhase | 'done' | 'failed';
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export interface RestoreRunOptions {
  readonly env: FleetEnvironment;
  /** The folder of the backup. */
  readonly layout: string;
  readonly journal: RecordLog<RestoreRecord, RestoreExecution>;
  readonly nodes: RestoreNodes;
  /** Nodes at once. */
  readonly concurrency: number;
  readonly signal: AbortSignal;
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
}

export interface UndoOptions {
  /** Gives up what was written since the restore. */
  readonly discardWrites: boolean;
  /** Nodes that are gone for good: they are left as they are. */
  readonly without: readonly string[];
}

/** What a step leaves in the journal. */
interface Found {
  readonly location?: string;
  readonly safety_snapshot?: string;
}

const PHASES: Readonly<Record<RestoreStep, RestorePhase>> = {
  sent: 'send',
  quiesced: 'quiesce',
  saved: 'save',
  held: 'hold',
  restored: 'restore',
  probed: 'probe',
  released: 'release',
  undone: 'undo',
};

/**
 * Carries out the plan of a restore, forward or back.
 *
 *     send ─▶ quiesce ─▶ save ─▶ hold ─▶ restore ─▶ probe ─▶ release        undo: quiesce ─▶ hold ─▶ undo ─▶ release
 *
 * Each step is done on all nodes before the next begins. Until the nodes are held they refuse writes only for the time of a lease: when this
 * process dies they take writes again by themselves. Until the first database is exchanged a failure lets all nodes go. From then on they
 * stay held, whatever happens to this process, until the restore is finished or taken back: a fleet whose nodes are of two
 * different moments takes no writes.
 */
export class RestoreRun {
  readonly #options: RestoreRunOptions;
  readonly #plan: RestorePlan;
  readonly #execution: RestoreExecution;

  constructor(options: RestoreRunOptions) {
    this.#options = options;
    this.#execution = options.journal.execution;
    this.#plan = this.#execution.plan;
  }

  /** Goes on with the restore. What failed stands in the journal; the first failure is thrown. */
  async restore(): Promise<void> {
    const { nodes, layout } = this.#options;
    const all = this.#plan.nodes;
    await this.#letGoOfEarlier();
    await this.#forgetLostCopies();
    await this.#each(all, 'sent', async (node, context) => ({
      location: await nodes.send(node.node_id, placeOf(layout, node.artifact_path), context),
    }));
    await this.#orLetGo(async () => {
      await this.#each(all, 'quiesced', async ({ node_id }, context) => {
        await nodes.quiesce(node_id, context);
        return {};
      });
      await this.#each(all, 'saved', async ({ node_id }, context) => ({
        safety_snapshot: await nodes.snapshot(node_id, context),
      }));
      await this.#each(all, 'held', async ({ node_id }, context) => {
        const { state } = await nodes.hold(node_id, context);
        if (state !== 'before' && !this.#execution.node(node_id).is_touched)
          throw new StillpointError(
            'CONFLICT',
            `${node_id} was restored by another controller of this restore`,
          );
        // From here on no other restore can take the place of the copy.
        if (!(await nodes.hasCopy(node_id, context)))
          throw new StillpointError('CONFLICT', 'another restore has removed the copy that was sent', {
            hint: 'Run the same command again: it sends the copy once more.',
          });
        return {};
      });
    });
    for (const level of this.#levels(all))
      await this.#each(level, 'restored', async ({ node_id }, context) => {
        await nodes.restore(node_id, this.#execution.node(node_id).location!, context);
        return {};
      });
    await this.#each(all, 'probed', async ({ node_id }, context) => {
      await nodes.probe(node_id, context);
      return {};
    });
    await this.#releaseAll();
  }

  /**
   * Takes the restore back. `CONFLICT` when a node was restored again since, or has taken writes that would be lost, unless
   * `discardWrites` says so; nothing is changed then.
   */
  async undo({ discardWrites, without }: UndoOptions): Promise<void> {
    const { nodes, journal, env } = this.#options;
    const all = this.#plan.nodes.filter(({ node_id }) => !without.includes(node_id));
    await this.#refuseLoss(all, discardWrites);
    if (this.#execution.isUndoing) await this.#letGoOfEarlier();
    else await journal.commit({ type: 'undo', at_ms: env.clock.nowMs() });
    for (const node_id of without)
      await journal.commit({ type: 'did', node_id, step: 'released', at_ms: env.clock.nowMs() });
    await this.#orLetGo(async () => {
      await this.#each(all, 'quiesced', async ({ node_id }, context) => {
        if (!this.#isUntouched(node_id)) await nodes.quiesce(node_id, context);
        return {};
      });
      // Writes may have come between the first look and the lease.
      const isAnyRestored = await this.#refuseLoss(all, discardWrites);
      if (!isAnyRestored) return;
      await this.#each(all, 'held', async ({ node_id }, context) => {
        if (!this.#isUntouched(node_id)) await nodes.hold(node_id, context);
        return {};
      });
    });
    for (const level of this.#levels(all).reverse())
      await this.#each(level, 'undone', async ({ node_id }, context) => {
        if (this.#isUntouched(node_id)) return {};
        const { state } = await nodes.report(node_id, context);
        if (state === 'restored') await nodes.undo(node_id, context);
        return {};
      });
    await this.#releaseAll();
    await this.#unpinAll(all);
  }

  /** A node that was never asked to hold still has nothing to be taken back. */
  #isUntouched(id: string): boolean {
    const { is_touched, done } = this.#execution.node(id);
    return !is_touched && !done.includes('sent');
  }

  /** @returns whether the restore stands on any node. */
  async #refuseLoss(all: readonly RestoreNode[], discardWrites: boolean): Promise<boolean> {
    const { nodes, concurrency } = this.#options;
    const reasons: string[] = [];
    let isAnyRestored = false;
    await mapConcurrent(all, concurrency, async ({ node_id }) => {
      if (this.#isUntouched(node_id) || this.#execution.isDone(node_id, 'undone')) return;
      const { state, written } = await nodes.report(node_id, this.#context(node_id, 'look', 1));
      isAnyRestored ||= state === 'restored';
      if (state === 'replaced') reasons.push(`${node_id} was restored again since`);
      else if (state === 'restored' && written && !discardWrites)
        reasons.push(
          `${node_id} has taken writes since it was restored, or may have while its server was down`,
        );
    });
    if (reasons.length === 0) return isAnyRestored;
    throw new StillpointError('CONFLICT', `the restore cannot be taken back: ${reasons.sort().join('; ')}`, {
      hint: 'Nothing was changed. With `--discard-writes` the writes since the restore are given up.',
      data: { reasons },
    });
  }

  async #releaseAll(): Promise<void> {
    const { nodes } = this.#options;
    for (const level of this.#levels(this.#plan.nodes).reverse())
      await this.#each(level, 'released', async ({ node_id }, context) => {
        await nodes.release(node_id, context);
        // A copy that stays is removed by the next restore.
        await nodes.discard(node_id, context).catch(() => undefined);
        this.#tell(node_id, 'done');
        return {};
      });
  }

  /** Nobody is kept waiting by a failure before anything was exchanged. */
  async #orLetGo(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!this.#execution.hasBegunExchange) await this.#letGo();
      throw error;
    }
  }

  /** What an earlier process quiesced has taken writes since, and what it held has no reason to wait. */
  async #letGoOfEarlier(): Promise<void> {
    if (!this.#execution.hasBegunExchange) await this.#letGo();
  }

  /** What an earlier process sent may have gone since. */
  async #forgetLostCopies(): Promise<void> {
    const { nodes, concurrency } = this.#options;
    await mapConcurrent(this.#plan.nodes, concurrency, async ({ node_id }) => {
      if (!this.#execution.isDone(node_id, 'sent') || this.#execution.isDone(node_id, 'restored')) return;
      try {
        if (await nodes.hasCopy(node_id, this.#context(node_id, 'look', 1))) return;
      } catch (error) {
        throw await this.#fail(node_id, 'sent', error);
      }
      await this.#fail(node_id, 'sent', new StillpointError('NOT_FOUND', 'the copy that was sent is gone'));
    });
  }

  /** A node that cannot be reached may stay held, and its row says so; its lease runs out. */
  async #letGo(): Promise<void> {
    const { nodes, journal, env, concurrency } = this.#options;
    const signal = new AbortController().signal; // also when the restore is cancelled
    await mapConcurrent(this.#plan.nodes, concurrency, async ({ node_id }) => {
      const { safety_snapshot } = this.#execution.node(node_id);
      if (!this.#execution.mayRefuseWrites(node_id)) return;
      const context = { ...this.#context(node_id, 'let-go', 1), signal };
      try {
        await nodes.release(node_id, context);
        await journal.commit({ type: 'let-go', node_id, at_ms: env.clock.nowMs() });
      } catch (error) {
        await this.#fail(node_id, 'held', error);
        return;
      }
      if (safety_snapshot !== null && !this.#execution.isUndoing)
        await nodes.unpin(node_id, safety_snapshot, context, { discard: true }).catch(() => undefined);
    });
  }

  /** What cannot be reached now loses its pin by itself. */
  async #unpinAll(all: readonly RestoreNode[]): Promise<void> {
    const { nodes, concurrency } = this.#options;
    await mapConcurrent(all, concurrency, async ({ node_id }) => {
      const { safety_snapshot } = this.#execution.node(node_id);
      if (safety_snapshot === null) return;
      const context = this.#context(node_id, 'unpin', 1);
      await nodes.unpin(node_id, safety_snapshot, context, { discard: false }).catch(() => undefined);
    });
  }

  /** One step on several nodes at once. All of them are tried; the first failure in the order of the plan is thrown. */
  async #each(
    list: readonly RestoreNode[],
    step: RestoreStep,
    work: (node: RestoreNode, context: RestoreContext) => Promise<Found>,
  ): Promise<void> {
    const { journal, env, concurrency, signal } = this.#options;
    const failures = await mapConcurrent(list, concurrency, async (node) => {
      const { node_id } = node;
      // A lease of an earlier process is gone with it, unless a hold took its place.
      if (this.#execution.isDone(node_id, step === 'quiesced' ? 'held' : step)) return undefined;
      try {
        signal.throwIfAborted();
        this.#tell(node_id, PHASES[step]);
        const attempt = this.#execution.attemptOf(node_id, step);
        await journal.commit({ type: 'began', node_id, step, attempt, at_ms: env.clock.nowMs() });
        const found = await work(node, this.#context(node_id, step, attempt));
        await journal.commit({ type: 'did', node_id, step, ...found, at_ms: env.clock.nowMs() });
        return undefined;
      } catch (error) {
        this.#tell(node_id, 'failed');
        return this.#fail(node_id, step, error);
      }
    });
    const [first] = failures.filter((failure) => failure !== undefined);
    if (first !== undefined) throw first;
  }

  async #fail(node_id: string, step: RestoreStep, error: unknown): Promise<StillpointError> {
    const { journal, env } = this.#options;
    const { code, message } = toStillpointError(error);
    const known = new StillpointError(code as ErrorCode, `${node_id}: ${message}`, { cause: error });
    const at_ms = env.clock.nowMs();
    // On a full disk the failure is told all the same.
    await journal
      .commit({ type: 'failed', node_id, step, code, reason: message, at_ms })
      .catch(() => undefined);
    return known;
  }

  /** Nodes of the same depth, parents first. */
  #levels(nodes: readonly RestoreNode[]): RestoreNode[][] {
    const levels: RestoreNode[][] = [];
    for (const node of nodes) {
      levels[node.depth] ??= [];
      levels[node.depth]!.push(node);
    }
    return levels.filter((level) => level !== undefined);
  }

  #context(nodeId: string, step: string, attempt: number): RestoreContext {
    const { restore_id: restoreId } = this.#plan;
    return {
      restoreId,
      key: `${restoreId}/${step}/${nodeId}/${attempt}`,
      signal: this.#options.signal,
      onProgress: (done, total) => this.#tell(nodeId, PHASES[step as RestoreStep], done, total),
    };
  }

  #tell(targetId: string, phase: RestoreProgress['phase'], bytesDone = 0, bytesTotal = 0): void {
    this.#options.onProgress?.({ targetId, phase, bytesDone, bytesTotal });
  }
}

/** Restores of a backup stand in its folder. */
export const restoresFolderOf = (layout: string): string => join(layout, 'restores');
