import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { planFileOf, readPlan, sealPlan } from '../../src/fleet/plan/plan.ts';
import { fleetNode, layoutWithPlan, planOf, THREE_NODES } from '../support/fleet.ts';

test('the rows are those of the contract: all stopped before the first snapshot, started in reverse', () => {
  expect(planOf().operations.map(({ operation_id }) => operation_id)).toEqual([
    'validate-topology',
    'validate-control-authority',
    'validate-snapshot-read-authority',
    'validate-quiescence-policy',
    'stop-c',
    'stop-root',
    'stop-b',
    'snapshot-c',
    'snapshot-root',
    'snapshot-b',
    'start-b',
    'start-root',
    'start-c',
    'download-c',
    'verify-c',
    'download-root',
    'verify-root',
    'download-b',
    'verify-b',
    'finalize-manifest',
  ]);
  expect(planOf().operations).toHaveLength(5 * 3 + 5);
});

test('nothing is stopped where each snapshot is consistent by itself', () => {
  const kinds = planOf({ policy: 'crash-consistent' }).operations.map(({ kind }) => kind);
  expect(kinds).toHaveLength(3 * 3 + 5);
  expect(kinds).not.toContain('stop');
  expect(kinds).not.toContain('start');
});

test('the same request gives the same plan, whatever the order of the nodes', () => {
  expect(planOf({ nodes: [...THREE_NODES].reverse() })).toEqual(planOf());
});

test('units are named by their shape', () => {
  const kinds = (units: { id: string; nodes: string[] }[]) =>
    planOf({ units }).units.map(({ unit_id, kind, targets }) => [unit_id, kind, targets.join()]);
  expect(kinds([{ id: 'u', nodes: ['b', 'root'] }])).toEqual([
    ['u', 'subtree', 'root,b'],
    ['c', 'single', 'c'],
  ]);
  expect(planOf().units).toMatchObject([{ unit_id: 'test', kind: 'group' }]);
});

test.each([
  ['two nodes of one id', { nodes: [fleetNode('a'), fleetNode('a')] }, 'two nodes have the id a'],
  ['folders of one name', { nodes: [fleetNode('a.b'), fleetNode('A_b')] }, 'would have the same folder'],
  ['an unknown parent', { nodes: [fleetNode('a', 'x')] }, 'the parent of a is x, which is no node'],
  ['a circle', { nodes: [fleetNode('a', 'b'), fleetNode('b', 'a')] }, 'its own ancestor'],
  ['an unknown selection', { selected: new Set(['x']) }, 'there is no node x'],
  ['an empty selection', { selected: new Set<string>() }, 'no node is selected'],
  [
    'a node in two units',
    {
      units: [
        { id: 'u', nodes: ['b'] },
        { id: 'v', nodes: ['b'] },
      ],
    },
    'is in the units u and v',
  ],
  [
    'a selection that splits a unit',
    { units: [{ id: 'u', nodes: ['root', 'b'] }], selected: new Set(['b', 'c']) },
    'splits the unit u: it leaves out root',
  ],
])('there is no plan for %s', (_, change, message) => {
  const refused = { code: 'INVALID_REQUEST', message: expect.stringContaining(message) };
  expect(() => planOf(change)).toThrow(expect.objectContaining(refused));
});

test('a part of a unit is taken when that is allowed, and the plan says what is left out', () => {
  const units = [{ id: 'u', nodes: ['root', 'b'] }];
  const plan = planOf({ units, selected: new Set(['b']), partialUnits: true });
  expect(plan.units).toMatchObject([{ unit_id: 'u', targets: ['b'], left_out: ['root'] }]);
});

test('a plan is read as it was written, and not when anything in it was changed', async () => {
  const { layoutDir } = await layoutWithPlan();
  expect(await readPlan(nodeFileSystem, layoutDir)).toEqual(planOf());
  const file = planFileOf(layoutDir);
  const text = readFileSync(file, 'utf8');
  for (const changed of [
    text.replace('"role":"database"', '"role":"databasf"'),
    text.slice(0, -20),
    'null',
  ]) {
    writeFileSync(file, changed);
    await expect(readPlan(nodeFileSystem, layoutDir)).rejects.toMatchObject({ code: 'PLAN_INVALID' });
  }
});

test('a plan with a good digest whose parts do not fit is refused', async () => {
  const { plan_sha256: _, ...body } = planOf();
  const bad = [
    { ...body, operations: body.operations.slice(1) },
    { ...body, topology_hash: '0'.repeat(64) },
    { ...body, units: [] },
    { ...body, units: [{ ...body.units[0]!, targets: ['b'] }] },
    { ...body, targets: body.targets.map((target) => ({ ...target, folder: 'same' })) },
    { ...body, targets: body.targets.map((target) => ({ ...target, folder: '../x' })) },
  ];
  for (const plan of bad) {
    const sealed = (() => {
      try {
        return sealPlan(plan);
      } catch {
        return { ...plan, plan_sha256: '0'.repeat(64) };
      }
    })();
    const { layoutDir } = await layoutWithPlan();
    writeFileSync(planFileOf(layoutDir), JSON.stringify(sealed));
    await expect(readPlan(nodeFileSystem, layoutDir)).rejects.toMatchObject({ code: 'PLAN_INVALID' });
  }
});
