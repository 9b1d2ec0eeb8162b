import { realPlace } from '../../env/io.ts';
import { StillpointError, toStillpointError } from '../../errors.ts';
import { type Environment, systemEnvironment } from '../../snapshot/environment.ts';
import { placeOf } from '../../snapshot/store/layout.ts';
import { pathProblem } from '../../snapshot/store/manifest.ts';
import { replayJournal } from '../journal/journal.ts';
import type { FleetEnvironment } from '../journal/open-run.ts';
import type { Execution } from '../journal/operation-states.ts';
import { type BackupPlan, type PlanRepository, readPlan } from '../plan/plan.ts';
import { artifactPathOf } from './artifacts.ts';
import { folderDigest } from './digest.ts';
import { type FleetManifest, type FleetMember, readFleetManifest } from './manifest.ts';
import { checkPushed, pinsOfSet, readPushed } from './pushed-backup.ts';

export interface FleetFinding {
  /** The target concerned; null for the backup as a whole. */
  readonly targetId: string | null;
  readonly code: 'MANIFEST' | 'PLAN' | 'JOURNAL' | 'MEMBER' | 'ARTIFACT' | 'CHECKSUM';
  readonly message: string;
}

export interface FleetReport {
  readonly ok: boolean;
  readonly backupId: string;
  /** Artifacts whose digest was found to be the recorded one. */
  readonly verified: number;
  readonly members: number;
  /** Of a pushed backup: members that it pins in the repository, so that no retention removes them. Null: not pushed, or unknown. */
  readonly pinned: number | null;
  readonly findings: readonly FleetFinding[];
}

export interface VerifyFleetOptions {
  readonly signal?: AbortSignal;
  readonly environment?: FleetEnvironment;
}

/**
 * Checks a finished backup, offline: plan, journal, manifest and folders agree, every artifact is durable, lies inside the
 * layout, and has the digest that was recorded. What was pushed into a repository is read there. Changes nothing. Resolves also when something is wrong: look at `ok`.
 * Rejects when there is no finished backup (`NOT_FOUND`), or no manifest that can be read (`MANIFEST_INVALID`).
 */
export async function verifyFleetBackup(
  layoutDir: string,
  options: VerifyFleetOptions = {},
): Promise<FleetReport> {
  const { signal } = options;
  const env: Environment = { ...systemEnvironment, ...options.environment };
  const { fs } = env;
  try {
    const layout = await realPlace(fs, layoutDir);
    const manifest = await readFleetManifest(fs, layout);
    if (manifest === undefined) {
      throw new StillpointError('NOT_FOUND', `there is no finished backup in ${layoutDir}`, {
        path: layoutDir,
        hint: 'Finish it first: `stillpoint fleet run FLEETFILE --out DIR`.',
      });
    }
    const findings: FleetFinding[] = [];
    const find = (targetId: string | null, code: FleetFinding['code'], message: string) =>
      findings.push({ targetId, code, message });
    const plan = await tried(
      () => readPlan(fs, layout),
      (message) => find(null, 'PLAN', message),
    );
    if (plan === undefined && findings.length === 0) find(null, 'PLAN', 'there is no plan');
    const journal =
      plan &&
      (await tried(
        () => replayJournal(fs, layout, plan),
        (message) => find(null, 'JOURNAL', message),
      ));
    if (plan !== undefined) comparePlan(plan, manifest, find);
    if (plan !== undefined && journal === undefined && findings.length === 0)
      find(null, 'JOURNAL', 'there is no journal');
    if (journal !== undefined && !journal.execution.isComplete)
      find(null, 'JOURNAL', 'the journal does not say that the backup is complete');
    let verified = 0;
    const places: string[] = [];
    for (const member of manifest.fleet.members) {
      signal?.throwIfAborted();
      const { target_id, source_snapshot } = member;
      if (journal !== undefined) compareArtifact(journal.execution, member, find);
      const problem = pathProblem(source_snapshot.artifact_path);
      if (problem !== undefined) {
        find(target_id, 'ARTIFACT', `its path ${JSON.stringify(source_snapshot.artifact_path)} ${problem}`);
        continue;
      }
      const place = placeOf(layout, source_snapshot.artifact_path);
      places.push(place);
      if ((await fs.inspect(place))?.kind !== 'folder') {
        find(target_id, 'ARTIFACT', `${place} is not a folder`);
        continue;
      }
      const digest = await tried(
        () => folderDigest(fs, place, signal),
        (message) => find(target_id, 'ARTIFACT', message),
        signal,
      );
      if (digest === source_snapshot.checksum) {
        const { repository } = plan ?? {};
        const why = repository && (await pushProblem(env, repository, place, source_snapshot, signal));
        if (why === undefined) verified++;
        else find(target_id, 'ARTIFACT', why);
      } else if (digest !== undefined)
        find(
          target_id,
          'CHECKSUM',
          `${place} has digest ${digest}, and ${source_snapshot.checksum} was recorded`,
        );
    }
    const members = manifest.fleet.members.length;
    const pinned = plan === undefined ? null : await countPinned(env, plan, places, signal);
    return { ok: findings.length === 0, backupId: manifest.backup_id, verified, members, pinned, findings };
  } catch (error) {
    if (signal?.aborted) throw new StillpointError('CANCELLED', 'cancelled on request', { cause: error });
    throw toStillpointError(error);
  }
}

