import { basename, join } from 'node:path';
import { repositoryOf } from '../../backup/options.ts';
import { listIfPresent, makeFolders, realPlace, temporaryOf } from '../../env/io.ts';
import { newUlid } from '../../env/ulid.ts';
import { StillpointError } from '../../errors.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { TOOL } from '../../snapshot/version.ts';
import { refuseUnwritable } from '../copies/pushed-backup.ts';
import type { FleetFile } from '../fleet-file.ts';
import type { HttpExecutor } from '../http/executor.ts';
import { lockLayout } from '../journal/open-run.ts';
import type { PlanFleetOptions } from '../options.ts';
import {
  type BackupPlan,
  buildPlan,
  type PlanOperation,
  type PlanRepository,
  planFileOf,
  readPlan,
  writePlan,
} from './plan.ts';

/** How a fleet file and a selection become the plan in a layout folder. */

export interface FleetPlan {
  readonly dryRun: boolean;
  readonly layoutDir: string;
  readonly planId: string;
  readonly runId: string;
  readonly backupId: string;
  readonly policy: string;
  /** The name of the repository that the nodes push into; null where the snapshots are downloaded. */
  readonly repository: string | null;
  readonly topologyHash: string;
  readonly targets: readonly {
    readonly id: string;
    readonly role: string;
    readonly depth: number;
    readonly folder: string;
  }[];
  readonly units: readonly {
    readonly unitId: string;
    readonly kind: string;
    readonly targets: readonly string[];
    readonly leftOut: readonly string[];
  }[];
  /** In their order: what will be done to which node. */
  readonly commands: readonly {
    readonly operationId: string;
    readonly kind: PlanOperation['kind'];
    readonly target: string | null;
  }[];
}

export interface Selection {
  readonly nodes?: readonly string[] | undefined;
  readonly subtree?: string | undefined;
  readonly role?: string | undefined;
}

/** Undefined: all. Several kinds of selection together: what all of them take. */
function select(file: FleetFile, { nodes, subtree, role }: Selection): ReadonlySet<string> | undefined {
  if (nodes === undefined && subtree === undefined && role === undefined) return undefined;
  const known = new Map(file.nodes.map((node) => [node.id, node]));
  for (const id of [...(nodes ?? []), ...(subtree === undefined ? [] : [subtree])])
    if (!known.has(id))
      throw new StillpointError('INVALID_REQUEST', `there is no node ${id} in the fleet file`);
  const isBelow = (id: string): boolean => {
    const seen = new Set<string>();
    for (let at: string | null = id; at !== null && !seen.has(at); at = known.get(at)?.parent ?? null) {
      if (at === subtree) return true;
      seen.add(at);
    }
    return false;
  };
  const chosen = file.nodes.filter(
    (node) =>
      (nodes === undefined || nodes.includes(node.id)) &&
      (subtree === undefined || isBelow(node.id)) &&
      (role === undefined || node.role === role),
  );
  return new Set(chosen.map(({ id }) => id));
}

/** Opens the repository of the fleet file: the plan says which one it is. */
export async function planRepository(environment: Environment, file: FleetFile): Promise<PlanRepository> {
  const { repository } = file;
  if (repository === undefined)
    throw new StillpointError('INVALID_REQUEST', 'the fleet file names no repository to push into', {
      hint: 'Add `"repository": { "name": …, "destination": … }`; src/fleet/README.md describes it.',
    });
  const { name, destination, encryption } = repository;
  const { keyFile, ...named } = encryption ?? {};
  const { id: repository_id } = await repositoryOf(
    environment,
    destination,
    encryption ? { encryption } : {},
  );
  const keys = { ...named, ...(keyFile !== undefined && { key_file: keyFile }) };
  return { name, repository_id, destination, ...(encryption && { encryption: keys }) };
}

