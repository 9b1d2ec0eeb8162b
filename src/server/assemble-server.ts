import { setMaxListeners } from 'node:events';
import { BackupCoordinator } from '../coordinator/backup.ts';
import { RestoreCoordinator } from '../coordinator/restore.ts';
import type { Hold } from '../engine/engine.ts';
import { engineByName } from '../engine/index.ts';
import { Semaphore } from '../env/concurrency.ts';
import { makeFolders, realPlace } from '../env/io.ts';
import { warn } from '../env/safe-calls.ts';
import { StillpointError } from '../errors.ts';
import { directoryOf, type Lifecycle } from '../operation/lifecycle.ts';
import { refuseKept } from '../operation/refuse-snapshot.ts';
import type { Environment } from '../snapshot/environment.ts';
import { LastRuns } from './admin/last-runs.ts';
import { UnderWay } from './admin/request-runs.ts';
import { RunFeed } from './admin/run-feed.ts';
import { Audit } from './audit.ts';
import { BackupKeys } from './backup-keys.ts';
import { DatabaseHandle } from './database-handle.ts';
import { Incoming } from './incoming.ts';
import { Metrics } from './metrics.ts';
import type { ResolvedOptions } from './options.ts';
import type { Plans, ServerSettings } from './plans.ts';
import { Prometheus } from './prometheus.ts';
import { RecoveryWatch } from './recovery.ts';
import { refuseHeld } from './refuse-held.ts';
import { RestoreHold } from './restore-hold.ts';
import { Safety } from './safety.ts';
import { WriteLease } from './write-lease.ts';

/** What the routes work with. */
export interface ServerContext {
  readonly options: ResolvedOptions;
  readonly environment: Environment;
  readonly lifecycle: Lifecycle;
  readonly gate: DatabaseHandle;
  readonly lease: WriteLease;
  readonly hold: RestoreHold;
  readonly incoming: Incoming;
  readonly keys: BackupKeys;
  readonly pushKeys: BackupKeys;
  /** One pin is written at a time. */
  readonly pinning: Semaphore;
  readonly backups: BackupCoordinator;
  readonly restores: RestoreCoordinator;
  readonly lastRuns: LastRuns;
  readonly backupFeed: RunFeed;
  readonly restoreFeed: RunFeed;
  readonly underWay: UnderWay;
  readonly recovery: RecoveryWatch;
  readonly safety: Safety;
  readonly metrics: Metrics;
  readonly prometheus: Prometheus;
  readonly audit: Audit;
  /** Undefined without a settings file. */
  readonly plans: Plans | undefined;
  /** Aborted when the server begins to close. */
  readonly closing: AbortController;
}

/**
 * Finishes what a crash interrupted, opens the database, and creates the coordinators.
 *
 * @param shared For a data directory among several, none of which is opened: nothing is finished there either, since another process
 * may have the database open.
 */
