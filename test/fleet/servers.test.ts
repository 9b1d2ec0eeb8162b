import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { StillpointError } from '../../src/errors.ts';
import { verifyFleetBackup } from '../../src/fleet/copies/integrity.ts';
import { downloadSnapshots } from '../../src/fleet/run/download-snapshots.ts';
import { executeBackupPlan } from '../../src/fleet/run/run-in-order.ts';
import { runFleetBackup } from '../../src/fleet/run/run-in-parallel.ts';
import { leveldbBackend, lsmBackend } from '../../src/server/index.ts';
import { type FleetServer, fleetOf, fleetServers, httpExecutor, planned } from '../support/fleet-servers.ts';
import { barrier, smallLsm } from '../support/server.ts';
import { beforeTables } from '../support/slow-tables.ts';
import { temporaryFolder } from '../support/temp.ts';

// The same plan over real servers.

const put = async ({ url }: FleetServer, key: string, value: string): Promise<number> =>
  (await fetch(`${url}/kv/${key}`, { method: 'PUT', body: value })).status;

/** What a copy says under a key. */
async function valueIn(
  layoutDir: string,
  id: string,
  key: string,
  engine = 'lsm',
): Promise<string | undefined> {
  const backend = engine === 'lsm' ? lsmBackend({ createIfMissing: false }) : leveldbBackend();
  const database = await backend.open(join(layoutDir, 'artifacts', id));
  try {
    return (await database.get(Buffer.from(key)))?.toString();
  } finally {
    await database.close();
  }
}

test('the runner of the contract backs up real servers, and each copy opens', async () => {
  const servers = await fleetServers(['a', 'b', 'c']);
  for (const server of servers) await put(server, 'who', server.id);
  const { layoutDir, executor } = await planned(fleetOf(servers));
  const response = await executeBackupPlan({ layoutDir }, executor);
  expect(response).toMatchObject({ complete: true, executedOperationCount: 16 });
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 3 });
  for (const server of servers) {
    expect(await valueIn(layoutDir, server.id, 'who')).toBe(server.id);
    expect(await put(server, 'after', '1')).toBe(200);
  }
});

test('a run over nodes of both engines and three units finishes, and every node takes writes again', async () => {
  const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
  const servers = await fleetServers(ids, (id) => ({
    backend: 'ace'.includes(id) ? smallLsm() : leveldbBackend(),
  }));
  for (const server of servers) await put(server, 'who', server.id);
  const file = fleetOf(servers, [['a', 'b'], ['c', 'd'], ['e']]);
  const { layoutDir, executor } = await planned(file);
  const phases = new Set<string>();
  const result = await runFleetBackup(
    { layoutDir, onProgress: ({ targetId, phase }) => phases.add(`${targetId} ${phase}`) },
    executor,
  );
  expect(result).toMatchObject({ complete: true, execution: { completed: 35, total: 35 } });
  expect(result.units.map(({ state, window }) => [state, window])).toEqual(Array(4).fill(['complete', 1]));
  expect(result.nodes.map(({ state }) => state)).toEqual(Array(6).fill('Durable'));
  for (const id of ids)
    for (const phase of ['stop', 'snapshot', 'start', 'download', 'verify', 'done'])
      expect(phases).toContain(`${id} ${phase}`);
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 6 });
  for (const server of servers) expect(await put(server, 'after', '1'), server.id).toBe(200);
});