export async function derivePlan(
  environment: Environment,
  file: FleetFile,
  executor: HttpExecutor,
  options: Selection &
    Pick<PlanFleetOptions, 'policy' | 'partialUnits' | 'push' | 'dryRun'> & {
      readonly signal?: AbortSignal | undefined;
    },
): Promise<BackupPlan> {
  const selected = select(file, options);
  const { policy = 'quiesced', partialUnits = false, push = false, dryRun = false, signal } = options;
  const repository = push ? await planRepository(environment, file) : undefined;
  if (repository !== undefined && !dryRun) await refuseUnwritable(environment, repository);
  const nodes = await executor.survey(selected, signal);
  refuseOneStoreTwice(nodes);
  const nowMs = environment.clock.nowMs();
  return buildPlan({
    fleet: file.fleet,
    nodes,
    units: file.units,
    selected,
    partialUnits,
    policy,
    repository,
    planId: newUlid(nowMs),
    runId: newUlid(nowMs),
    backupId: newUlid(nowMs),
    nowMs,
    tool: TOOL,
  });
}

/** Two nodes that are one database: a URL that stands there twice, or a directory that was copied with its identity. */
export function refuseOneStoreTwice(
  nodes: readonly { readonly targetId: string; readonly storeId: string | null }[],
): void {
  const owners = new Map<string, string>();
  for (const { targetId, storeId } of nodes) {
    const other = storeId === null ? undefined : owners.get(storeId);
    if (other !== undefined)
      throw new StillpointError(
        'INVALID_REQUEST',
        `the nodes ${other} and ${targetId} are the same database`,
        {
          hint: 'Check their URLs; a copied data directory keeps the identity in `.lifecycle/store.json`.',
        },
      );
    if (storeId !== null) owners.set(storeId, targetId);
  }
}

export function refuseAnotherSelection(
  file: FleetFile,
  plan: BackupPlan,
  options: Selection & Pick<PlanFleetOptions, 'push'>,
): void {
  if (options.push === true && plan.repository === undefined)
    throw new StillpointError('CONFLICT', 'the plan in that folder downloads the snapshots', {
      hint: 'Leave `--push` out to continue that backup, or begin another one in a new folder.',
    });
  const selected = select(file, options);
  if (selected === undefined) return;
  const planned = plan.targets.map(({ target_id }) => target_id);
  if (planned.length === selected.size && planned.every((id) => selected.has(id))) return;
  throw new StillpointError('CONFLICT', 'the plan in that folder is for another selection of nodes', {
    hint: 'Leave the selection out to continue that backup, or begin another one in a new folder.',
  });
}

export async function requireEmpty({ fs }: Environment, layoutDir: string): Promise<string> {
  const layout = await realPlace(fs, layoutDir);
  // A crash while the plan was written leaves its temporary file, and nothing happened because of it.
  const ours = ['lock', basename(temporaryOf(planFileOf(layout)))];
  const names = (await listIfPresent(fs, layout))
    .map(({ name }) => name)
    .filter((name) => !ours.includes(name));
  if (names.length === 0) return layout;
  throw new StillpointError('TARGET_NOT_EMPTY', `${layoutDir} holds something already: ${names.sort()[0]}`, {
    path: layoutDir,
  });
}

/** Under the run lock: of two that begin at once one makes the plan. */
export async function putPlan(environment: Environment, layout: string, plan: BackupPlan): Promise<void> {
  await makeFolders(environment.fs, layout);
  const { lock } = await lockLayout(environment, layout);
  try {
    if ((await readPlan(environment.fs, layout)) !== undefined)
      throw new StillpointError('CONFLICT', `another run has begun in ${layout}`, {
        path: join(layout, 'lock'),
      });
    await writePlan(environment.fs, layout, plan);
  } finally {
    await lock.release();
  }
}

export const describePlan = (plan: BackupPlan, layoutDir: string, dryRun: boolean): FleetPlan => ({
  dryRun,
  layoutDir,
  planId: plan.plan_id,
  runId: plan.run_id,
  backupId: plan.backup_id,
  policy: plan.policy,
  repository: plan.repository?.name ?? null,
  topologyHash: plan.topology_hash,
  targets: plan.targets.map(({ target_id: id, role, depth, folder }) => ({ id, role, depth, folder })),
  units: plan.units.map(({ unit_id, kind, targets, left_out }) => ({
    unitId: unit_id,
    kind,
    targets,
    leftOut: left_out,
  })),
  commands: plan.operations.map(({ operation_id, kind, target_id }) => ({
    operationId: operation_id,
    kind,
    target: target_id,
  })),
});