export async function assemble(
  options: ResolvedOptions,
  settings: ServerSettings | undefined,
  shared?: { readonly audit: Audit },
): Promise<ServerContext> {
  const { dataDir, backend, environment, lifecycle, allowedSources } = options;
  const { fs, clock } = environment;
  const place = await realPlace(fs, dataDir);
  refuseKept(place); // before a folder is made there
  if (options.createDataDir && (await fs.inspect(place)) === undefined) await makeFolders(fs, place);
  await directoryOf(lifecycle).layout(); // no such folder, or no folder: an error before anything is opened
  const recovery = new RecoveryWatch(clock);
  const lease = new WriteLease(clock);
  const layout = () => directoryOf(lifecycle).layout();
  const hold = new RestoreHold(environment, layout, engineByName(backend.engine));
  await hold.load();
  if (shared === undefined) await hold.opening();
  let isFirst = shared === undefined;
  const gate = new DatabaseHandle(
    () => {
      const prepare = isFirst ? () => lifecycle.recover() : undefined;
      isFirst = false;
      return recovery.opening(() => backend.open(dataDir), prepare);
    },
    () => lifecycle.mode,
    {
      refuse() {
        lease.refuseWrite();
        hold.refuseWrite();
      },
      admit: () => hold.admitWrite(),
    },
  );
  const { engine } = backend;
  const checkpoint = ({ signal }: { signal: AbortSignal }): Promise<Hold | undefined> =>
    gate.read(async (database) => {
      await database.checkpoint?.({ signal });
      const hold = await database.hold?.();
      return lease.capturing === undefined ? hold : checkedAtRelease(hold, () => lease.requireForCapture());
    });
  const backups = new BackupCoordinator({ dataDir, engine, lifecycle, checkpoint, defaults: options.backup });
  const restores = new RestoreCoordinator({
    dataDir,
    engine,
    lifecycle,
    allowedSources,
    close: (context) => gate.close(context),
    open: () => gate.open(),
  });
  leaveReadOnlyAfterRestore(lifecycle, restores, gate);
  await gate.open();
  const load = async () => {
    if (shared === undefined) await hold.opened();
    return LastRuns.load(lifecycle, backups, restores);
  };
  const lastRuns = await load().catch(async (error) => {
    await gate.close();
    throw error;
  });
  const closing = new AbortController();
  setMaxListeners(0, closing.signal); // each client that follows a run listens to it
  const parts = {
    options,
    environment,
    backups,
    closing: closing.signal,
    admit: () => refuseHeld({ lease, hold }, undefined),
    onEnd: () => safety.forget(),
  };
  // Loaded only where there are plans.
  const plans = settings && new (await import('./plans.ts')).Plans(settings, parts);
  const safety = new Safety(environment, lifecycle, () => plans?.jobs);
  const metrics = new Metrics(clock);
  const prometheus = new Prometheus({
    clock,
    engine,
    lifecycle,
    safety,
    connections: () => metrics.connections,
    isOpen: () => gate.isOpen,
    planStates: async () => (await plans?.states()) ?? [],
    lastDrill: async () => plans?.lastDrill(),
  });
  const ended = (id: string) => {
    safety.forget();
    prometheus.ended(id).catch(warn);
  };
  for (const coordinator of [backups, restores]) {
    coordinator.on('completed', ({ id }) => ended(id));
    coordinator.on('failed', ended);
  }
  const audit = shared?.audit ?? new Audit(options.audit, clock);
  return {
    options,
    environment,
    lifecycle,
    gate,
    lease,
    hold,
    incoming: new Incoming(environment, layout),
    keys: new BackupKeys(environment, 'backup-keys.json'),
    pushKeys: new BackupKeys(environment, 'push-keys.json'),
    pinning: new Semaphore(1),
    backups,
    restores,
    lastRuns,
    backupFeed: new RunFeed(backups),
    restoreFeed: new RunFeed(restores),
    recovery,
    safety,
    metrics,
    prometheus,
    audit,
    plans,
    closing,
    underWay: new UnderWay(audit, closing.signal),
  };
}

/** A hold is released when no later write is in the snapshot: it counts if its lease lives then. Later that may be over. */
const checkedAtRelease = (hold: Hold | undefined, check: () => void): Hold => ({
  ...(hold?.plan && { plan: hold.plan }),
  ...(hold?.isIn && { isIn: (dataDir: string) => hold.isIn!(dataDir) }),
  async release() {
    await hold?.release();
    check();
  },
});

/**
 * A restore that failed both ways leaves `read_only` and a closed database. One that succeeds after that ends the state that
 * the first one caused; a mode that the operator had set stays.
 */
function leaveReadOnlyAfterRestore(
  lifecycle: Lifecycle,
  restores: RestoreCoordinator,
  gate: DatabaseHandle,
): void {
  let isForced = false;
  restores.on('failed', () => {
    isForced ||= lifecycle.mode === 'read_only' && !gate.isOpen;
  });
  restores.on('completed', () => {
    if (isForced) lifecycle.setMode('normal');
    isForced = false;
  });
}

/** Nothing new is begun once the server is being closed. */
export function refuseWhenClosing({ closing }: ServerContext): void {
  if (closing.signal.aborted) throw new StillpointError('UNAVAILABLE', 'the server is being closed');
}
