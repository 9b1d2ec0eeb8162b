import { existsSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { verifyFleetBackup } from '../../src/fleet/copies/integrity.ts';
import { httpExecutor, planFleet, runFleet } from '../../src/fleet/fleet.ts';
import type { HttpExecutor } from '../../src/fleet/http/executor.ts';
import type { FleetExecutor } from '../../src/fleet/run/executor.ts';
import { runFleetBackup } from '../../src/fleet/run/run-in-parallel.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { mountInMemory } from '../support/file-systems.ts';
import {
  fleetFileFor,
  linkTo,
  type NodeProcess,
  nodeProcesses,
  valueInCopy,
} from '../support/fleet-processes.ts';
import { type Barrier, barrier } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// Fleets whose nodes are processes of their own, under writes, with what goes wrong among them.

const HOUR_MS = 60 * 60 * 1000;

/** Keeps true, until it is told to end, that no node of a unit is behind the next one, and none is ahead by more than one. */
function writerOf(unit: readonly NodeProcess[], key: string): { end(): Promise<{ refused: number }> } {
  let isOver = false;
  const work = (async () => {
    let refused = 0;
    for (let count = 1; !isOver; count++)
      for (const node of unit) while ((await node.put(key, String(count))) !== 200) refused++;
    return { refused };
  })();
  return {
    end() {
      isOver = true;
      return work;
    },
  };
}

async function expectOneCut(dir: string, unit: readonly NodeProcess[], key: string): Promise<void> {
  const counts: number[] = [];
  for (const node of unit) counts.push(Number((await valueInCopy(dir, node, key)) ?? 0));
  const what = `${unit.map(({ id }) => id)} ${key} ${counts}`;
  expect(counts, what).toEqual([...counts].sort((a, b) => b - a));
  expect(counts[0]! - counts.at(-1)!, what).toBeLessThanOrEqual(1);
}

test('a set of processes of both engines is one cut through each of its three units, under writes', async () => {
  const perUnit = perTier(2, 4);
  const ids = Array.from({ length: 3 * perUnit }, (_, i) => `n${i}`);
  const nodes = await nodeProcesses(ids, (_, i) => ({ engine: i % 2 === 0 ? 'lsm' : 'leveldb' }));
  const units = [0, 1, 2].map((unit) => nodes.slice(unit * perUnit, (unit + 1) * perUnit));
  const file = await fleetFileFor(
    nodes,
    units.map((unit) => unit.map(({ id }) => id)),
  );
  const keys = ['x', 'y'];
  const writers = units.flatMap((unit) => keys.map((key) => writerOf(unit, key)));
  const dir = join(await temporaryFolder(), 'backup');
  const result = await runFleet(file, { layoutDir: dir });
  const ended = await Promise.all(writers.map((writer) => writer.end()));
  expect(result).toMatchObject({ complete: true, units: Array(3).fill({ state: 'complete', window: 1 }) });
  for (const { refused } of ended) expect(refused).toBeGreaterThan(0); // so writes did meet a window
  expect(await verifyFleetBackup(dir)).toMatchObject({ ok: true, verified: nodes.length });
  for (const unit of units) for (const key of keys) await expectOneCut(dir, unit, key);
});

test('nodes that are killed or cut off fail their units alone, slow ones and wrong clocks fail none, and a rerun finishes', async () => {
  const nodes = await nodeProcesses(
    ['good', 'killed', 'beside-killed', 'cut', 'beside-cut', 'slow', 'early', 'late'],
    (id) => ({
      engine: id === 'good' ? 'lsm' : 'leveldb',
      clockOffsetMs: id === 'early' ? -HOUR_MS : id === 'late' ? HOUR_MS : 0,
    }),
  );
  const [, killed, , cut, , slow] = nodes as [
    NodeProcess,
    NodeProcess,
    NodeProcess,
    NodeProcess,
    NodeProcess,
    NodeProcess,
  ];
  for (const node of nodes) await node.put('state', 'old');
  const [cutLink, slowLink] = [await linkTo(cut), await linkTo(slow, 30)];
  const links: Record<string, string> = { cut: cutLink.url, slow: slowLink.url };
  const file = await fleetFileFor(
    nodes.map(({ id, url }) => ({ id, url: links[id] ?? url })),
    [['good'], ['killed', 'beside-killed'], ['cut', 'beside-cut'], ['slow'], ['early', 'late']],
  );
  const dir = join(await temporaryFolder(), 'backup');
  const result = await runFleet(file, {
    layoutDir: dir,
    leaseMs: 3_000,
    onProgress({ targetId, phase }) {
      if (phase !== 'snapshot') return;
      if (targetId === 'killed') void killed.kill();
      if (targetId === 'cut') cutLink.cut();
    },
  });
  expect(result.complete).toBe(false);
  expect(result.units.map(({ state, error }) => [state, error?.code ?? null])).toEqual([
    ['complete', null],
    ['failed', 'NODE_UNREACHABLE'],
    ['failed', 'NODE_UNREACHABLE'],
    ['complete', null],
    ['complete', null],
  ]);
  for (const node of nodes) if (node !== killed) await node.writable(); // the one that is cut off by itself
  for (const node of nodes) if (node !== killed) expect(await node.put('state', 'new')).toBe(200);
  await killed.again();
  cutLink.mend();
  const again = await runFleet(file, { layoutDir: dir });
  expect(again).toMatchObject({ complete: true });
  expect(await verifyFleetBackup(dir)).toMatchObject({ ok: true, verified: nodes.length });
  expect(await valueInCopy(dir, cut, 'state')).toBe('new'); // of another window
  expect(await valueInCopy(dir, slow, 'state')).toBe('old');
});

test('a node whose disk is full fails its unit alone, and a rerun with free space finishes', async (context) => {
  const disk = join(await temporaryFolder(), 'disk');
  mountInMemory(context, disk, 4 * 1024 * 1024);
  const nodes = await nodeProcesses(['full', 'beside', 'other'], (id) =>
    id === 'full' ? { dataDir: join(disk, 'data') } : {},
  );
  for (const node of nodes) await node.put('state', 'old');
  const file = await fleetFileFor(nodes, [['full', 'beside'], ['other']]);
  const dir = join(await temporaryFolder(), 'backup');
  const ballast = join(disk, 'ballast');
  const result = await runFleet(file, {
    layoutDir: dir,
    onProgress({ targetId, phase }) {
      if (targetId !== 'full' || phase !== 'snapshot' || existsSync(ballast)) return;
      const { bavail, bsize } = statfsSync(disk);
      writeFileSync(ballast, Buffer.alloc(bavail * bsize));
    },
  });
  expect(result.units).toMatchObject([
    { state: 'failed', error: { code: 'NO_SPACE' } },
    { state: 'complete', error: null },
  ]);
  rmSync(ballast);
  for (const node of nodes) await node.writable();
  expect(await runFleet(file, { layoutDir: dir })).toMatchObject({ complete: true });
  expect(await verifyFleetBackup(dir)).toMatchObject({ ok: true, verified: 3 });
});

/** Waits at a barrier before the first snapshot of a node. */
function pausing(executor: HttpExecutor, id: string, at: Barrier): FleetExecutor {
  let isFirst = true;
  return {
    resumesDownloads: true,
    preflight: (request) => executor.preflight(request),
    stop: (...args) => executor.stop(...args),
    async createSnapshot(target, context) {
      if (target.target_id === id && isFirst) {
        isFirst = false;
        await at.wait();
      }
      return executor.createSnapshot(target, context);
    },
    start: (...args) => executor.start(...args),
    downloadSnapshot: (...args) => executor.downloadSnapshot(...args),
    verifyArtifact: (...args) => executor.verifyArtifact(...args),
  };
}

/** Resolves once a node could be stopped. */
async function idle({ url }: NodeProcess): Promise<void> {
  const body = JSON.stringify({ run: 'of-the-test', ttl_ms: 1000, dry: true });
  while ((await fetch(`${url}/api/admin/quiesce`, { method: 'POST', body })).status !== 200)
    await setTimeout(20);
}

test('a controller that slept while another took over opens no window of the other, and none of its old snapshots counts', async () => {
  const nodes = await nodeProcesses(['a', 'b']);
  const file = await fleetFileFor(nodes);
  const controller = async (leaseMs: number, sleeps: boolean) => {
    const layoutDir = join(await temporaryFolder(), 'backup');
    await planFleet(file, { layoutDir });
    const { clock } = systemEnvironment;
    const environment = {
      ...systemEnvironment,
      clock: {
        nowMs: () => clock.nowMs(),
        monotonicMs: () => clock.monotonicMs(),
        // One that sleeps renews nothing.
        every: (ms: number, call: () => void) => (sleeps ? () => undefined : clock.every(ms, call)),
      },
    };
    const executor = await httpExecutor(file, { leaseMs, environment });
    const at = barrier();
    const run = () =>
      runFleetBackup({ layoutDir }, pausing(executor, 'b', at)).finally(() => executor.close());
    return { layoutDir, at, run };
  };
  for (const node of nodes) await node.put('state', 'first');
  const sleeper = await controller(4_000, true); // long enough to get there on a busy machine
  const sleeping = sleeper.run();
  await sleeper.at.reached;
  for (const node of nodes) await node.writable();
  for (const node of nodes) await idle(node); // the snapshot of the first may outlive the lease on a busy machine
  for (const node of nodes) await node.put('state', 'second');

  const other = await controller(60_000, false);
  const working = other.run();
  await other.at.reached; // in the middle of its window
  sleeper.at.open();
  // It has lost its lease, tries to start the nodes, and then to stop them once more, which the other's lease refuses.
  const woken = await sleeping;
  expect(woken).toMatchObject({ complete: false, units: [{ state: 'failed', error: { code: 'CONFLICT' } }] });
  for (const node of nodes) expect(await node.put('state', 'in the window'), node.id).toBe(503);
  other.at.open();
  expect(await working).toMatchObject({ complete: true, units: [{ window: 1 }] });
  for (const node of nodes) expect(await valueInCopy(other.layoutDir, node, 'state')).toBe('second');

  for (const node of nodes) expect(await node.put('state', 'third')).toBe(200);
  const again = await runFleet(file, { layoutDir: sleeper.layoutDir });
  expect(again.complete).toBe(true);
  expect(again.units[0]!.window).toBeGreaterThan(1);
  for (const node of nodes) expect(await valueInCopy(sleeper.layoutDir, node, 'state')).toBe('third');
});
