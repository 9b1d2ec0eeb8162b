import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { StillpointError } from '../../src/errors.ts';
import { verifyFleetBackup } from '../../src/fleet/copies/integrity.ts';
import { readFleetManifest } from '../../src/fleet/copies/manifest.ts';
import { openJournal, replayJournal } from '../../src/fleet/journal/journal.ts';
import { executeBackupPlan } from '../../src/fleet/run/run-in-order.ts';
import {
  fleetNode,
  layoutWithPlan,
  planOf,
  receiptsFor,
  type Script,
  SimulatedNodes,
  simulatedExecutor,
} from '../support/fleet.ts';

// Each behaviour that the contract of the runner names, with an executor over simulated nodes.

const COMMANDS = [
  'stop c',
  'stop root',
  'stop b',
  'create c',
  'create root',
  'create b',
  'start b',
  'start root',
  'start c',
  'download c',
  'download root',
  'download b',
];

async function stage(script: Script = {}, plan = planOf()) {
  const { layoutDir, clock, environment } = await layoutWithPlan(plan);
  const nodes = new SimulatedNodes();
  const executor = simulatedExecutor(nodes, undefined, script);
  const config = { layoutDir, environment };
  const run = (more: { maxSteps?: number; signal?: AbortSignal } = {}) =>
    executeBackupPlan({ ...config, ...more }, executor);
  const onDisk = async () => (await replayJournal(nodeFileSystem, layoutDir, plan))!.execution;
  return { layoutDir, clock, nodes, run, onDisk, plan, config };
}

const failing = (command: string, times = 1): Script => {
  let left = times;
  return {
    before(current) {
      if (current === command && left-- > 0)
        throw new StillpointError('NODE_UNREACHABLE', 'the node is away');
    },
  };
};

test('a plan is executed in its order, and the answer says what was done', async () => {
  const { run, nodes, layoutDir, plan } = await stage();
  const response = await run();
  expect(nodes.commands).toEqual(['preflight', ...COMMANDS]);
  expect(nodes.stopped).toEqual(new Set());
  expect(response).toMatchObject({
    runId: 'run-1',
    planId: 'plan-1',
    backupId: 'backup-1',
    complete: true,
    maxStepsReached: false,
    executedOperationCount: 16,
    execution: { completed: 20, ready: 0, pending: 0, blocked: 0, failed: 0, skipped: 0, total: 20 },
  });
  expect(response.executedOperations.map(({ operationId }) => operationId)).toEqual(
    plan.operations.slice(4).map(({ operation_id }) => operation_id),
  );
  expect(readdirSync(join(layoutDir, 'artifacts')).sort()).toEqual(['b', 'c', 'root']);
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({
    ok: true,
    verified: 3,
    members: 3,
    findings: [],
  });
});

test('a finished plan is not executed again, and its papers stay as they are', async () => {
  const { run, nodes, layoutDir } = await stage();
  await run();
  const papers = () =>
    readdirSync(layoutDir).map((name) => name !== 'artifacts' && readFileSync(join(layoutDir, name)));
  const before = papers();
  nodes.commands.length = 0;
  expect(await run()).toMatchObject({ complete: true, executedOperationCount: 0 });
  expect(nodes.commands).toEqual([]);
  expect(papers()).toEqual(before);
});

test('a second run is refused before any command', async () => {
  const first: { refused?: Promise<unknown> } = {};
  const { run, nodes } = await stage({
    async before(command) {
      if (command !== 'stop c') return;
      const count = nodes.commands.length;
      await expect(run()).rejects.toMatchObject({ code: 'CONFLICT' });
      expect(nodes.commands.length).toBe(count);
      first.refused = Promise.resolve();
    },
  });
  await run();
  expect(first.refused).toBeDefined();
});

