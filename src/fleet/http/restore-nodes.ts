import { join } from 'node:path';
import { MANIFEST } from '../../engine/engine.ts';
import { pause } from '../../env/clock.ts';
import { readFully, withFile } from '../../env/io.ts';
import { ERROR_CODES, type ErrorCode, StillpointError } from '../../errors.ts';
import { isZeros } from '../../format/sums.ts';
import type { AdminClient, HoldReply } from '../../rpc/client.ts';
import { PART_BYTES } from '../../rpc/hold.ts';
import { type Environment, systemEnvironment } from '../../snapshot/environment.ts';
import { placeOf } from '../../snapshot/store/layout.ts';
import { readManifest } from '../../snapshot/store/manifest-file.ts';
import { readPushed, withCopyOfPushed } from '../copies/pushed-backup.ts';
import type { FleetFile } from '../fleet-file.ts';
import type { PlanRepository } from '../plan/plan.ts';
import type { RestoreContext, RestoreNodes } from '../restore/restore-nodes.ts';
import { NodeClients, snapshotNameIn } from './clients.ts';
import { NodeLeases } from './node-leases.ts';

export interface HttpRestoreOptions {
  /** How long a node refuses writes without hearing from this process, before anything is exchanged. Default 60 * 1000. */
  readonly leaseMs?: number | undefined;
  /** For a reply of a node. Default 30 * 1000. */
  readonly timeoutMs?: number | undefined;
  /** How long a node that does not answer, or is busy, is asked again. Default 30 * 1000. */
  readonly patienceMs?: number | undefined;
  /** Where the members of the backup were pushed to. Default: their copies stand in the folder of the backup. */
  readonly repository?: PlanRepository | undefined;
  readonly environment?: Environment;
}

const DEFAULT_PATIENCE_MS = 30 * 1000;
const POLL_MS = 100;
const RETRY_MS = 250;
/** How long a safety snapshot is not pruned, unless the restore is taken back before: the longest that a node allows. */
const PIN_MS = 30 * 24 * 60 * 60 * 1000;
/** A copy that failed its proof on the node was damaged on its way: it is sent once more. */
const SENDINGS = 2;

/** Restores real servers through their admin RPC. */
export class HttpRestoreNodes implements RestoreNodes {
  readonly #clients: NodeClients;
  readonly #environment: Environment;
  readonly #patienceMs: number;
  readonly #leases: NodeLeases;
  readonly #repository: PlanRepository | undefined;

  constructor(file: FleetFile, options: HttpRestoreOptions = {}) {
    const { leaseMs, timeoutMs, patienceMs = DEFAULT_PATIENCE_MS, environment = systemEnvironment } = options;
    this.#clients = new NodeClients(file, environment, timeoutMs);
    this.#leases = new NodeLeases(environment.clock, leaseMs);
    this.#environment = environment;
    this.#repository = options.repository;
    this.#patienceMs = patienceMs;
  }

  /** Ends the renewal of leases. What is quiesced then takes writes again when its lease runs out; what is held does not. */
  close(): Promise<void> {
    this.#leases.close();
    return this.#clients.close();
  }

