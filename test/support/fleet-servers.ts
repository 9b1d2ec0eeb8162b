import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { makeFolders } from '../../src/env/io.ts';
import type { FleetFile } from '../../src/fleet/fleet-file.ts';
import { HttpExecutor, type HttpExecutorOptions } from '../../src/fleet/http/executor.ts';
import { buildPlan, type PlanRequest, writePlan } from '../../src/fleet/plan/plan.ts';
import type { Backend, ServerOptions } from '../../src/server/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { listening } from './server.ts';
import { temporaryFolder } from './temp.ts';

export interface FleetServer {
  readonly id: string;
  readonly url: string;
  readonly dataDir: string;
  close(): Promise<void>;
}

/** Servers in this process, one for each id. */
export async function fleetServers(
  ids: readonly string[],
  options: (id: string) => Partial<ServerOptions> & { backend?: Backend } = () => ({}),
): Promise<FleetServer[]> {
  return Promise.all(
    ids.map(async (id) => {
      const { server, dataDir } = await listening(options(id));
      return { id, url: server.url, dataDir, close: () => server.close() };
    }),
  );
}

/** The fleet file of servers; each unit is given as the ids of its nodes. */
export const fleetOf = (
  servers: readonly { readonly id: string; readonly url: string }[],
  units?: readonly (readonly string[])[],
): FleetFile => ({
  fleet: 'test',
  nodes: servers.map(({ id, url }) => ({
    id,
    url,
    role: 'database',
    parent: null,
    identity: 'relocatable' as const,
  })),
  units: units?.map((nodes, i) => ({ id: `unit-${i}`, nodes })),
  folder: '/',
});

export function httpExecutor(file: FleetFile, options: HttpExecutorOptions = {}): HttpExecutor {
  const executor = new HttpExecutor(file, options);
  onTestFinished(() => executor.close());
  return executor;
}

/** A layout folder with a plan for a fleet as it is now. */
export async function planned(
  file: FleetFile,
  change: Partial<PlanRequest> = {},
): Promise<{ layoutDir: string; executor: HttpExecutor }> {
  const executor = httpExecutor(file, { leaseMs: 30_000 });
  const plan = buildPlan({
    fleet: file.fleet,
    nodes: await executor.discover(),
    units: file.units,
    policy: 'quiesced',
    planId: 'plan-1',
    runId: 'run-1',
    backupId: 'backup-1',
    nowMs: Date.now(),
    tool: 'test',
    ...change,
  });
  const layoutDir = join(await temporaryFolder(), 'backup');
  await makeFolders(systemEnvironment.fs, layoutDir);
  await writePlan(systemEnvironment.fs, layoutDir, plan);
  return { layoutDir, executor };
}
