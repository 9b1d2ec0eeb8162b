import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { FileSystem } from '../../src/env/file-system.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { StillpointError } from '../../src/errors.ts';
import { verifyFleetBackup } from '../../src/fleet/copies/integrity.ts';
import { readFleetManifest } from '../../src/fleet/copies/manifest.ts';
import { replayJournal } from '../../src/fleet/journal/journal.ts';
import type { DownloadSnapshotsOptions } from '../../src/fleet/options.ts';
import { readPlan } from '../../src/fleet/plan/plan.ts';
import { type TopologyNode, topologyHash } from '../../src/fleet/plan/topology.ts';
import { downloadSnapshots } from '../../src/fleet/run/download-snapshots.ts';
import type { NodeProgress } from '../../src/fleet/run/node-progress.ts';
import type { SnapshotDriver } from '../../src/fleet/run/snapshot-driver.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import {
  fleetNode,
  layoutWithPlan,
  planOf,
  type Script,
  SetClock,
  SimulatedNodes,
  simulatedDriver,
} from '../support/fleet.ts';
import { temporaryFolder } from '../support/temp.ts';

// Each behaviour of the flow that downloads snapshots of a selection, with a driver over simulated nodes.

const TREE = [
  fleetNode('other'),
  fleetNode('leaf', 'left'),
  fleetNode('left', 'root'),
  fleetNode('right', 'root'),
  fleetNode('root'),
];

const commandsFor = (...ids: readonly string[]): string[] =>
  ids.flatMap((id) => ['stop', 'create', 'download', 'start'].map((command) => `${command} ${id}`));

async function stage(script: Script = {}, registry: () => readonly TopologyNode[] = () => TREE) {
  const layoutDir = join(await temporaryFolder(), 'download');
  const clock = new SetClock();
  const environment = { ...systemEnvironment, clock };
  const nodes = new SimulatedNodes();
  const driver = simulatedDriver(nodes, registry, undefined, script);
  const config = { layoutDir, environment, targetId: 'root', scope: 'children' } as const;
  const run = (more: Partial<DownloadSnapshotsOptions> = {}, by: SnapshotDriver = driver) =>
    downloadSnapshots({ ...config, ...more }, by);
  const onDisk = async () => {
    const plan = (await readPlan(nodeFileSystem, layoutDir))!;
    return (await replayJournal(nodeFileSystem, layoutDir, plan))!.execution;
  };
  return { layoutDir, clock, nodes, driver, run, onDisk };
}

const failing = (command: string): Script => {
  let left = 1;
  return {
    before(current) {
      if (current === command && left-- > 0)
        throw new StillpointError('NODE_UNREACHABLE', 'the node is away');
    },
  };
};

test('each target in turn is stopped, captured, downloaded and started, and the manifest has both topology hashes', async () => {
  const { run, nodes, layoutDir } = await stage();
  const result = await run({ fleet: 'shop' });
  expect(nodes.commands).toEqual([
    'registry',
    'registry',
    'registry',
    ...commandsFor('root', 'left', 'right'),
  ]);
  expect(nodes.stopped).toEqual(new Set());
  const hash = topologyHash(TREE.filter(({ targetId }) => ['root', 'left', 'right'].includes(targetId)));
  expect(result).toMatchObject({ dryRun: false, layoutDir, topologyHash: hash, plannedCommands: [] });
  const manifest = (await readFleetManifest(nodeFileSystem, layoutDir))!;
  expect(manifest).toMatchObject({
    backup_id: result.backupId,
    source: { fleet: 'shop' },
    consistency: { units: [{ kind: 'single' }, { kind: 'single' }, { kind: 'single' }] },
    fleet: { discovery_topology_hash: hash, pre_snapshot_topology_hash: hash, topology_hash: hash },
  });
  expect(result.artifacts).toEqual(
    manifest.fleet.members.map(
      ({ target_id, source_snapshot: { snapshot_id, artifact_path, checksum } }) => ({
        targetId: target_id,
        snapshotId: snapshot_id,
        artifactPath: artifact_path,
        checksum,
      }),
    ),
  );
  expect(readdirSync(join(layoutDir, 'artifacts')).sort()).toEqual(['left', 'right', 'root']);
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 3, members: 3 });
});