test.each([
  ['lsm', smallLsm],
  ['leveldb', leveldbBackend],
])(
  'every unit of %s holds what a writer kept true over its nodes, however busily it writes',
  async (engine, backend) => {
    const servers = await fleetServers(['a', 'b', 'c', 'd'], () => ({ backend: backend() }));
    const pairs = [servers.slice(0, 2), servers.slice(2)] as [FleetServer, FleetServer][];
    const { layoutDir, executor } = await planned(
      fleetOf(servers, [
        ['a', 'b'],
        ['c', 'd'],
      ]),
    );
    let isOver = false;
    let isCutTwice = 0;
    // The first node of a pair is always at least as far as the second, and one step at the most.
    const writers = pairs.map(async ([first, second]) => {
      let refused = 0;
      for (let count = 1; !isOver; count++) {
        while ((await put(first, 'count', String(count))) !== 200) refused++;
        while ((await put(second, 'count', String(count))) !== 200) refused++;
      }
      return refused;
    });
    const result = await runFleetBackup({ layoutDir }, executor);
    isOver = true;
    for (const refused of await Promise.all(writers)) if (refused > 0) isCutTwice++;
    expect(result.complete).toBe(true);
    expect(isCutTwice).toBe(2); // so writes did meet a window
    for (const [first, second] of pairs) {
      const [ahead, behind] = [
        await valueIn(layoutDir, first.id, 'count', engine),
        await valueIn(layoutDir, second.id, 'count', engine),
      ];
      expect(Number(ahead) - Number(behind ?? 0), `${first.id} ${ahead}, ${second.id} ${behind}`).toBeOneOf([
        0, 1,
      ]);
    }
  },
);

test('a node that is away when its snapshot is due fails its unit alone, nobody stays down, and a rerun finishes', async () => {
  let isBroken = true;
  const servers = await fleetServers(['a', 'b', 'c'], (id) => ({
    backend: {
      engine: 'lsm',
      async open(dir) {
        const database = await smallLsm().open(dir);
        const hold = database.hold!.bind(database);
        return Object.assign(database, {
          hold: () => (id === 'b' && isBroken ? Promise.reject(new RangeError('of the test')) : hold()),
        });
      },
    },
  }));
  for (const server of servers) await put(server, 'who', server.id);
  const { layoutDir, executor } = await planned(fleetOf(servers, [['a', 'b'], ['c']]));
  const result = await runFleetBackup({ layoutDir }, executor);
  expect(result).toMatchObject({
    complete: false,
    units: [
      { unitId: 'unit-0', state: 'failed', error: { code: 'HOOK_FAILED' } },
      { unitId: 'unit-1', state: 'complete' },
    ],
  });
  for (const server of servers) expect(await put(server, 'after', '1'), server.id).toBe(200);
  isBroken = false;
  const again = await runFleetBackup({ layoutDir }, executor);
  expect(again).toMatchObject({ complete: true, units: [{ state: 'complete', window: 2 }, { window: 1 }] });
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 3 });
  expect(await valueIn(layoutDir, 'b', 'after')).toBe('1'); // of the second window
});

test('all nodes of a unit take writes while the tables of one are still being copied', async () => {
  const atTables = barrier();
  const servers = await fleetServers(['a', 'b'], (id) =>
    id === 'b' ? { environment: beforeTables(() => atTables.wait()) } : {},
  );
  onTestFinished(() => atTables.open());
  for (const server of servers) await put(server, 'count', '1');
  const { layoutDir, executor } = await planned(fleetOf(servers));
  const running = runFleetBackup({ layoutDir }, executor);
  await atTables.reached;
  for (const server of servers)
    await expect.poll(() => put(server, 'count', '2'), { timeout: 10_000 }).toBe(200);
  atTables.open();
  expect(await running).toMatchObject({ complete: true, units: [{ state: 'complete', window: 1 }] });
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 2 });
  for (const { id } of servers) expect(await valueIn(layoutDir, id, 'count')).toBe('1');
});

test.each([
  'IO_ERROR',
  'CANCELLED', // by an operator of the node
] as const)(
  'a copy that ends with %s after writes went on has that reason, and the next run takes a new window',
  async (code) => {
    let failures = 0;
    const fail = () => {
      if (failures++ === 0) throw new StillpointError(code, 'of the test');
    };
    const servers = await fleetServers(['a', 'b'], (id) =>
      id === 'b' ? { environment: beforeTables(fail) } : {},
    );
    for (const server of servers) await put(server, 'who', server.id);
    const { layoutDir, executor } = await planned(fleetOf(servers));
    const result = await runFleetBackup({ layoutDir }, executor);
    expect(result.units).toMatchObject([{ state: 'failed', window: 1, error: { code } }]);
    for (const server of servers) expect(await put(server, 'after', '1'), server.id).toBe(200);
    expect(await runFleetBackup({ layoutDir }, executor)).toMatchObject({
      complete: true,
      units: [{ window: 2 }],
    });
    for (const { id } of servers) expect(await valueIn(layoutDir, id, 'after')).toBe('1');
  },
);