test('without a plan there is nothing to execute, and no folder is made', async () => {
  const { config } = await stage();
  const layoutDir = join(config.layoutDir, 'none');
  const executor = simulatedExecutor(new SimulatedNodes());
  await expect(executeBackupPlan({ ...config, layoutDir }, executor)).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
  expect(existsSync(layoutDir)).toBe(false);
  await expect(executeBackupPlan({ ...config, maxSteps: -1 }, executor)).rejects.toThrow(TypeError);
});

test.each([
  ['another plan', (r) => ({ ...r, topology: { ...r.topology, plan_id: 'other' } }), 'of another plan'],
  [
    'another preflight',
    (r) => ({ ...r, quiescence: r.quiescence.map((q) => ({ ...q, preflight_id: 'x' })) }),
    'of another plan or preflight',
  ],
  [
    'a target too few',
    (r) => ({ ...r, control_authority: r.control_authority.slice(1) }),
    '2 receipts of control authority for 3',
  ],
  [
    'another order',
    (r) => ({ ...r, snapshot_read_authority: [...r.snapshot_read_authority].reverse() }),
    'where c belongs',
  ],
  ['nothing', () => undefined as never, 'no valid receipts'],
] as [string, (receipts: ReturnType<typeof receiptsFor>) => ReturnType<typeof receiptsFor>, string][])(
  'receipts with %s are refused, and every changing operation stays blocked',
  async (_, change, message) => {
    const { run, nodes, onDisk } = await stage({ preflight: (request) => change(receiptsFor(request)) });
    await expect(run()).rejects.toMatchObject({
      code: 'PREFLIGHT_REFUSED',
      message: expect.stringContaining(message),
    });
    expect(nodes.commands).toEqual(['preflight']);
    expect((await onDisk()).totals).toMatchObject({ blocked: 16, completed: 0 });
    await expect(run()).rejects.toMatchObject({ code: 'PREFLIGHT_REFUSED' });
  },
);

test('a fleet that changed since the plan is refused with what changed', async () => {
  const { run, nodes } = await stage({
    preflight(request) {
      const receipts = receiptsFor(request);
      const nodes = receipts.topology.nodes.map((node) => ({ ...node, store_id: `${node.store_id}?` }));
      return { ...receipts, topology: { ...receipts.topology, nodes } };
    },
  });
  await expect(run()).rejects.toMatchObject({
    code: 'TOPOLOGY_CHANGED',
    message: expect.stringContaining('c: storeId was store-of-c and is store-of-c?'),
  });
  expect(nodes.commands).toEqual(['preflight']);
});

test('receipts are good for 300 seconds: then a node is stopped only after new ones, and nothing stopped waits', async () => {
  const { run, nodes, clock } = await stage({
    before(command) {
      if (command === 'stop c' || command === 'create c') clock.ms += 300_000;
    },
  });
  await run();
  expect(nodes.commands).toEqual(['preflight', 'stop c', 'preflight', ...COMMANDS.slice(1)]);
});

test('receipts that were accepted before the clock went back are not trusted', async () => {
  const { run, nodes, clock } = await stage();
  await run({ maxSteps: 1 });
  clock.ms -= 1;
  await run({ maxSteps: 1 });
  expect(nodes.commands).toEqual(['preflight', 'stop c', 'preflight', 'stop root']);
});

test('a run goes on where the last one stopped, whatever the number of steps', async () => {
  for (const maxSteps of [0, 1, 2, 3, 7, 16, 17]) {
    const { run, nodes, layoutDir } = await stage();
    const counts: number[] = [];
    for (;;) {
      const response = await run({ maxSteps });
      counts.push(response.executedOperationCount);
      expect(response.maxStepsReached).toBe(!response.complete);
      if (response.complete || maxSteps === 0) break;
      expect(response.executedOperationCount).toBe(maxSteps);
    }
    if (maxSteps === 0) {
      expect(nodes.commands).toEqual([]);
      continue;
    }
    expect(counts.reduce((sum, count) => sum + count)).toBe(16);
    expect(nodes.commands).toEqual(['preflight', ...COMMANDS]);
    expect((await verifyFleetBackup(layoutDir)).ok).toBe(true);
  }
});