  async send(nodeId: string, folder: string, context: RestoreContext): Promise<string> {
    const repository = this.#repository;
    if (repository === undefined) return this.#sendCopy(nodeId, folder, context);
    const { signal } = context;
    const pushed = await readPushed(this.#environment.fs, folder);
    const copy = `${folder}.tmp`;
    const work = () => this.#sendCopy(nodeId, copy, context);
    return withCopyOfPushed(this.#environment, repository, pushed, copy, { signal, work });
  }

  async #sendCopy(nodeId: string, folder: string, context: RestoreContext): Promise<string> {
    const client = await this.#clients.client(nodeId);
    const { restoreId, signal } = context;
    for (let attempt = 1; ; attempt++) {
      await this.#sendFiles(client, folder, context);
      for (;;) {
        const proof = await this.#retried(context, () => client.proveIncoming(restoreId, signal));
        if (proof.state === 'proven') return proof.location;
        if (proof.state === 'failed') {
          if (attempt === SENDINGS)
            throw new StillpointError(
              codeOf(proof.code, 'COPY_DAMAGED'),
              `the copy failed its proof on the node: ${proof.reason ?? 'no reason'}`,
            );
          await client.removeIncoming(restoreId, signal);
          break;
        }
        await pause(POLL_MS, signal);
      }
    }
  }

  async hasCopy(nodeId: string, context: RestoreContext): Promise<boolean> {
    const client = await this.#clients.client(nodeId);
    const { restoreId, signal } = context;
    return (await this.#retried(context, () => client.arrived(restoreId, MANIFEST, signal))) > 0;
  }

  async report(nodeId: string, context: RestoreContext): Promise<HoldReply> {
    const client = await this.#clients.client(nodeId);
    const { restoreId: run, signal } = context;
    return this.#retried(context, () => client.hold({ run, dry: true }, signal));
  }

  async quiesce(nodeId: string, context: RestoreContext): Promise<void> {
    if ((await this.report(nodeId, context)).held) return;
    const client = await this.#clients.client(nodeId);
    const { restoreId: run, signal } = context;
    await this.#retried(context, () => this.#leases.take(nodeId, client, run, signal));
  }

  async snapshot(nodeId: string, context: RestoreContext): Promise<string> {
    const client = await this.#clients.client(nodeId);
    const { restoreId: run, key, signal } = context;
    const epoch = this.#leases.epochOf(nodeId);
    const body = epoch === undefined ? { key, run } : { key, epoch };
    const { handle } = await this.#retried(context, () => client.startBackup(body, signal));
    await this.#ended(context, 'safety snapshot', () => client.backup(handle, signal));
    const name = snapshotNameIn(await this.#retried(context, () => client.backup(handle, signal)));
    await this.#retried(context, () => client.pin(name, { run, ttl_ms: PIN_MS }, signal));
    return handle;
  }

  async hold(nodeId: string, context: RestoreContext): Promise<HoldReply> {
    const client = await this.#clients.client(nodeId);
    const { restoreId: run, signal } = context;
    const epoch = this.#leases.epochOf(nodeId);
    const body = { run, ...(epoch !== undefined && { epoch }) };
    const reply = await this.#retried(context, () => client.hold(body, signal));
    this.#leases.forget(nodeId);
    return reply;
  }

  async restore(nodeId: string, source: string, context: RestoreContext): Promise<void> {
    await this.#exchange(nodeId, 'restored', context, (client, run) =>
      client.startRestore({ key: context.key, run, source }, context.signal),
    );
  }

  async undo(nodeId: string, context: RestoreContext): Promise<void> {
    await this.#exchange(nodeId, 'undone', context, (client, run) =>
      client.startUndo({ key: context.key, run }, context.signal),
    );
  }

  async probe(nodeId: string, context: RestoreContext): Promise<void> {
    const client = await this.#clients.client(nodeId);
    const { held, state } = await this.report(nodeId, context);
    if (!held || state !== 'restored')
      throw new StillpointError('CONFLICT', `its state is "${state}" and it is ${held ? '' : 'not '}held`);
    await this.#retried(context, () => client.health(context.signal));
  }

  async release(nodeId: string, context: RestoreContext): Promise<void> {
    const client = await this.#clients.client(nodeId);
    const { restoreId: run, signal } = context;
    const epoch = this.#leases.epochOf(nodeId);
    this.#leases.forget(nodeId);
    if (epoch !== undefined)
      await this.#retried(context, () => client.resume({ run, epoch }, signal)).catch((error) => {
        // A lease that is gone needs no end.
        if (!(error instanceof StillpointError) || error.code !== 'LEASE_LOST') throw error;
      });
    await this.#retried(context, () => client.release(run, signal));
  }

  async discard(nodeId: string, { restoreId, signal }: RestoreContext): Promise<void> {
    await (await this.#clients.client(nodeId)).removeIncoming(restoreId, signal);
  }

  async unpin(
    nodeId: string,
    snapshotId: string,
    { restoreId: run, signal }: RestoreContext,
    { discard }: { readonly discard: boolean },
  ): Promise<void> {
    const client = await this.#clients.client(nodeId);
    const name = snapshotNameIn(await client.backup(snapshotId, signal));
    await client.pin(name, { run, ttl_ms: 0, ...(discard && { discard }) }, signal);
  }

  /**
   * Exchanges the files once. What the node says of its state decides, not the answer to a request: that may be lost, and the server may
   * have died in the middle and finished the exchange when it came back.
   */
  async #exchange(
    nodeId: string,
    goal: 'restored' | 'undone',
    context: RestoreContext,
    begin: (client: AdminClient, run: string) => Promise<{ readonly handle: string }>,
  ): Promise<void> {
    const client = await this.#clients.client(nodeId);
    const isThere = async () => (await this.hold(nodeId, context)).state === goal; // waits while it is busy
    if (await isThere()) return;
    try {
      const { handle } = await this.#retried(context, () => begin(client, context.restoreId));
      await this.#ended(context, goal === 'restored' ? 'restore' : 'undo', () =>
        client.restore(handle, context.signal),
      );
    } catch (error) {
      if (context.signal.aborted || !(await isThere())) throw error;
    }
    if (await isThere()) return;
    throw new StillpointError(
      'NODE_REPLY_INVALID',
      `it says that the work is done, and its state is not "${goal}"`,
    );
  }

  async #ended(
    context: RestoreContext,
    what: string,
    ask: () => Promise<{
      readonly state: {
        readonly status: string;
        readonly code: string | null;
        readonly reason: string | null;
      };
    }>,
  ): Promise<void> {
    for (;;) {
      const { state } = await this.#retried(context, ask);
      if (state.status === 'completed') return;
      if (state.status !== 'queued' && state.status !== 'running')
        throw new StillpointError(
          codeOf(state.code, 'INTERNAL'),
          `the ${what} ${state.status}: ${state.reason ?? 'no reason'}`,
        );
      await pause(POLL_MS, context.signal);
    }
  }

  async #sendFiles(client: AdminClient, folder: string, context: RestoreContext): Promise<void> {
    const { fs } = this.#environment;
    const manifest = await readManifest(this.#environment, folder);
    const inspected = await fs.inspect(join(folder, MANIFEST));
    if (manifest === undefined || inspected === undefined)
      throw new StillpointError('MANIFEST_INVALID', `${folder} has no manifest`, { path: folder });
    const files = [
      ...manifest.entries.map(({ path, size }) => ({ path, size })),
      { path: MANIFEST, size: inspected.sizeBytes },
    ];
    const total = files.reduce((sum, { size }) => sum + size, 0);
    let done = 0;
    for (const { path, size } of files) {
      await this.#sendFile(client, placeOf(folder, path), { path, size }, context);
      done += size;
      context.onProgress?.(done, total);
    }
  }

  /** From where it was cut off. What is zero is not sent. */
  async #sendFile(
    client: AdminClient,
    place: string,
    { path, size }: { readonly path: string; readonly size: number },
    context: RestoreContext,
  ): Promise<void> {
    const { restoreId: run, signal } = context;
    const arrived = await this.#retried(context, () => client.arrived(run, path, signal));
    // One that has its length has all its parts, since that comes with the last one.
    if (arrived === size && size > 0) return;
    await withFile(this.#environment.fs, place, 'read', async (file) => {
      const buffer = Buffer.allocUnsafe(Math.min(PART_BYTES, Math.max(1, size)));
      let at = arrived < size ? arrived - (arrived % PART_BYTES) : 0;
      do {
        const bytes = buffer.subarray(0, await readFully(file, buffer, at));
        const from = at;
        at += bytes.byteLength;
        const isLast = at >= size || bytes.byteLength === 0;
        const content = isZeros(bytes) ? bytes.subarray(0, 0) : bytes;
        if (content.byteLength === 0 && !isLast) continue;
        const part = { from, bytes: content, ...(isLast && { size }) };
        await this.#retried(context, () => client.send(run, path, part, signal));
        if (isLast) return;
      } while (at < size);
    });
  }

  /** Asks again what may be asked twice, while the node does not answer or is busy. */
  async #retried<T>({ signal }: RestoreContext, send: () => Promise<T>): Promise<T> {
    const { clock } = this.#environment;
    const endMs = clock.monotonicMs() + this.#patienceMs;
    for (;;) {
      try {
        return await send();
      } catch (error) {
        if (signal.aborted || clock.monotonicMs() >= endMs || !isPassing(error)) throw error;
        await pause(RETRY_MS, signal);
      }
    }
  }
}

const isPassing = (error: unknown): boolean =>
  error instanceof StillpointError &&
  (error.code === 'NODE_UNREACHABLE' ||
    error.code === 'UNAVAILABLE' ||
    (error.code === 'CONFLICT' && error.data?.retryAfterMs !== undefined)); // busy

const codeOf = (code: string | null, otherwise: ErrorCode): ErrorCode =>
  code !== null && Object.hasOwn(ERROR_CODES, code) ? (code as ErrorCode) : otherwise;
