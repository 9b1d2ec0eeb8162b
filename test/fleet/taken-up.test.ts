import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { verifyFleetBackup } from '../../src/fleet/copies/integrity.ts';
import { httpExecutor, planFleet, runFleet } from '../../src/fleet/fleet.ts';
import { runFleetBackup } from '../../src/fleet/run/run-in-parallel.ts';
import { LONGEST_LEASE_MS } from '../../src/rpc/node.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { compiled } from '../support/build.ts';
import { fleetFileFor, type NodeProcess, nodeProcesses, valueInCopy } from '../support/fleet-processes.ts';
import { temporaryFolder } from '../support/temp.ts';
import { isLong, perTier } from '../support/tier.ts';

// A controller or a node ends while tables are copied: all nodes take writes again by then, and snapshots are still under way.

const HOUR_MS = 60 * 60 * 1000;
/** When no receipts of a preflight are good any more. */
const { clock } = systemEnvironment;
const LATER = {
  ...systemEnvironment,
  clock: {
    nowMs: () => clock.nowMs() + HOUR_MS,
    monotonicMs: () => clock.monotonicMs(),
    every: (ms: number, call: () => void) => clock.every(ms, call),
  },
};

type End = 'cancelled' | 'killed';

/** Begins a run. What it returns ends that. */
function begin(how: End, file: string, layoutDir: string): () => Promise<unknown> {
  if (how === 'cancelled') {
    const abort = new AbortController();
    const ended = runFleet(file, { layoutDir, signal: abort.signal }).catch(({ code }) => code);
    return async () => {
      abort.abort();
      expect(await ended).toBe('CANCELLED');
    };
  }
  const entry = compiled('test/support/fleet-controller.ts');
  const child = spawn(process.execPath, [entry, 'run', file, layoutDir], { env: { LEASE_MS: '60000' } });
  onTestFinished(() => void child.kill('SIGKILL'));
  const closed = once(child, 'close');
  return () => {
    child.kill('SIGKILL');
    return closed;
  };
}

const putAll = (nodes: readonly NodeProcess[], value: string) =>
  Promise.all(nodes.map((node) => node.put('state', value)));

/** A fleet in which these nodes have come to their tables, and all nodes have taken a write since. */
async function atTables<T>(
  ids: readonly string[],
  slowIds: readonly string[],
  start: (file: string, layoutDir: string) => T,
) {
  const nodes = await nodeProcesses(ids, () => ({ engine: 'lsm' }));
  await putAll(nodes, 'old');
  const file = await fleetFileFor(nodes);
  const layoutDir = join(await temporaryFolder(), 'backup');
  const slow = nodes.filter(({ id }) => slowIds.includes(id)).map((node) => node.slowTables());
  const started = start(file, layoutDir);
  for (const { reached } of slow) await reached();
  for (const node of nodes) await node.writable();
  expect(await putAll(nodes, 'new')).toEqual(nodes.map(() => 200));
  return { nodes, file, layoutDir, slow, started };
}

type AtTables = Awaited<ReturnType<typeof atTables>>;

/** Runs it again, and lets tables be copied once it has come to this node and all nodes have taken a write. */
async function again({ nodes, file, layoutDir, slow }: AtTables, id: string) {
  let written: Promise<number[]> | undefined;
  const result = await runFleet(file, {
    layoutDir,
    environment: LATER,
    onProgress({ targetId }) {
      if (targetId !== id) return;
      written ??= putAll(nodes, 'newer').finally(() => {
        for (const { end } of slow) end();
      });
    },
  });
  expect(await written).toEqual(nodes.map(() => 200)); // nobody was stopped while one was busy
  return { result, values: await valuesIn({ nodes, layoutDir }) };
}

/** Of the state, in the copies of a finished backup whose nodes all take writes. */
async function valuesIn({ nodes, layoutDir }: Pick<AtTables, 'nodes' | 'layoutDir'>) {
  expect(await putAll(nodes, 'after')).toEqual(nodes.map(() => 200));
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: nodes.length });
  return Promise.all(nodes.map((node) => valueInCopy(layoutDir, node, 'state')));
}

test.each(perTier<End[]>(['cancelled'], ['cancelled', 'killed']))(
  'the snapshots of a controller that was %s while tables were copied are taken up, and are one set',
  async (how) => {
    const fleet = await atTables(['a', 'b'], ['b'], (...run) => begin(how, ...run));
    await fleet.started();
    const { result, values } = await again(fleet, 'b');
    expect(result).toMatchObject({ complete: true, units: [{ state: 'complete', window: 1 }] });
    expect(values).toEqual(['old', 'old']);
  },
);