test.each([
  ['root', 'target', ['root']],
  ['root', 'children', ['root', 'left', 'right']],
  ['root', 'recursive', ['root', 'left', 'right', 'leaf']],
  ['left', 'recursive', ['left', 'leaf']],
  ['leaf', 'children', ['leaf']],
] as const)('%s with scope %s means %j', async (targetId, scope, expected) => {
  const { run } = await stage();
  const { plannedCommands } = await run({ targetId, scope, dryRun: true });
  expect(plannedCommands.map(({ command, targetId }) => `${command} ${targetId}`)).toEqual(
    commandsFor(...expected),
  );
});

test('a dry run asks the registry twice and touches nothing', async () => {
  const { run, nodes, layoutDir } = await stage();
  const dry = await run({ dryRun: true, lifecycle: 'stop-before-snapshot' });
  expect(dry).toMatchObject({ dryRun: true, artifacts: [] });
  expect(dry.plannedCommands.map(({ command }) => command)).not.toContain('start');
  expect(nodes.commands).toEqual(['registry', 'registry']);
  expect(existsSync(layoutDir)).toBe(false);
});

test.each([
  ['a new child', [...TREE, fleetNode('new', 'root')], 'new is new'],
  [
    'a child that is gone',
    TREE.filter(({ targetId }) => targetId !== 'left' && targetId !== 'leaf'),
    'left is gone',
  ],
  [
    'another database',
    TREE.map((node) => (node.targetId === 'root' ? { ...node, storeId: 'x' } : node)),
    'root: storeId was store-of-root and is x',
  ],
])('%s between two answers of the registry is refused before anything is touched', async (_, second, why) => {
  for (const dryRun of [true, false]) {
    let asked = 0;
    const { run, nodes, layoutDir } = await stage({}, () => (asked++ === 0 ? TREE : second));
    await expect(run({ dryRun })).rejects.toMatchObject({
      code: 'TOPOLOGY_CHANGED',
      message: expect.stringContaining(why),
    });
    expect(nodes.commands).toEqual(['registry', 'registry']);
    expect(existsSync(layoutDir)).toBe(false);
  }
});

test('a change outside of the targets is none of their business', async () => {
  let asked = 0;
  const { run } = await stage({}, () => (asked++ === 0 ? TREE : [...TREE, fleetNode('far', 'other')]));
  expect((await run()).artifacts).toHaveLength(3);
});

test('a topology that changes while targets are downloaded stops no further target', async () => {
  let now: readonly TopologyNode[] = TREE;
  const { run, nodes, clock } = await stage(
    {
      after(command) {
        if (command !== 'start root') return;
        now = [...TREE, fleetNode('new', 'root')];
        clock.ms += 300_000;
      },
    },
    () => now,
  );
  await expect(run()).rejects.toMatchObject({ code: 'TOPOLOGY_CHANGED' });
  expect(nodes.commands.filter((command) => command !== 'registry')).toEqual(commandsFor('root'));
  await expect(run()).rejects.toMatchObject({ code: 'CONFLICT' }); // the selection is another one now
  now = TREE;
  expect((await run()).artifacts).toHaveLength(3);
});

test.each(commandsFor('root', 'left', 'right'))(
  'a failure of "%s" leaves no target stopped, and the next call goes on',
  async (command) => {
    const { run, nodes, layoutDir } = await stage(failing(command));
    await expect(run()).rejects.toMatchObject({ code: 'NODE_UNREACHABLE', message: 'the node is away' });
    expect(nodes.stopped).toEqual(new Set());
    expect((await run()).artifacts).toHaveLength(3);
    expect(nodes.stopped).toEqual(new Set());
    expect((await verifyFleetBackup(layoutDir)).ok).toBe(true);
    const created = nodes.commands.filter((done) => done.startsWith('create'));
    expect(created).toEqual(['create root', 'create left', 'create right']); // no snapshot was taken twice
  },
);

