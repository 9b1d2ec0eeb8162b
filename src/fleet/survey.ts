import { join } from 'node:path';
import { mapConcurrent } from '../env/concurrency.ts';
import { listFolder, realPlace } from '../env/io.ts';
import { StillpointError, toStillpointError } from '../errors.ts';
import type { AdminClient } from '../rpc/client.ts';
import type { Environment } from '../snapshot/environment.ts';
import { type FleetGlance, glanceAtBackup } from './copies/glance.ts';
import { type FleetFile, readFleetFile } from './fleet-file.ts';
import { NodeClients } from './http/clients.ts';
import { type BackupPlan, readPlan } from './plan/plan.ts';
import { type FleetStatus, fleetStatus } from './status.ts';

const NODES_AT_ONCE = 64;
const REPLY_MS = 5000;
const SETS_SHOWN = 10;
/** Of hundreds of thousands of files, not at every question. */
const GLANCE_AGAIN_MS = 30_000;

/** What a node says of itself, or why it does not. */
export interface SurveyedNode {
  readonly id: string;
  readonly unit: string;
  readonly role: string;
  readonly url: string;
  readonly status: Awaited<ReturnType<AdminClient['status']>> | undefined;
  readonly problem: string | undefined;
}

/** A backup of the fleet in a folder of its own. */
export interface SurveyedSet {
  readonly name: string;
  /** When its plan was made; undefined when the plan cannot be read. */
  readonly createdAtMs: number | undefined;
  readonly status: FleetStatus | undefined;
  /** Of one that is complete. */
  readonly glance: FleetGlance | undefined;
  readonly problem: string | undefined;
}

/** Asks every node of a fleet file how it is, and looks at the fleet's backups. Connections are kept until it is closed. */
export class FleetSurvey {
  readonly name: string;
  readonly #file: FleetFile;
  readonly #clients: NodeClients;
  readonly #environment: Environment;
  /** The folder that holds backups of the fleet, if it was named. */
  readonly setsDir: string | undefined;
  readonly #glances = new Map<string, { readonly atMs: number; readonly glance: FleetGlance }>();

  private constructor(file: FleetFile, environment: Environment, setsDir: string | undefined) {
    this.name = file.fleet;
    this.#file = file;
    this.#environment = environment;
    this.setsDir = setsDir;
    this.#clients = new NodeClients(file, environment, REPLY_MS);
  }

  /**
   * `NOT_FOUND`, or `INVALID_REQUEST` that says what is wrong in the file.
   *
   * @param setsDir A folder that holds backups of the fleet, each in a folder of its own.
   */
  static async open(
    fleetFile: string,
    environment: Environment,
    setsDir: string | undefined,
  ): Promise<FleetSurvey> {
    const { fs } = environment;
    const file = await readFleetFile(fs, fleetFile);
    const sets = setsDir === undefined ? undefined : await realPlace(fs, setsDir);
    if (sets !== undefined && (await fs.inspect(sets))?.kind !== 'folder')
      throw new StillpointError('NOT_FOUND', `there is no folder ${setsDir}`, { path: sets });
    return new FleetSurvey(file, environment, sets);
  }

  close(): Promise<void> {
    return this.#clients.close();
  }

  async nodes(): Promise<SurveyedNode[]> {
    const unitOf = new Map(this.#file.units?.flatMap(({ id, nodes }) => nodes.map((node) => [node, id])));
    return mapConcurrent(this.#file.nodes, NODES_AT_ONCE, async ({ id, role, url }) => {
      const about = { id, role, url, unit: unitOf.get(id) ?? this.name };
      try {
        const status = await (await this.#clients.client(id)).status();
        return { ...about, status, problem: undefined };
      } catch (error) {
        return { ...about, status: undefined, problem: toStillpointError(error).message };
      }
    });
  }

  /** The newest ones, newest first; before them those whose plan cannot be read. `leftOut`: how many are older. */
  async sets(): Promise<{ readonly sets: readonly SurveyedSet[]; readonly leftOut: number }> {
    if (this.setsDir === undefined) return { sets: [], leftOut: 0 };
    const { fs } = this.#environment;
    const found: { name: string; dir: string; plan: BackupPlan }[] = [];
    const unreadable: SurveyedSet[] = [];
    for (const { name, kind } of await listFolder(fs, this.setsDir)) {
      if (kind !== 'folder') continue;
      const dir = join(this.setsDir, name);
      try {
        const plan = await readPlan(fs, dir);
        if (plan !== undefined) found.push({ name, dir, plan });
      } catch (error) {
        unreadable.push({ ...UNKNOWN, name, problem: toStillpointError(error).message });
      }
    }
    found.sort((a, b) => b.plan.created_at_ms - a.plan.created_at_ms);
    const shown = await mapConcurrent(found.slice(0, SETS_SHOWN), 1, async ({ name, dir, plan }) => {
      const about = { ...UNKNOWN, name, createdAtMs: plan.created_at_ms };
      try {
        const status = await fleetStatus(dir, this.#environment);
        const glance = status.complete ? await this.#glance(dir, plan) : undefined;
        return { ...about, status, glance, problem: glance?.problem ?? undefined };
      } catch (error) {
        return { ...about, problem: toStillpointError(error).message };
      }
    });
    return { sets: [...unreadable, ...shown], leftOut: found.length - shown.length };
  }

  async #glance(dir: string, plan: BackupPlan): Promise<FleetGlance> {
    const nowMs = this.#environment.clock.monotonicMs();
    const known = this.#glances.get(dir);
    if (known !== undefined && nowMs - known.atMs < GLANCE_AGAIN_MS) return known.glance;
    const glance = await glanceAtBackup(this.#environment, dir, plan);
    this.#glances.set(dir, { atMs: this.#environment.clock.monotonicMs(), glance });
    return glance;
  }
}

const UNKNOWN = { createdAtMs: undefined, status: undefined, glance: undefined, problem: undefined };