test('an operation is pending on disk before its effect', async () => {
  const seen: string[] = [];
  const { run, onDisk } = await stage({
    async before(command) {
      const pending = (await onDisk()).rows.filter(({ state }) => state === 'pending');
      seen.push(`${command}: ${pending.map(({ operation }) => operation.operation_id)}`);
    },
  });
  await run();
  expect(seen[0]).toBe('stop c: stop-c');
  expect(seen).toHaveLength(COMMANDS.length);
  for (const line of seen) expect(line).toMatch(/^\w+ (\w+): \w+-\1$/);
});

test.each(COMMANDS)(
  'a failure of "%s" is thrown, is on record, and the operation is tried again',
  async (command) => {
    const { run, nodes, onDisk, layoutDir } = await stage(failing(command));
    await expect(run()).rejects.toMatchObject({ code: 'NODE_UNREACHABLE', message: 'the node is away' });
    const failed = (await onDisk()).rows.filter(({ state }) => state === 'failed');
    expect(failed).toMatchObject([
      {
        attempt: 1,
        receipt: { outcome: 'failed', failure_reason: 'the node is away', failure_code: 'NODE_UNREACHABLE' },
      },
    ]);
    await run();
    expect(nodes.commands).toEqual(['preflight', ...COMMANDS]);
    expect((await verifyFleetBackup(layoutDir)).ok).toBe(true);
  },
);

test('an effect whose answer was lost is asked for with the same key, one that failed with another', async () => {
  const keys: string[] = [];
  let isLost = true;
  const { run, onDisk, config, nodes, plan } = await stage({
    before: (command, { key }) => command === 'create c' && keys.push(key),
    after(command) {
      if (command === 'create c' && isLost) throw new StillpointError('NODE_UNREACHABLE', 'no answer');
    },
  });
  await expect(run()).rejects.toMatchObject({ code: 'NODE_UNREACHABLE' });
  isLost = false;
  // A controller that dies in the middle of an effect leaves it claimed.
  const journal = await openJournal(nodeFileSystem, config.layoutDir, plan, 0);
  const { sequence } = journal.execution.row('snapshot', 'c')!.operation;
  await journal.commit({ type: 'claimed', sequence, attempt: 2, at_ms: 0 });
  await journal.close();
  await run();
  expect(keys).toEqual(['run-1/snapshot-c/1/1', 'run-1/snapshot-c/1/2']);
  expect((await onDisk()).artifact('c')?.snapshot_id).toBe(nodes.snapshots.get('run-1/snapshot-c/1/2'));
});

test('a node that took writes before its snapshot gives its unit a new window, and the other unit keeps its own', async () => {
  let isLost = true;
  const units = [{ id: 'u', nodes: ['root', 'b'] }];
  const { run, nodes, layoutDir } = await stage(
    {
      before(command) {
        if (command !== 'create b' || !isLost) return;
        isLost = false;
        nodes.stopped.delete('b');
      },
    },
    planOf({ units }),
  );
  await run();
  expect(nodes.commands.filter((command) => /stop|create/.test(command))).toEqual([
    ...['stop c', 'stop root', 'stop b', 'create c', 'create root', 'create b'],
    ...['stop root', 'stop b', 'create root', 'create b'],
  ]);
  expect((await readFleetManifest(nodeFileSystem, layoutDir))?.consistency.units).toMatchObject([
    { unit_id: 'u', window: 2 },
    { unit_id: 'c', window: 1 },
  ]);
});

test('a node that always takes writes fails the run in the end', async () => {
  const { run, nodes } = await stage({ before: () => nodes.stopped.clear() });
  await expect(run()).rejects.toMatchObject({ code: 'LEASE_LOST' });
  expect(nodes.commands.filter((command) => command === 'create c')).toHaveLength(4);
});