test.each(commandsFor('root'))(
  'a download that is cancelled after "%s" starts its target first',
  async (command) => {
    const controller = new AbortController();
    const { run, nodes, onDisk } = await stage({ after: (done) => done === command && controller.abort() });
    await expect(run({ signal: controller.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(nodes.stopped).toEqual(new Set());
    expect(nodes.commands).not.toContain('stop left');
    expect((await onDisk()).row('start', 'root')?.state).toBe('completed');
    expect((await run()).artifacts).toHaveLength(3);
  },
);

test.each(['create', 'download'])(
  'a disk that is full before "%s" leaves no target stopped',
  async (kind) => {
    let isFull = false;
    const { driver, run, nodes } = await stage({
      before(command) {
        isFull ||= command === `${kind} root`;
      },
    });
    const fs: FileSystem = {
      ...nodeFileSystem,
      async open(path, how) {
        const file = await nodeFileSystem.open(path, how);
        const write: typeof file.write = (source, position) => {
          if (isFull) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
          return file.write(source, position);
        };
        return { ...file, write };
      },
    };
    const environment = { ...systemEnvironment, fs };
    await expect(run({ environment }, driver)).rejects.toMatchObject({ code: 'NO_SPACE' });
    expect(nodes.commands).toContain('stop root');
    expect(nodes.stopped).toEqual(new Set());
    isFull = false;
    expect((await run()).artifacts).toHaveLength(3);
  },
);

test('every command is pending on disk before its effect, and each artifact is durable before its target starts', async () => {
  const seen: string[] = [];
  const { run, onDisk } = await stage({
    async before(command) {
      const execution = await onDisk();
      const pending = execution.rows.filter(({ state }) => state === 'pending');
      seen.push(`${command}: ${pending.map(({ operation }) => operation.operation_id)}`);
      const [kind, id] = command.split(' ');
      if (kind === 'start') expect(execution.artifact(id!)?.state).toBe('Durable');
    },
  });
  await run();
  expect(seen.slice(0, 4)).toEqual([
    'stop root: stop-root',
    'create root: snapshot-root',
    'download root: download-root',
    'start root: start-root',
  ]);
});

test('with stop-before-snapshot the caller starts the targets, but a failure starts them here', async () => {
  const { run, nodes, layoutDir } = await stage(failing('download left'));
  await expect(run({ lifecycle: 'stop-before-snapshot' })).rejects.toMatchObject({
    code: 'NODE_UNREACHABLE',
  });
  expect(nodes.stopped).toEqual(new Set(['root']));
  expect(nodes.commands.filter((command) => command.startsWith('start'))).toEqual(['start left']);
  expect((await run({ lifecycle: 'stop-before-snapshot' })).artifacts).toHaveLength(3);
  expect(nodes.stopped).toEqual(new Set(['root', 'right']));
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true });
});

test('a target that took writes before its snapshot is captured in a new window', async () => {
  let isLost = true;
  const { run, nodes, layoutDir } = await stage({
    before(command) {
      if (command !== 'create left' || !isLost) return;
      isLost = false;
      nodes.stopped.delete('left');
    },
  });
  await run();
  const units = (await readFleetManifest(nodeFileSystem, layoutDir))!.consistency.units;
  expect(units.map(({ unit_id, window }) => [unit_id, window])).toEqual([
    ['root', 1],
    ['left', 2],
    ['right', 1],
  ]);
});

test('a copy that fails its proof is downloaded once more, and its target is started when it fails again', async () => {
  for (const bad of [1, 2]) {
    const { run, nodes, driver } = await stage();
    let left = bad;
    const proving: SnapshotDriver = {
      ...driver,
      async verifyArtifact() {
        if (left-- > 0) throw new StillpointError('COPY_DAMAGED', 'a bad copy');
        return undefined;
      },
    };
    const result = run({ scope: 'target' }, proving);
    if (bad === 1) expect((await result).artifacts).toHaveLength(1);
    else await expect(result).rejects.toMatchObject({ code: 'COPY_DAMAGED' });
    expect(nodes.commands.filter((command) => command === 'download root')).toHaveLength(2);
    expect(nodes.stopped).toEqual(new Set());
  }
});

test('a finished download is not done again', async () => {
  const { run, nodes } = await stage();
  const first = await run();
  nodes.commands.length = 0;
  expect(await run()).toEqual(first);
  expect(nodes.commands).toEqual(['registry', 'registry']);
});

test('a second download into the same folder is refused before any command', async () => {
  let refused = 0;
  const { run } = await stage({
    async before(command) {
      if (command !== 'create root') return;
      await expect(run()).rejects.toMatchObject({ code: 'CONFLICT' });
      refused++;
    },
  });
  await run();
  expect(refused).toBe(1);
});

test('the folder of another backup is left as it is', async () => {
  const { run, nodes } = await stage();
  await run({ targetId: 'left', scope: 'target' });
  nodes.commands.length = 0;
  await expect(run({ targetId: 'right', scope: 'target' })).rejects.toMatchObject({ code: 'CONFLICT' });
  const { layoutDir } = await layoutWithPlan(
    planOf({ nodes: TREE, selected: new Set(['root', 'left', 'right']) }),
  );
  await expect(run({ layoutDir })).rejects.toMatchObject({ code: 'CONFLICT' }); // one window of three nodes
  const full = await temporaryFolder();
  await nodeFileSystem.makeFolder(join(full, 'mine'));
  await expect(run({ layoutDir: full })).rejects.toMatchObject({ code: 'TARGET_NOT_EMPTY' });
  await expect(run({ layoutDir: full, dryRun: true })).rejects.toMatchObject({ code: 'TARGET_NOT_EMPTY' });
  expect(nodes.commands.filter((command) => command !== 'registry')).toEqual([]);
});

test('wrong calls and wrong registries are refused with what is wrong', async () => {
  const { run, nodes, layoutDir } = await stage();
  await expect(run({ lifecycle: 'resume' as never })).rejects.toThrow(/lifecycle must be one of/);
  await expect(run({ scope: 'all' as never })).rejects.toThrow(/scope must be one of/);
  await expect(run({ targetId: '' })).rejects.toThrow(TypeError);
  expect(nodes.commands).toEqual([]);
  await expect(run({ targetId: 'nobody' })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: 'there is no node nobody in the fleet',
  });
  for (const [registry, why] of [
    [[{ targetId: 'root' }], 'no valid nodes: 0.role'],
    [[fleetNode('root'), fleetNode('root')], 'two nodes have the id root'],
    [[fleetNode('root', 'left'), fleetNode('left', 'root')], 'is its own ancestor'],
    [[fleetNode('root'), { ...fleetNode('a', 'root'), storeId: 'store-of-root' }], 'are the same database'],
    [[fleetNode('root'), fleetNode('a?', 'root'), fleetNode('a!', 'root')], 'would have the same folder'],
    [undefined, 'no valid nodes'],
  ] as [never, string][]) {
    const { run: runWith } = await stage({}, () => registry);
    await expect(runWith(), why).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining(why),
    });
  }
  expect(existsSync(layoutDir)).toBe(false);
});

test('a driver with a preflight of its own is asked for receipts, and refused with wrong ones', async () => {
  const { run, nodes, driver } = await stage();
  const refusing: SnapshotDriver = { ...driver, preflight: async () => ({}) as never };
  await expect(run({}, refusing)).rejects.toMatchObject({ code: 'PREFLIGHT_REFUSED' });
  expect(nodes.commands).toEqual(['registry', 'registry']);
});

test('progress names each step of each target', async () => {
  const told: NodeProgress[] = [];
  const { run } = await stage(failing('download left'));
  await expect(run({ onProgress: (progress) => told.push(progress) })).rejects.toThrow();
  expect(told.map(({ targetId, phase }) => `${targetId} ${phase}`)).toEqual([
    ...['stop', 'snapshot', 'download', 'verify', 'start', 'done'].map((phase) => `root ${phase}`),
    ...['stop', 'snapshot', 'download', 'start', 'failed'].map((phase) => `left ${phase}`),
  ]);
});
