import { expect, test } from 'vitest';
import { verifyFleetBackup } from '../../src/fleet/copies/integrity.ts';
import { writePlan } from '../../src/fleet/plan/plan.ts';
import { downloadSnapshots } from '../../src/fleet/run/download-snapshots.ts';
import { executeBackupPlan } from '../../src/fleet/run/run-in-order.ts';
import { CrashFileSystem } from '../support/crash-file-system.ts';
import { describeCoverage, everyCrash } from '../support/crash-matrix.ts';
import { type World, worldOn } from '../support/crash-world.ts';
import { fleetNode, planOf, SimulatedNodes, simulatedDriver, simulatedExecutor } from '../support/fleet.ts';
import { nodeOn, prepareNodes, RESTORED_NODES, restoreOn } from '../support/restore-nodes.ts';

const LAYOUT = '/disk/backup';

test('a backup of a fleet that is cut at any moment is finished by the next run, with one snapshot for each key', async () => {
  const before = worldOn(new CrashFileSystem(), 0);
  for (const folder of ['/disk', LAYOUT]) {
    await before.fs.makeFolder(folder);
    await before.fs.syncFolder(folder.slice(0, folder.lastIndexOf('/')) || '/');
  }
  await writePlan(before.fs, LAYOUT, planOf({ nodes: [fleetNode('a'), fleetNode('b', 'a')] }));
  const execute = ({ environment, fs }: World) =>
    executeBackupPlan({ layoutDir: LAYOUT, environment }, simulatedExecutor(new SimulatedNodes(), fs));
  const coverage = await everyCrash({
    name: 'fleet backup',
    before: before.fs,
    run: execute,
    recover: execute,
    async check({ environment }) {
      expect(await verifyFleetBackup(LAYOUT, { environment })).toMatchObject({
        ok: true,
        verified: 2,
        findings: [],
      });
    },
  });
  console.log(describeCoverage('fleet backup', coverage));
  expect(coverage.points).toBeGreaterThan(50);
});

test('a snapshot download that is cut at any moment is finished by the next call, and leaves no node stopped', async () => {
  const before = worldOn(new CrashFileSystem(), 0);
  await before.fs.makeFolder('/disk');
  await before.fs.syncFolder('/');
  const tree = [fleetNode('a'), fleetNode('b', 'a')];
  const download = async ({ environment, fs }: World) => {
    const nodes = new SimulatedNodes();
    const config = { layoutDir: LAYOUT, targetId: 'a', scope: 'children', environment } as const;
    const result = await downloadSnapshots(
      config,
      simulatedDriver(nodes, () => tree, fs),
    );
    expect(nodes.stopped).toEqual(new Set());
    return result;
  };
  const coverage = await everyCrash({
    name: 'snapshot download',
    before: before.fs,
    run: download,
    recover: download,
    async check({ environment }) {
      expect(await verifyFleetBackup(LAYOUT, { environment })).toMatchObject({
        ok: true,
        verified: 2,
        findings: [],
      });
    },
  });
  console.log(describeCoverage('snapshot download', coverage));
  expect(coverage.points).toBeGreaterThan(50);
});

test.each([
  ['a restore', 'is finished by the next call', 'restore', 'restore', ['restored']],
  ['a restore', 'is taken back by an undo', 'restore', 'undo', ['before', 'undone']],
  ['the undo of a finished restore', 'is finished by the next call', 'undo', 'undo', ['undone']],
] as const)('%s that is cut at any moment %s, and no node stays held', async (_, __, first, next, states) => {
  const before = worldOn(new CrashFileSystem(), 0);
  await prepareNodes(before.fs);
  if (first === 'undo') await restoreOn(before, 'restore');
  const name = `fleet ${first} then ${next}`;
  const coverage = await everyCrash({
    name,
    before: before.fs,
    run: (world) => restoreOn(world, first),
    recover: (world) => restoreOn(world, next),
    async check({ fs }) {
      for (const id of RESTORED_NODES) {
        const { state, held } = await nodeOn(fs, id);
        expect({ id, held }).toEqual({ id, held: false });
        expect(states).toContain(state);
      }
    },
  });
  console.log(describeCoverage(name, coverage));
  expect(coverage.points).toBeGreaterThan(50);
});
