import { expect, test } from 'vitest';
import type { FileSystem } from '../../src/env/file-system.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { StillpointError } from '../../src/errors.ts';
import { verifyFleetBackup } from '../../src/fleet/copies/integrity.ts';
import { runFleetBackup } from '../../src/fleet/run/run-in-parallel.ts';
import { layoutWithPlan, planOf, type Script, SimulatedNodes, simulatedExecutor } from '../support/fleet.ts';

// The concurrent runner over simulated nodes: what happens to the nodes when something fails.

const UNITS = [{ id: 'u', nodes: ['root', 'b'] }];
const COMMANDS = ['stop', 'create', 'start', 'download'].flatMap((verb) =>
  ['root', 'b', 'c'].map((id) => `${verb} ${id}`),
);

async function stage(script: Script = {}, fs: FileSystem = nodeFileSystem) {
  const { layoutDir, environment } = await layoutWithPlan(planOf({ units: UNITS }));
  const nodes = new SimulatedNodes();
  const executor = simulatedExecutor(nodes, undefined, script);
  const run = (signal?: AbortSignal) =>
    runFleetBackup({ layoutDir, environment: { ...environment, fs }, ...(signal && { signal }) }, executor);
  return { layoutDir, nodes, run };
}

test.each(COMMANDS)(
  'a failure of "%s" leaves no node stopped, and the next run finishes',
  async (command) => {
    let isBroken = true;
    const { run, nodes, layoutDir } = await stage({
      before(current) {
        if (current !== command || !isBroken) return;
        isBroken = false;
        throw new StillpointError('NODE_UNREACHABLE', 'the node is away');
      },
    });
    const result = await run();
    expect(result.complete).toBe(false);
    expect(result.units.filter(({ state }) => state === 'failed')).toHaveLength(1);
    expect(nodes.stopped).toEqual(new Set());
    expect(await run()).toMatchObject({
      complete: true,
      units: [{ state: 'complete' }, { state: 'complete' }],
    });
    expect(nodes.stopped).toEqual(new Set());
    expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 3 });
  },
);

test.each(COMMANDS.slice(0, 6))('an answer to "%s" that is lost leaves no node stopped', async (command) => {
  let isLost = true;
  const { run, nodes, layoutDir } = await stage({
    after(current) {
      if (current !== command || !isLost) return;
      isLost = false;
      throw new StillpointError('NODE_UNREACHABLE', 'no answer');
    },
  });
  await run();
  expect(nodes.stopped).toEqual(new Set());
  expect((await run()).complete).toBe(true);
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true });
});

test.each(['away', 'cancelled'] as const)(
  'a snapshot that is under way is not given up by a run that is %s',
  async (how) => {
    const controller = new AbortController();
    let runs = 0;
    const { run, nodes } = await stage({
      after(command) {
        if (command === 'create b' && runs === 1) throw new StillpointError('NODE_UNREACHABLE', 'no answer');
      },
      before(command) {
        if (command !== 'create b' || runs !== 2) return;
        if (how === 'cancelled') controller.abort();
        throw new StillpointError(how === 'away' ? 'NODE_UNREACHABLE' : 'CANCELLED', 'of the test');
      },
    });
    const next = () => {
      runs++;
      return run(controller.signal.aborted ? undefined : controller.signal);
    };
    expect(await next()).toMatchObject({ complete: false, units: [{ state: 'failed', window: 1 }, {}] });
    const second = await next().catch(({ code }) => code);
    if (how === 'cancelled') expect(second).toBe('CANCELLED');
    else expect(second).toMatchObject({ units: [{ window: 1, error: { code: 'NODE_UNREACHABLE' } }, {}] });
    expect(await next()).toMatchObject({ complete: true, units: [{ state: 'complete', window: 1 }, {}] });
    expect(nodes.snapshots.size).toBe(3); // one of each node
  },
);

test('a full disk in the middle of a window leaves no node stopped', async () => {
  let isFull = false;
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
  const { run, nodes } = await stage(
    {
      before(command) {
        isFull ||= command.startsWith('create');
      },
    },
    fs,
  );
  await expect(run().then(({ complete }) => complete)).resolves.toBe(false);
  expect(nodes.commands.filter((command) => command.startsWith('stop'))).toHaveLength(3);
  expect(nodes.stopped).toEqual(new Set());
  isFull = false;
});

test('a cancelled run starts what it stopped', async () => {
  const controller = new AbortController();
  const { run, nodes } = await stage({
    after: (command) => command.startsWith('create') && controller.abort(),
  });
  await expect(run(controller.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(nodes.stopped).toEqual(new Set());
  expect((await run()).complete).toBe(true);
});