test('no node is stopped while another of its unit is busy', async () => {
  const atTables = barrier();
  const servers = await fleetServers(['a', 'b'], (id) =>
    id === 'b' ? { environment: beforeTables(() => atTables.wait()) } : {},
  );
  onTestFinished(() => atTables.open());
  for (const server of servers) await put(server, 'who', server.id);
  const file = fleetOf(servers);
  const { layoutDir } = await planned(file);
  const executor = httpExecutor(file, { leaseMs: 500 });
  const preflight = executor.preflight.bind(executor);
  // A backup of the node's own begins after the preflight, and is slow.
  executor.preflight = async (request) => {
    const receipts = await preflight(request);
    await fetch(`${servers[1]!.url}/api/admin/backup`, { method: 'POST' });
    await atTables.reached;
    return receipts;
  };
  const stopped: string[] = [];
  const onProgress = ({ phase, targetId }: { phase: string; targetId: string }) =>
    phase === 'stop' && stopped.push(targetId);
  const result = await runFleetBackup({ layoutDir, onProgress }, executor);
  expect(result.units).toMatchObject([{ state: 'failed', error: { code: 'CONFLICT' } }]);
  expect(stopped).toEqual([]);
});

test('nodes that cannot take part are all named before anything is changed', async () => {
  const servers = await fleetServers(['a', 'b', 'c']);
  const { layoutDir, executor } = await planned(fleetOf(servers));
  await servers[0]!.close();
  await fetch(`${servers[1]!.url}/api/admin/quiesce`, {
    method: 'POST',
    body: JSON.stringify({ run: 'another', ttl_ms: 60_000 }),
  });
  await expect(runFleetBackup({ layoutDir }, executor)).rejects.toMatchObject({ code: 'PREFLIGHT_REFUSED' });
  expect(await put(servers[2]!, 'x', '1')).toBe(200);
});

test('snapshots of a node and its child are downloaded from real servers, and writes go on in between', async () => {
  const servers = await fleetServers(['root', 'child', 'other']);
  for (const server of servers) await put(server, 'who', server.id);
  const file = fleetOf(servers);
  const nodes = file.nodes.map((node) => (node.id === 'child' ? { ...node, parent: 'root' } : node));
  const executor = httpExecutor({ ...file, nodes }, { leaseMs: 30_000 });
  const layoutDir = join(await temporaryFolder(), 'download');
  const config = { layoutDir, targetId: 'root', scope: 'recursive' } as const;
  const dry = await downloadSnapshots({ ...config, dryRun: true }, executor);
  expect(dry.plannedCommands.map(({ targetId }) => targetId)).toEqual([
    ...Array(4).fill('root'),
    ...Array(4).fill('child'),
  ]);
  expect(existsSync(layoutDir)).toBe(false);
  const states: number[][] = [];
  const result = await downloadSnapshots(
    {
      ...config,
      onProgress: ({ targetId, phase }) => {
        if (targetId === 'child' && phase === 'stop')
          void Promise.all(servers.map((server) => put(server, 'x', '1'))).then((all) => states.push(all));
      },
    },
    executor,
  );
  expect(result.artifacts.map(({ targetId }) => targetId)).toEqual(['root', 'child']);
  expect(states[0]?.[0]).toBe(200); // the root took writes again before its child was stopped
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 2 });
  for (const id of ['root', 'child']) expect(await valueIn(layoutDir, id, 'who')).toBe(id);
  for (const server of servers) expect(await put(server, 'after', '1'), server.id).toBe(200);
});
