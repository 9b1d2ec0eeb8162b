import { verifySnapshot } from '../../coordinator/snapshot-by-path.ts';
import { pause } from '../../env/clock.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import { ERROR_CODES, type ErrorCode, StillpointError, toStillpointError } from '../../errors.ts';
import type { AdminClient, BackupReply } from '../../rpc/client.ts';
import { type Environment, systemEnvironment } from '../../snapshot/environment.ts';
import {
  checkPushed,
  pinPushed,
  readPushed,
  refuseUnwritable,
  writePushed,
} from '../copies/pushed-backup.ts';
import type { FleetFile, FleetNode } from '../fleet-file.ts';
import type { BackupPlan, PlanRepository, PlanTarget } from '../plan/plan.ts';
import { makeReceipts, type PreflightReceipts, type ReceiptDetail } from '../plan/receipts.ts';
import type { TopologyNode } from '../plan/topology.ts';
import type { EffectContext, FleetExecutor, PreflightRequest } from '../run/executor.ts';
import { type RegistryRequest, type SnapshotDriver, selectTargets } from '../run/snapshot-driver.ts';
import { NodeClients, snapshotNameIn } from './clients.ts';
import { downloadFromNode } from './download.ts';
import { NodeLeases } from './node-leases.ts';
import { type PushRequest, pushFromNode } from './push.ts';

export interface HttpExecutorOptions {
  /** How long a node refuses writes without hearing from the controller again. Default 60 * 1000; at most 10 minutes. */
  readonly leaseMs?: number;
  /** For a reply of a node. Default 30 * 1000. */
  readonly timeoutMs?: number;
  readonly environment?: Environment;
}

const NODES_AT_ONCE = 64;
const POLL_FIRST_MS = 20;
const POLL_LAST_MS = 500;
const RETRY_MS = 250;
/** How long a node keeps a snapshot for its run; every attempt to fetch it begins anew. */
const PIN_MS = 24 * 60 * 60 * 1000;

/** Executes a plan on real servers through their admin RPC. */
export class HttpExecutor implements FleetExecutor, SnapshotDriver {
  readonly resumesDownloads = true;
  readonly #file: FleetFile;
  readonly #environment: Environment;
  readonly #clients: NodeClients;
  readonly #leases: NodeLeases;

  constructor(file: FleetFile, options: HttpExecutorOptions = {}) {
    const { leaseMs, timeoutMs, environment = systemEnvironment } = options;
    this.#file = file;
    this.#environment = environment;
    this.#clients = new NodeClients(file, environment, timeoutMs);
    this.#leases = new NodeLeases(environment.clock, leaseMs);
  }

  /** Ends connections and the renewal of leases. What is quiesced then takes writes again when its lease runs out. */
  async close(): Promise<void> {
    this.#leases.close();
    await this.#clients.close();
  }

