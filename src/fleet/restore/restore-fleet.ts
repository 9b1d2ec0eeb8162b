import { join } from 'node:path';
import { listIfPresent, makeFolders } from '../../env/io.ts';
import { newUlid } from '../../env/ulid.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import { checkArgument } from '../../options/option.ts';
import { path } from '../../options/values.ts';
import { type Environment, systemEnvironment } from '../../snapshot/environment.ts';
import { TOOL } from '../../snapshot/version.ts';
import { verifyFleetBackup } from '../copies/integrity.ts';
import { type FleetManifest, readFleetManifest } from '../copies/manifest.ts';
import { readFleetFile } from '../fleet-file.ts';
import { HttpExecutor } from '../http/executor.ts';
import { HttpRestoreNodes } from '../http/restore-nodes.ts';
import { lockLayout } from '../journal/open-run.ts';
import { RecordLog, replayLog } from '../journal/record-log.ts';
import {
  type RestoreFleetOptions,
  restoreFleetOptions,
  type UndoFleetOptions,
  undoFleetOptions,
} from '../options.ts';
import { refuseOneStoreTwice } from '../plan/derive-plan.ts';
import { readPlan } from '../plan/plan.ts';
import { buildRestorePlan, type RestorePlan, readRestorePlan, writeRestorePlan } from './restore-plan.ts';
import { RestoreRun, restoresFolderOf } from './restore-run.ts';
import { RESTORE_STEPS, RestoreExecution, type RestoreRecord, restoreLogOf } from './restore-states.ts';

/** What an operator does with a finished backup: the functions behind `stillpoint fleet restore` and `fleet undo`. */