test('a snapshot without an id does not count', async () => {
  const { layoutDir, environment } = await layoutWithPlan();
  const executor = simulatedExecutor(new SimulatedNodes());
  const silent = { ...executor, createSnapshot: async () => ({ snapshotId: '' }) };
  await expect(executeBackupPlan({ layoutDir, environment }, silent)).rejects.toMatchObject({
    code: 'RECEIPT_INVALID',
  });
});

test('a cancelled run ends between two operations, and goes on later', async () => {
  const controller = new AbortController();
  const { run, nodes } = await stage({
    after: (command) => command === 'stop root' && controller.abort(),
  });
  await expect(run({ signal: controller.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(nodes.commands).toEqual(['preflight', 'stop c', 'stop root']);
  expect((await run()).complete).toBe(true);
});

test('the manifest has the units, the members and where they came from', async () => {
  const plan = planOf({ units: [{ id: 'u', nodes: ['root', 'b'] }] });
  const { run, layoutDir } = await stage({}, plan);
  await run();
  const manifest = (await readFleetManifest(nodeFileSystem, layoutDir))!;
  expect(manifest).toMatchObject({
    manifest_version: 1,
    backup_id: 'backup-1',
    source: { fleet: 'test', plan_id: 'plan-1', run_id: 'run-1' },
    consistency: {
      policy: 'quiesced',
      units: [
        { unit_id: 'u', kind: 'subtree', window: 1, targets: ['root', 'b'] },
        { unit_id: 'c', kind: 'single', window: 1, targets: ['c'] },
      ],
    },
    fleet: { topology_hash: plan.topology_hash, pre_snapshot_topology_hash: plan.topology_hash },
  });
  expect(manifest.fleet.members.map(({ target_id, parent }) => [target_id, parent])).toEqual([
    ['c', null],
    ['root', null],
    ['b', 'root'],
  ]);
  expect(manifest.fleet.members[0]).toMatchObject({
    identity_mode: 'relocatable',
    source_snapshot: { artifact_path: 'artifacts/c', checksum_algorithm: 'sha256' },
  });
});

test('finalizing refuses to replace what stands in the place of an artifact', async () => {
  const { run, layoutDir } = await stage();
  mkdirSync(join(layoutDir, 'artifacts/root'), { recursive: true });
  await expect(run()).rejects.toMatchObject({ code: 'TARGET_NOT_EMPTY' });
  expect(readdirSync(join(layoutDir, 'artifacts/root'))).toEqual([]);
});

test('ids that are no names for folders are replaced, in the layout only', async () => {
  const { run, layoutDir } = await stage({}, planOf({ nodes: [fleetNode('eu/1:x')] }));
  await run();
  expect(readdirSync(join(layoutDir, 'artifacts'))).toEqual(['eu_1_x']);
  expect((await verifyFleetBackup(layoutDir)).ok).toBe(true);
});

test('an integrity check finds what is not as it was, and changes nothing', async () => {
  const damages: [string, (layoutDir: string) => void, string][] = [
    ['a changed byte', (dir) => writeFileSync(join(dir, 'artifacts/b/a.b'), 'B'), 'CHECKSUM'],
    ['a file too many', (dir) => writeFileSync(join(dir, 'artifacts/b/more'), ''), 'CHECKSUM'],
    ['another plan', (dir) => writeFileSync(join(dir, 'backup-plan.json'), '{}'), 'PLAN'],
    [
      'no whole journal',
      (dir) =>
        writeFileSync(
          join(dir, 'backup-journal.log'),
          readFileSync(join(dir, 'backup-journal.log')).subarray(0, -50),
        ),
      'JOURNAL',
    ],
  ];
  for (const [what, damage, code] of damages) {
    const { run, layoutDir } = await stage();
    await run();
    damage(layoutDir);
    const report = await verifyFleetBackup(layoutDir);
    expect(report.ok, what).toBe(false);
    expect(
      report.findings.map((finding) => finding.code),
      what,
    ).toContain(code);
  }
  const { layoutDir } = await stage();
  await expect(verifyFleetBackup(layoutDir)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