  /** What the nodes say of themselves. All failures are told at once: `PREFLIGHT_REFUSED`. */
  async discover(ids?: readonly string[], signal?: AbortSignal): Promise<TopologyNode[]> {
    const nodes = ids === undefined ? this.#file.nodes : ids.map((id) => this.#clients.node(id));
    return this.#ofAll(nodes, async ({ id, role, parent, identity }) => {
      const { store_id: storeId, engine } = await (await this.#clients.client(id)).identity(signal);
      return { targetId: id, role, parent, identity, storeId, engine };
    });
  }

  /** All nodes of the fleet file. Only the selected ones are asked who they are: the others are places in the tree. */
  async survey(selected: ReadonlySet<string> | undefined, signal?: AbortSignal): Promise<TopologyNode[]> {
    const ids = this.#file.nodes.map(({ id }) => id).filter((id) => selected?.has(id) ?? true);
    const found = new Map((await this.discover(ids, signal)).map((node) => [node.targetId, node]));
    return this.#file.nodes.map((node) => found.get(node.id) ?? unidentified(node));
  }

  async registry({ targetId, scope, signal }: RegistryRequest): Promise<TopologyNode[]> {
    return this.survey(new Set(selectTargets(this.#file.nodes.map(unidentified), targetId, scope)), signal);
  }

  async preflight({ plan, preflightId, idle, signal }: PreflightRequest): Promise<PreflightReceipts> {
    const nodes = await this.discover(
      plan.targets.map(({ target_id }) => target_id),
      signal,
    );
    if (plan.policy === 'quiesced') await this.#refuseUnready(plan, idle, signal);
    if (plan.repository !== undefined) {
      await this.#refuseWithout(plan.repository, plan, signal);
      await refuseUnwritable(this.#environment, plan.repository);
    }
    // Of those that are not asked now the dry quiesce comes right before they are stopped: `ready`.
    const asked = idle === undefined ? 'a dry quiesce' : 'a dry quiesce, before its nodes are stopped';
    const quiesced = plan.policy === 'quiesced' ? asked : 'the policy: nothing is quiesced';
    const read = 'a signed-in request for the identity';
    return makeReceipts({ plan, preflightId }, nodes, { control: quiesced, read, quiescence: quiesced });
  }

  async ready({ target_id }: PlanTarget, context: Pick<EffectContext, 'runId' | 'signal'>): Promise<void> {
    const client = await this.#clients.client(target_id);
    const body = { run: context.runId, ttl_ms: this.#leases.leaseMs, dry: true };
    // The slot may be taken for a moment, by a backup of the node's own.
    await this.#retried(context, ['CONFLICT', 'UNAVAILABLE'], () => client.quiesce(body, context.signal));
  }

  async stop(target: PlanTarget, context: EffectContext): Promise<ReceiptDetail> {
    const client = await this.#clients.client(target.target_id);
    // It may have become busy a moment ago.
    return this.#retried(context, ['CONFLICT', 'UNAVAILABLE'], () =>
      this.#leases.take(target.target_id, client, context.runId, context.signal),
    );
  }

  async createSnapshot(target: PlanTarget, context: EffectContext): Promise<{ snapshotId: string }> {
    const client = await this.#clients.client(target.target_id);
    const epoch = epochOf(context);
    const body = { key: context.key, ...(epoch !== undefined && { epoch }) };
    const started = await this.#retried(context, ['UNAVAILABLE'], () =>
      client.startBackup(body, context.signal),
    );
    const done = await this.#finished(client, started, context);
    if (done.state.status !== 'completed') {
      const { code, reason, status, phase } = done.state;
      // Once the state is fixed the node may take writes, and what ends it has another reason. Of one that died no phase is on record.
      if (!isFixed(phase)) await this.#requireLease(target, client, context, epoch);
      const known = code !== null && Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : 'INTERNAL';
      throw new StillpointError(
        known,
        `the backup of ${target.target_id} ${status}: ${reason ?? 'no reason'}`,
      );
    }
    await client.pin(snapshotNameIn(done), { run: context.runId, ttl_ms: PIN_MS }, context.signal);
    return { snapshotId: done.handle };
  }

  async start(target: PlanTarget, context: EffectContext): Promise<void> {
    // The journal does not know it when the disk was full.
    const epoch = epochOf(context) ?? this.#leases.epochOf(target.target_id);
    this.#leases.forget(target.target_id);
    if (epoch === undefined) return;
    const client = await this.#clients.client(target.target_id);
    try {
      await this.#retried(context, ['UNAVAILABLE'], () =>
        client.resume({ run: context.runId, epoch }, context.signal),
      );
    } catch (error) {
      // A lease that is gone needs no end: the node takes writes already.
      if (!isCode(error, 'LEASE_LOST')) throw error;
    }
  }

  async downloadSnapshot(
    target: PlanTarget,
    { snapshotId, into }: { readonly snapshotId: string; readonly into: string },
    context: EffectContext,
  ): Promise<ReceiptDetail> {
    const { fs } = this.#environment;
    const { signal } = context;
    const client = await this.#clients.client(target.target_id);
    const name = snapshotNameIn(await client.backup(snapshotId, signal));
    await client.pin(name, { run: context.runId, ttl_ms: PIN_MS }, signal);
    return downloadFromNode({ fs, client, name, snapshotId, into, signal, onProgress: context.onProgress });
  }

  async pushSnapshot(
    target: PlanTarget,
    {
      snapshotId,
      into,
      repository,
    }: { readonly snapshotId: string; readonly into: string; readonly repository: PlanRepository },
    context: EffectContext,
  ): Promise<ReceiptDetail> {
    const environment = this.#environment;
    const { key, runId: run, signal } = context;
    const client = await this.#clients.client(target.target_id);
    const name = snapshotNameIn(await client.backup(snapshotId, signal));
    await client.pin(name, { run, ttl_ms: PIN_MS }, signal);
    const retried: PushRequest['retried'] = (codes, send) => this.#retried(context, codes, send);
    const about = { environment, client, target, name, snapshotId, repository, key, signal, retried };
    const { pushed, bytes } = await pushFromNode(about);
    await writePushed(environment.fs, into, pushed);
    return { bytes, backup_id: pushed.backup_id };
  }

  async verifyArtifact(
    target: PlanTarget,
    {
      dir,
      repository,
      backupId,
    }: {
      readonly dir: string;
      readonly repository?: PlanRepository | undefined;
      readonly backupId: string;
    },
    { signal, onProgress }: EffectContext,
  ): Promise<ReceiptDetail> {
    if (repository !== undefined) {
      const pushed = await readPushed(this.#environment.fs, dir);
      await checkPushed(this.#environment, repository, pushed, { signal, onProgress });
      await pinPushed(this.#environment, repository, pushed, backupId);
      return { verdict: 'faithful' };
    }
    const report = await verifySnapshot(dir, { environment: this.#environment, signal });
    if (report.ok) return { verdict: report.verdict };
    const [first] = report.findings.filter(({ severity }) => severity === 'error');
    const code = PROOF_CODES[report.verdict];
    const message = `the copy of ${target.target_id} failed its proof: ${first?.path ?? ''} ${first?.message ?? ''}`;
    throw new StillpointError(code, message, { path: dir, data: { findings: report.findings } });
  }

  /** Ends the pin of a run's snapshot; the node deletes it as soon as it is not the newest there. */
  async forget(target: PlanTarget, runId: string, snapshotId: string): Promise<void> {
    const client = await this.#clients.client(target.target_id);
    const name = snapshotNameIn(await client.backup(snapshotId));
    await client.pin(name, { run: runId, ttl_ms: 0, discard: true });
  }

  /** The same of many nodes; when some fail, all of those are named. */
  async #ofAll<T>(nodes: readonly FleetNode[], ask: (node: FleetNode) => Promise<T>): Promise<T[]> {
    const failures: { node: string; code: string; message: string }[] = [];
    const answers = await mapConcurrent(nodes, NODES_AT_ONCE, async (node) => {
      try {
        return await ask(node);
      } catch (error) {
        const { code, message } = toStillpointError(error);
        failures.push({ node: node.id, code, message });
        return undefined;
      }
    });
    if (failures.length === 0) return answers as T[];
    const shown = failures.slice(0, 3).map(({ node, message }) => `${node}: ${message}`);
    const message = `${failures.length} of ${nodes.length} nodes cannot take part: ${shown.join('; ')}`;
    throw new StillpointError('PREFLIGHT_REFUSED', message, { data: { failures } });
  }

  async #refuseUnready(
    { targets, run_id: run }: BackupPlan,
    idle: readonly string[] = targets.map(({ target_id }) => target_id),
    signal: AbortSignal,
  ): Promise<void> {
    const nodes = idle.map((id) => this.#clients.node(id));
    await this.#ofAll(nodes, async ({ id }) =>
      (await this.#clients.client(id)).quiesce({ run, ttl_ms: this.#leases.leaseMs, dry: true }, signal),
    );
  }

  async #refuseWithout(
    { name }: PlanRepository,
    { targets }: BackupPlan,
    signal: AbortSignal,
  ): Promise<void> {
    const nodes = targets.map(({ target_id }) => this.#clients.node(target_id));
    await this.#ofAll(nodes, async ({ id }) => {
      const { repositories } = await (await this.#clients.client(id)).repositories(signal);
      if (!repositories.some((one) => one.name === name))
        throw new StillpointError('NOT_FOUND', `the settings file of ${id} has no repository ${name}`);
    });
  }

  /** `LEASE_LOST` when the node took writes: then that is why its snapshot does not count. */
  async #requireLease(
    { target_id }: PlanTarget,
    client: AdminClient,
    { runId: run, signal }: EffectContext,
    epoch: string | undefined,
  ): Promise<void> {
    if (epoch === undefined) return;
    try {
      await client.quiesce({ run, ttl_ms: this.#leases.leaseMs, epoch }, signal);
    } catch (error) {
      if (isCode(error, 'LEASE_LOST'))
        throw new StillpointError(
          'LEASE_LOST',
          `${target_id} took writes before the state of its snapshot was fixed`,
          {
            cause: error,
          },
        );
      throw error;
    }
  }

  /** Asks until the run has ended, and tells when the snapshot's state is fixed. Until then writes wait, so it asks more often. */
  async #finished(client: AdminClient, started: BackupReply, context: EffectContext): Promise<BackupReply> {
    let reply = started;
    let waitMs = POLL_FIRST_MS;
    for (;;) {
      const { status, phase, progress } = reply.state;
      if (isFixed(phase)) context.onCaptured?.();
      if (progress !== null) context.onProgress?.(progress.bytes_processed ?? 0, progress.bytes_total ?? 0);
      if (status !== 'queued' && status !== 'running') return reply;
      await pause(waitMs, context.signal);
      waitMs = Math.min(POLL_LAST_MS, waitMs * (isFixed(phase) ? 1.5 : 1.2));
      reply = await this.#retried(context, ['UNAVAILABLE'], () =>
        client.backup(started.handle, context.signal),
      );
    }
  }

  /** Tries again, for half a lease, what may be sent twice: every request here has a key, an epoch, or changes nothing. */
  async #retried<T>(
    { signal }: Pick<EffectContext, 'signal'>,
    codes: readonly ErrorCode[],
    send: () => Promise<T>,
  ): Promise<T> {
    const { clock } = this.#environment;
    const endMs = clock.monotonicMs() + this.#leases.leaseMs / 2;
    for (;;) {
      try {
        return await send();
      } catch (error) {
        const isPassing = isCode(error, 'NODE_UNREACHABLE') || codes.some((code) => isCode(error, code));
        if (!isPassing || signal.aborted || clock.monotonicMs() >= endMs) throw error;
        await pause(RETRY_MS, signal);
      }
    }
  }
}

const unidentified = ({ id: targetId, role, parent, identity }: FleetNode): TopologyNode => ({
  targetId,
  role,
  parent,
  identity,
  storeId: null,
  engine: null,
});

const PROOF_CODES = {
  faithful: 'COPY_DAMAGED',
  'copy-damaged': 'COPY_DAMAGED',
  'source-damaged': 'SOURCE_DAMAGED',
  unread: 'UNREAD',
} as const;
/** The phases of a snapshot that no write changes any more. */
const FIXED: ReadonlySet<string> = new Set(['copy', 'seal', 'prove', 'publish', 'mark']);

const isFixed = (phase: string | null): boolean => phase !== null && FIXED.has(phase);

const isCode = (error: unknown, code: ErrorCode): boolean =>
  error instanceof StillpointError && error.code === code;

const epochOf = ({ stopped }: EffectContext): string | undefined =>
  typeof stopped?.epoch === 'string' ? stopped.epoch : undefined;