type Find = (targetId: string | null, code: FleetFinding['code'], message: string) => void;

function comparePlan(plan: BackupPlan, manifest: FleetManifest, find: Find): void {
  const { source, fleet, backup_id, consistency } = manifest;
  if (source.plan_id !== plan.plan_id || source.run_id !== plan.run_id || backup_id !== plan.backup_id)
    find(null, 'MANIFEST', 'the manifest is of another plan or run');
  for (const hash of ['topology_hash', 'discovery_topology_hash', 'pre_snapshot_topology_hash'] as const)
    if (fleet[hash] !== plan.topology_hash) find(null, 'MANIFEST', `its ${hash} is not that of the plan`);
  const members = new Map(fleet.members.map((member) => [member.target_id, member]));
  if (members.size !== fleet.members.length) find(null, 'MANIFEST', 'it names a member twice');
  for (const target of plan.targets) {
    const member = members.get(target.target_id);
    members.delete(target.target_id);
    if (member === undefined) find(target.target_id, 'MEMBER', 'stands in the plan and not in the manifest');
    else if (
      member.role !== target.role ||
      member.parent !== target.parent ||
      member.identity_mode !== target.identity ||
      member.store_id !== target.store_id ||
      !isInRepository(member, plan.repository) ||
      member.source_snapshot.artifact_path !== artifactPathOf(target)
    )
      find(target.target_id, 'MEMBER', 'is not in the manifest as it is in the plan');
  }
  for (const id of members.keys()) find(id, 'MEMBER', 'stands in the manifest and not in the plan');
  const units = (list: readonly { unit_id: string; targets: readonly string[] }[]) =>
    JSON.stringify(list.map(({ unit_id, targets }) => [unit_id, targets]));
  if (units(consistency.units) !== units(plan.units))
    find(null, 'MANIFEST', 'its units are not those of the plan');
}

/** Earlier versions did not write it into the manifest. */
const isInRepository = ({ repository }: FleetMember, planned: PlanRepository | undefined): boolean =>
  repository === undefined ||
  (repository.name === planned?.name && repository.repository_id === planned.repository_id);

/** What is wrong with the backup that a member was pushed as; read in its repository. */
async function pushProblem(
  env: Environment,
  repository: PlanRepository,
  place: string,
  { snapshot_id }: FleetMember['source_snapshot'],
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  let problem: string | undefined;
  await tried(
    async () => {
      const pushed = await readPushed(env.fs, place);
      if (pushed.snapshot_id !== snapshot_id) problem = `${place} names the snapshot ${pushed.snapshot_id}`;
      else await checkPushed(env, repository, pushed, { signal });
    },
    (message) => {
      problem = message;
    },
    signal,
  );
  return problem;
}

/** How many members are pinned. Null where nothing was pushed, and where the repository does not answer. */
export async function countPinned(
  env: Environment,
  plan: BackupPlan,
  places: readonly string[],
  signal: AbortSignal | undefined,
): Promise<number | null> {
  const { repository } = plan;
  if (repository === undefined) return null;
  const ignored = () => undefined;
  const pins = await tried(() => pinsOfSet(env, repository, plan), ignored, signal);
  if (pins === undefined) return null;
  const ids = new Set(pins.map(({ backupId }) => backupId));
  const pushed = await Promise.all(places.map((place) => tried(() => readPushed(env.fs, place), ignored)));
  return pushed.filter((one) => one !== undefined && ids.has(one.backup_id)).length;
}

function compareArtifact(
  execution: Execution,
  { target_id, source_snapshot }: FleetMember,
  find: Find,
): void {
  const row = execution.artifact(target_id);
  if (row?.state !== 'Durable') {
    find(target_id, 'JOURNAL', `its artifact is ${row?.state ?? 'missing'} in the journal, and not durable`);
    return;
  }
  for (const field of ['snapshot_id', 'artifact_path', 'checksum'] as const)
    if (row[field] !== source_snapshot[field])
      find(target_id, 'JOURNAL', `its ${field.replace('_', ' ')} is another one in the journal`);
}

/** A part that cannot be read is a finding, so that the others are looked at all the same. */
async function tried<T>(
  work: () => Promise<T>,
  onFailure: (message: string) => void,
  signal?: AbortSignal,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (signal?.aborted) throw error;
    onFailure(toStillpointError(error).message);
    return undefined;
  }
}