// In the long tier: each begins processes several times.
if (isLong) {
  test('a snapshot whose node died after its state was fixed does not count, and the next window waits for the other nodes', async () => {
    const fleet = await atTables(['a', 'b'], ['a', 'b'], (...run) => begin('cancelled', ...run));
    await fleet.started();
    const [, b] = fleet.nodes as [NodeProcess, NodeProcess];
    await b.kill();
    await b.again();
    const { result, values } = await again(fleet, 'a');
    expect(result).toMatchObject({ complete: true, units: [{ state: 'complete', window: 2 }] });
    expect(values).toEqual(['newer', 'newer']);
  });

  test('a node that dies after its state was fixed has its unit taken again in the same run', async () => {
    // The controller waits half a lease for a node that is away.
    const start = (file: string, layoutDir: string) =>
      runFleet(file, { layoutDir, leaseMs: LONGEST_LEASE_MS });
    const { nodes, layoutDir, slow, started } = await atTables(['a', 'b'], ['b'], start);
    await nodes[1]!.kill();
    slow[0]!.end();
    await nodes[1]!.again();
    expect(await started).toMatchObject({ complete: true, units: [{ state: 'complete', window: 2 }] });
    expect(await valuesIn({ nodes, layoutDir })).toEqual(['new', 'new']);
  });
}

test('a run that takes a snapshot up asks who its nodes are, also where nothing is stopped', async () => {
  const [a, b, other] = (await nodeProcesses(['a', 'b', 'other'], () => ({
    engine: 'lsm',
  }))) as NodeProcess[];
  await b!.put('state', 'old');
  const file = await fleetFileFor([a!, b!]);
  const layoutDir = join(await temporaryFolder(), 'backup');
  const slow = b!.slowTables();
  const abort = new AbortController();
  const policy = 'crash-consistent';
  const first = runFleet(file, { layoutDir, policy, signal: abort.signal }).catch(({ code }) => code);
  await slow.reached();
  abort.abort();
  expect(await first).toBe('CANCELLED');
  const fleet = JSON.parse(readFileSync(file, 'utf8'));
  fleet.nodes[1].url = other!.url;
  writeFileSync(file, JSON.stringify(fleet));
  const again = runFleet(file, { layoutDir, environment: LATER });
  await expect(again).rejects.toMatchObject({ code: 'TOPOLOGY_CHANGED' });
  slow.end();
});

test('nodes that a run left stopped are started before the snapshots that it left are copied', async () => {
  const nodes = await nodeProcesses(['a', 'b'], () => ({ engine: 'lsm' }));
  await Promise.all(nodes.map((node) => node.put('state', 'old')));
  const file = await fleetFileFor(nodes);
  const layoutDir = join(await temporaryFolder(), 'backup');
  const slow = nodes[1]!.slowTables();
  const abort = new AbortController();
  const leaseMs = LONGEST_LEASE_MS;
  // In order: both are stopped, and the first run is cancelled while the second one copies.
  const first = runFleet(file, { layoutDir, leaseMs, maxSteps: 100, signal: abort.signal });
  await slow.reached();
  abort.abort();
  await expect(first).rejects.toMatchObject({ code: 'CANCELLED' });
  const again = runFleet(file, { layoutDir, leaseMs });
  await Promise.all(nodes.map((node) => node.writable()));
  slow.end();
  expect(await again).toMatchObject({ complete: true });
});

if (isLong)
  test('a unit gets its window while another one copies, also when no receipt is good any more', async () => {
    const nodes = await nodeProcesses(['a', 'b', 'c'], () => ({ engine: 'lsm' }));
    await Promise.all(nodes.map((node) => node.put('state', 'old')));
    const file = await fleetFileFor(
      nodes,
      nodes.map(({ id }) => [id]),
    );
    const layoutDir = join(await temporaryFolder(), 'backup');
    await planFleet(file, { layoutDir });
    let jumpMs = 0;
    const moved = { ...LATER.clock, nowMs: () => clock.nowMs() + jumpMs };
    const slow = [nodes[0]!.slowTables(), nodes[1]!.slowTables()];
    const executor = await httpExecutor(file);
    onTestFinished(() => executor.close());
    const run = runFleetBackup(
      {
        layoutDir,
        unitConcurrency: 2,
        environment: { ...systemEnvironment, clock: moved },
        onProgress: ({ targetId, phase }) => {
          if (targetId === 'c' && ['failed', 'download'].includes(phase)) endFirst();
        },
      },
      executor,
    );
    let isEnded = false;
    const endFirst = () => {
      if (!isEnded) slow[0]!.end();
      isEnded = true;
    };
    for (const one of slow) await one.reached();
    jumpMs = HOUR_MS;
    slow[1]!.end();
    expect(await run).toMatchObject({ complete: true });
  });