export interface FleetRestoreNode {
  readonly id: string;
  /** The member of the backup whose copy it gets. */
  readonly member: string;
  /** What was done last: `planned`, `sent`, `quiesced`, `saved`, `held`, `restored`, `probed`, `released` or `undone`. */
  readonly state: string;
  /** Of its state before, on the node. */
  readonly safetySnapshot: string | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

export interface FleetRestore {
  readonly dryRun: boolean;
  readonly restoreId: string;
  readonly backupId: string;
  /** Whether all nodes take writes again, with the restored state or, after an undo, with their own. */
  readonly complete: boolean;
  readonly undone: boolean;
  /** In their order: a node is restored after its parent. */
  readonly nodes: readonly FleetRestoreNode[];
}

/**
 * Restores a finished backup into the nodes of a fleet file: all of it, in order, or nothing stays. Goes on with a restore that was not
 * finished. With `dryRun` nothing is changed. Resolves also when nodes failed: look at `complete` and `nodes`; nodes whose
 * state was exchanged stay without writes until it is called again or `undoFleetRestore` is.
 *
 * Rejects with `COPY_DAMAGED` when the backup fails its check, `PREFLIGHT_REFUSED` with the nodes that do not answer, `INVALID_REQUEST`
 * for a mapping that cannot be, `CONFLICT` when a restore of this backup is at work or is being taken back.
 */
export async function restoreFleet(backupDir: string, options: RestoreFleetOptions): Promise<FleetRestore> {
  checkArgument('restoreFleet: backupDir', path(), backupDir);
  const resolved = restoreFleetOptions.resolve('restoreFleet', options);
  const { environment = systemEnvironment, fleetFile, mapping = {}, dryRun, leaseMs, patienceMs } = resolved;
  const signal = resolved.signal ?? new AbortController().signal;
  return translated(signal, () =>
    withLayout(environment, backupDir, async (layout) => {
      const manifest = await requireIntact(environment, layout, signal);
      const unfinished = await newestRestore(environment, layout);
      const isContinued = unfinished !== undefined && !unfinished.execution.isOver;
      if (isContinued && unfinished.execution.isUndoing)
        throw new StillpointError('CONFLICT', 'the last restore of this backup is being taken back', {
          hint: 'Finish that first: `stillpoint fleet undo DIR --fleet FILE`.',
        });
      const plan = isContinued
        ? requireSameMapping(unfinished.execution.plan, mapping)
        : await planRestore(environment, fleetFile, manifest, mapping, signal);
      const file = await readFleetFile(environment.fs, fleetFile);
      const { repository } = (await readPlan(environment.fs, layout)) ?? {};
      const nodes = new HttpRestoreNodes(file, { environment, leaseMs, patienceMs, repository });
      try {
        if (isContinued) await requireSameStores(environment, fleetFile, plan, signal);
        if (dryRun) return describe(unfinishedOr(plan, unfinished, isContinued), true);
        const folder = join(restoresFolderOf(layout), plan.restore_id);
        if (!isContinued) {
          await makeFolders(environment.fs, folder);
          await writeRestorePlan(environment.fs, folder, plan);
        }
        return await underJournal(environment, layout, folder, plan, nodes, resolved, signal, (run) =>
          run.restore(),
        );
      } finally {
        await nodes.close();
      }
    }),
  );
}

/**
 * Takes the last restore of a backup back: every node as before it, in reverse order. May be called again after any failure. `NOT_FOUND`
 * when there is none, `CONFLICT` when writes would be lost or a node was restored again since: nothing is changed then.
 */
export async function undoFleetRestore(backupDir: string, options: UndoFleetOptions): Promise<FleetRestore> {
  checkArgument('undoFleetRestore: backupDir', path(), backupDir);
  const resolved = undoFleetOptions.resolve('undoFleetRestore', options);
  const { environment = systemEnvironment, fleetFile, discardWrites, without = [] } = resolved;
  const { leaseMs, patienceMs } = resolved;
  const signal = resolved.signal ?? new AbortController().signal;
  return translated(signal, () =>
    withLayout(environment, backupDir, async (layout) => {
      const last = await newestRestore(environment, layout);
      if (last === undefined || (last.execution.isUndoing && last.execution.isOver))
        throw new StillpointError('NOT_FOUND', `there is no restore to take back in ${backupDir}`, {
          path: backupDir,
        });
      const { plan } = last.execution;
      for (const id of without)
        if (!plan.nodes.some(({ node_id }) => node_id === id))
          throw new StillpointError('INVALID_REQUEST', `the restore has no node ${id}`);
      const file = await readFleetFile(environment.fs, fleetFile);
      const nodes = new HttpRestoreNodes(file, { environment, leaseMs, patienceMs });
      try {
        return await underJournal(environment, layout, last.folder, plan, nodes, resolved, signal, (run) =>
          run.undo({ discardWrites, without }),
        );
      } finally {
        await nodes.close();
      }
    }),
  );
}

async function underJournal(
  environment: Environment,
  layout: string,
  folder: string,
  plan: RestorePlan,
  nodes: HttpRestoreNodes,
  { concurrency, onProgress }: Pick<RestoreFleetOptions, 'onProgress'> & { readonly concurrency: number },
  signal: AbortSignal,
  work: (run: RestoreRun) => Promise<void>,
): Promise<FleetRestore> {
  const { restore_id, plan_sha256 } = plan;
  const first: RestoreRecord = {
    type: 'opened',
    restore_id,
    plan_sha256,
    at_ms: environment.clock.nowMs(),
  };
  const journal = await RecordLog.open(environment.fs, restoreLogOf(folder, plan), first);
  try {
    const run = new RestoreRun({
      env: environment,
      layout,
      journal,
      nodes,
      concurrency,
      signal,
      onProgress,
    });
    try {
      await work(run);
    } catch (error) {
      const isTold = plan.nodes.some(({ node_id }) => journal.execution.node(node_id).failure !== null);
      if (signal.aborted || !isTold) throw error;
    }
    return describe(journal.execution, false);
  } finally {
    await journal.close();
  }
}

/** A restore stands or falls with its copies: they are all read again before any node is touched. */
async function requireIntact(
  environment: Environment,
  layout: string,
  signal: AbortSignal,
): Promise<FleetManifest> {
  const { ok, findings } = await verifyFleetBackup(layout, { environment, signal });
  if (ok) return (await readFleetManifest(environment.fs, layout))!;
  const [first] = findings;
  throw new StillpointError(
    'COPY_DAMAGED',
    `the backup in ${layout} is damaged, and nothing was restored: ${first?.targetId ?? 'the backup'}: ${first?.message}`,
    { path: layout, data: { findings } },
  );
}

async function planRestore(
  environment: Environment,
  fleetFile: string,
  manifest: FleetManifest,
  mapping: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<RestorePlan> {
  const file = await readFleetFile(environment.fs, fleetFile);
  const chosen = new Map(Object.entries(mapping));
  const wanted = new Set(manifest.fleet.members.map(({ target_id }) => chosen.get(target_id) ?? target_id));
  const ids = file.nodes.map(({ id }) => id).filter((id) => wanted.has(id));
  const executor = new HttpExecutor(file, { environment });
  try {
    const nodes = await executor.discover(ids, signal);
    refuseOneStoreTwice(nodes);
    const nowMs = environment.clock.nowMs();
    const restoreId = newUlid(nowMs);
    return buildRestorePlan({ manifest, nodes, mapping: chosen, restoreId, nowMs, tool: TOOL });
  } finally {
    await executor.close();
  }
}

/** A restore goes on only in the databases that it began in. A restore in place keeps their identity. */
async function requireSameStores(
  environment: Environment,
  fleetFile: string,
  plan: RestorePlan,
  signal: AbortSignal,
): Promise<void> {
  const executor = new HttpExecutor(await readFleetFile(environment.fs, fleetFile), { environment });
  try {
    const found = await executor.discover(
      plan.nodes.map(({ node_id }) => node_id),
      signal,
    );
    const stores = new Map(found.map(({ targetId, storeId }) => [targetId, storeId]));
    const changed = plan.nodes.filter(({ node_id, store_id }) => stores.get(node_id) !== store_id);
    if (changed.length === 0) return;
    const names = changed.map(({ node_id }) => node_id);
    throw new StillpointError(
      'TOPOLOGY_CHANGED',
      `other databases than those that the restore began in: ${names.slice(0, 5).join(', ')}`,
      { data: { nodes: names } },
    );
  } finally {
    await executor.close();
  }
}

function requireSameMapping(plan: RestorePlan, mapping: Readonly<Record<string, string>>): RestorePlan {
  const planned = new Map(plan.nodes.map(({ member_id, node_id }) => [member_id, node_id]));
  const other = Object.entries(mapping).find(([member, node]) => planned.get(member) !== node);
  if (other === undefined) return plan;
  throw new StillpointError(
    'CONFLICT',
    `a restore of this backup is not finished, and it does not restore ${other[0]} into ${other[1]}`,
    { hint: 'Leave the mapping out to go on with it, or take it back with `stillpoint fleet undo`.' },
  );
}

interface LastRestore {
  readonly folder: string;
  readonly execution: RestoreExecution;
}

/** The newest restore that has a plan: one without was cut off before anything was done. */
async function newestRestore({ fs }: Environment, layout: string): Promise<LastRestore | undefined> {
  const names = (await listIfPresent(fs, restoresFolderOf(layout))).map(({ name }) => name);
  for (const name of names.sort().reverse()) {
    const folder = join(restoresFolderOf(layout), name);
    const plan = await readRestorePlan(fs, folder);
    if (plan === undefined) continue;
    const read = await replayLog(fs, restoreLogOf(folder, plan));
    return { folder, execution: read?.execution ?? new RestoreExecution(plan) };
  }
  return undefined;
}

const unfinishedOr = (
  plan: RestorePlan,
  last: LastRestore | undefined,
  isContinued: boolean,
): RestoreExecution => (isContinued && last !== undefined ? last.execution : new RestoreExecution(plan));

function describe(execution: RestoreExecution, dryRun: boolean): FleetRestore {
  const { plan, isUndoing, isOver } = execution;
  return {
    dryRun,
    restoreId: plan.restore_id,
    backupId: plan.backup_id,
    complete: isOver,
    undone: isUndoing && isOver,
    nodes: plan.nodes.map(({ node_id, member_id }) => {
      const { done, safety_snapshot, failure } = execution.node(node_id);
      const last =
        isUndoing && done.includes('undone')
          ? 'undone'
          : RESTORE_STEPS.findLast((step) => done.includes(step));
      return {
        id: node_id,
        member: member_id,
        state: last ?? 'planned',
        safetySnapshot: safety_snapshot,
        error: failure && { code: failure.code, message: failure.reason },
      };
    }),
  };
}

async function withLayout<T>(
  environment: Environment,
  backupDir: string,
  work: (layout: string) => Promise<T>,
): Promise<T> {
  const { layout, lock } = await lockLayout(environment, backupDir);
  try {
    return await work(layout);
  } finally {
    await lock.release();
  }
}

async function translated<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (signal.aborted) throw new StillpointError('CANCELLED', 'cancelled on request', { cause: error });
    throw toStillpointError(error);
  }
}
