import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { outcomeOf, startProcess, stillpoint } from '../support/command.ts';
import { type FleetServer, fleetServers } from '../support/fleet-servers.ts';
import { altered, barrier, smallLsm } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

const put = async (
  { url }: { url: string },
  key: string,
  headers: Record<string, string> = {},
): Promise<number> => (await fetch(`${url}/kv/${key}`, { method: 'PUT', body: key, headers })).status;

async function fleetFile(
  servers: readonly FleetServer[],
  units?: readonly (readonly string[])[],
  more: object = {},
) {
  const folder = await temporaryFolder();
  const file = join(folder, 'fleet.json');
  const nodes = servers.map(({ id, url }) => ({ id, url, ...more }));
  const named = units?.map((members, i) => ({ id: `unit-${i}`, nodes: members }));
  writeFileSync(file, JSON.stringify({ fleet: 'shop', nodes, ...(named && { units: named }) }));
  return { file, folder, out: join(folder, 'backup') };
}

test('check, plan, run, status and verify tell the story of one backup', async () => {
  const servers = await fleetServers(['eu-1', 'eu-2', 'us-1']);
  for (const server of servers) await put(server, 'a');
  const { file, out } = await fleetFile(servers, [['eu-1', 'eu-2'], ['us-1']]);

  const check = await stillpoint(['fleet', 'check', file, '--json']);
  expect(check).toMatchObject({
    code: 0,
    json: { ok: true, fleet: 'shop', nodes: [{ id: 'eu-1', engine: 'lsm' }, {}, {}] },
  });

  const dry = await stillpoint(['fleet', 'plan', file, '--out', out, '--dry-run']);
  expect(dry.stdout).toMatch(
    /quiesce eu-1\n {2}quiesce eu-2[\s\S]*take a snapshot of eu-1[\s\S]*resume us-1[\s\S]*download from eu-1/,
  );
  expect(existsSync(out)).toBe(false);
  const planned = await stillpoint(['fleet', 'plan', file, '--out', out, '--json']);
  expect(planned.json).toMatchObject({
    dry_run: false,
    policy: 'quiesced',
    units: [{ unit_id: 'unit-0' }, { unit_id: 'unit-1' }],
  });
  expect(await stillpoint(['fleet', 'plan', file, '--out', out])).toMatchObject({ code: 4 });
  expect((await stillpoint(['fleet', 'status', out, '--json'])).json).toMatchObject({
    complete: false,
    running: false,
    nodes: [{ id: 'eu-1', state: 'Missing' }, {}, {}],
  });

  const run = await stillpoint(['fleet', 'run', file, '--out', out, '--json']);
  expect(run.stderr).toBe('');
  expect(run).toMatchObject({
    code: 0,
    json: {
      plan_id: planned.json.plan_id,
      complete: true,
      max_steps_reached: false,
      executed_operation_count: 16,
      execution: { completed: 20, total: 20 },
      units: [
        { unit_id: 'unit-0', state: 'complete', window: 1, window_ms: expect.any(Number) },
        { unit_id: 'unit-1', state: 'complete' },
      ],
      nodes: [
        {
          id: 'eu-1',
          state: 'Durable',
          epoch: expect.stringMatching(/^[0-9a-f]{32}$/),
          bytes: expect.any(Number),
          verdict: 'faithful',
        },
        {},
        {},
      ],
    },
  });
  expect(readdirSync(join(out, 'artifacts')).sort()).toEqual(['eu-1', 'eu-2', 'us-1']);
  expect((await stillpoint(['verify', join(out, 'artifacts/eu-1')])).code).toBe(0);
  expect((await stillpoint(['fleet', 'status', out])).stdout).toContain('complete, 20 of 20 operations done');
  expect(await stillpoint(['fleet', 'verify', out, '--json'])).toMatchObject({
    code: 0,
    json: { ok: true, verified: 3 },
  });

  const papers = readFileSync(join(out, 'fleet-manifest.json'));
  expect((await stillpoint(['fleet', 'run', file, '--out', out, '--json'])).json).toMatchObject({
    complete: true,
    executed_operation_count: 0,
  });
  expect(readFileSync(join(out, 'fleet-manifest.json'))).toEqual(papers);
  writeFileSync(join(out, 'artifacts/eu-1/extra'), '');
  expect(await stillpoint(['fleet', 'verify', out])).toMatchObject({
    code: 3,
    stdout: expect.stringContaining('eu-1'),
  });
});

test('a second backup removes the snapshot that the first one left on each node', async () => {
  const servers = await fleetServers(['a', 'b']);
  for (const server of servers) await put(server, 'a');
  const { file, folder } = await fleetFile(servers);
  const snapshotsOf = ({ dataDir }: FleetServer) =>
    readdirSync(join(dataDir, '.lifecycle/backup')).filter((name) => name.startsWith('ts-'));
  for (let i = 1; i <= 3; i++) {
    expect((await stillpoint(['fleet', 'run', file, '--out', join(folder, `b${i}`)])).code).toBe(0);
    for (const server of servers) expect(snapshotsOf(server).length, `${i}`).toBeLessThanOrEqual(2);
  }
});

test.each([
  [['--node', 'nobody'], 2, 'there is no node nobody'],
  [['--role', 'none'], 2, 'no node is selected'],
  [['--node', 'a'], 2, 'splits the unit unit-0'],
  [['--lease', '11m'], 2, 'lease'],
  [['--policy', 'other'], 2, 'Allowed choices'],
] as const)('a run with %j is refused before anything is changed', async (more, code, message) => {
  const servers = await fleetServers(['a', 'b']);
  const { file, out } = await fleetFile(servers, [['a', 'b']]);
  const outcome = await stillpoint(['fleet', 'run', file, '--out', out, ...more]);
  expect(outcome).toMatchObject({ code, stderr: expect.stringContaining(message) });
  expect(existsSync(out)).toBe(false);
});

test('a subtree, a role and a part of a unit can be taken', async () => {
  const servers = await fleetServers(['root', 'child', 'other']);
  const { file, folder } = await fleetFile(servers);
  const document = JSON.parse(readFileSync(file, 'utf8'));
  document.nodes[1].parent = 'root';
  document.nodes[2].role = 'reports';
  writeFileSync(file, JSON.stringify(document));
  const targets = async (...more: string[]) =>
    (
      await stillpoint(['fleet', 'plan', file, '--out', join(folder, 'x'), '--dry-run', '--json', ...more])
    ).json.targets.map(({ id }: { id: string }) => id);
  expect(await targets('--subtree', 'root')).toEqual(['root', 'child']);
  expect(await targets('--role', 'reports')).toEqual(['other']);
  expect(await targets('--node', 'other', '--node', 'root')).toEqual(['other', 'root']);
  document.units = [{ id: 'u', nodes: ['root', 'child'] }];
  writeFileSync(file, JSON.stringify(document));
  expect(await targets('--node', 'child', '--partial')).toEqual(['child']);
});

test('the key of a node comes from the environment or a file, and a missing one is named', async () => {
  const servers = await fleetServers(['a'], () => ({ apiKey: 'the key' }));
  const { file, folder } = await fleetFile(servers, undefined, { key: 'file:secret' });
  expect(await stillpoint(['fleet', 'check', file])).toMatchObject({
    code: 6,
    stdout: expect.stringContaining('secret'),
  });
  writeFileSync(join(folder, 'secret'), 'the key\n');
  expect((await stillpoint(['fleet', 'check', file])).code).toBe(0);
  writeFileSync(join(folder, 'secret'), 'another key\n');
  const wrong = await stillpoint(['fleet', 'check', file]);
  expect(wrong).toMatchObject({ code: 6, stdout: expect.stringContaining('UNAUTHORIZED') });
  expect(wrong.stdout + wrong.stderr).not.toContain('another key');
  const other = await fleetFile(servers, undefined, { key: 'env:STILLPOINT_TEST_NOT_SET' });
  expect((await stillpoint(['fleet', 'check', other.file])).stdout).toContain('STILLPOINT_TEST_NOT_SET');
});

test('two nodes that are one database, and a broken fleet file, are refused', async () => {
  const [server] = await fleetServers(['a']);
  const { file, out } = await fleetFile([server!, { ...server!, id: 'b' }]);
  expect(await stillpoint(['fleet', 'run', file, '--out', out])).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('are the same database'),
  });
  for (const [text, message] of [
    ['{', 'is not JSON'],
    ['{"fleet":"x","nodes":[]}', 'nodes'],
    ['{"fleet":"x","nodes":[{"id":"a","url":"ftp://x"}]}', 'url'],
    [
      '{"fleet":"x","nodes":[{"id":"a","url":"http://x","key":"the secret itself"}]}',
      'a key never stands in the fleet file',
    ],
    ['{"fleet":"x","nodes":[{"id":"a","url":"http://x","parent":"b"}]}', 'which is no node'],
    ['{"fleet":"x","nodes":[{"id":"a","url":"http://x"},{"id":"a","url":"http://y"}]}', 'stands there twice'],
    [
      '{"fleet":"x","nodes":[{"id":"a","url":"http://x"}],"units":[{"id":"u","nodes":["z"]}]}',
      'which is no node',
    ],
  ] as const) {
    writeFileSync(file, text);
    expect(await stillpoint(['fleet', 'check', file]), text).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(message),
    });
  }
  expect((await stillpoint(['fleet', 'check', `${file}.none`])).code).toBe(5);
});

test('a controller that is killed in a window leaves no node down, and the next one finishes', async () => {
  const atHold = barrier();
  let isHeld = true;
  const servers = await fleetServers(['a', 'b'], (id) => ({
    backend: altered(smallLsm(), (database) => {
      const hold = database.hold!.bind(database);
      return {
        async hold() {
          if (id === 'b' && isHeld) await atHold.wait();
          return hold();
        },
      };
    }),
  }));
  for (const server of servers) await put(server, 'a');
  const { file, out } = await fleetFile(servers);
  const controller = startProcess(['fleet', 'run', file, '--out', out, '--lease', '2s']);
  await atHold.reached;
  expect(await put(servers[0]!, 'x')).toBe(503);
  expect((await stillpoint(['fleet', 'run', file, '--out', out])).code).toBe(4); // one controller at a time
  controller.kill('SIGKILL');
  isHeld = false;
  for (const server of servers) while ((await put(server, 'y')) !== 200) await setTimeout(50); // at the latest when the lease ends
  atHold.open();
  const again = await stillpoint(['fleet', 'run', file, '--out', out, '--json']);
  expect(again).toMatchObject({ code: 0, json: { complete: true, units: [{ window: 2 }] } });
  expect((await stillpoint(['fleet', 'verify', out])).code).toBe(0);
});

test('an interrupted run starts its nodes again before it ends, and abort says so of each', async () => {
  const atHold = barrier();
  let isHeld = true;
  const servers = await fleetServers(['a', 'b'], () => ({
    backend: altered(smallLsm(), (database) => {
      const hold = database.hold!.bind(database);
      return {
        async hold() {
          if (isHeld) await atHold.wait();
          return hold();
        },
      };
    }),
  }));
  for (const server of servers) await put(server, 'a');
  const { file, out } = await fleetFile(servers);
  const controller = startProcess(['fleet', 'run', file, '--out', out, '--lease', '5m']);
  const ended = outcomeOf(controller);
  await atHold.reached;
  controller.kill('SIGINT');
  expect((await ended).code).toBe(130);
  for (const server of servers) expect(await put(server, 'y'), server.id).toBe(200); // long before the lease ends
  isHeld = false;
  atHold.open();
  const aborted = await stillpoint(['fleet', 'abort', file, '--out', out, '--json']);
  expect(aborted).toMatchObject({
    code: 0,
    json: { ok: true, nodes: [{ outcome: 'resumed' }, { outcome: 'resumed' }] },
  });
  expect((await stillpoint(['fleet', 'run', file, '--out', out])).code).toBe(0);
});

test('a run with --max-steps executes so many operations, says so, and goes on with the next call', async () => {
  const servers = await fleetServers(['a', 'b']);
  for (const server of servers) await put(server, 'a');
  const { file, out } = await fleetFile(servers);
  const step = (n: number) =>
    stillpoint(['fleet', 'run', file, '--out', out, '--max-steps', String(n), '--json']);
  expect(await step(3)).toMatchObject({
    code: 0,
    json: {
      complete: false,
      max_steps_reached: true,
      executed_operation_count: 3,
      executed_operations: [
        { operation_id: 'stop-a' },
        { operation_id: 'stop-b' },
        { operation_id: 'snapshot-a', kind: 'create-snapshot', target_id: 'a', outcome: 'completed' },
      ],
      execution: { completed: 7, ready: 8, total: 15 },
      units: [{ state: 'pending', window: 1 }],
      nodes: [{ state: 'Created' }, { state: 'Missing' }],
    },
  });
  expect(await put(servers[0]!, 'b')).toBe(503); // as long as its lease lives
  expect(await step(100)).toMatchObject({
    code: 0,
    json: {
      complete: true,
      max_steps_reached: false,
      executed_operation_count: 8,
      units: [{ state: 'complete', window: 1 }],
    },
  });
  expect(await put(servers[0]!, 'b')).toBe(200);
  expect((await stillpoint(['fleet', 'verify', out])).code).toBe(0);
  expect((await step(-1)).code).toBe(2);
});

test('download takes the snapshots of a node and those below it, after a dry run that changes nothing', async () => {
  const servers = await fleetServers(['root', 'child', 'leaf', 'other']);
  for (const server of servers) await put(server, 'a');
  const { file, out } = await fleetFile(servers);
  const document = JSON.parse(readFileSync(file, 'utf8'));
  document.nodes[1].parent = 'root';
  document.nodes[2].parent = 'child';
  writeFileSync(file, JSON.stringify(document));
  const download = (...more: string[]) =>
    stillpoint(['fleet', 'download', file, '--node', 'root', '--out', out, ...more]);

  const dry = await download('--children', '--dry-run');
  expect(dry.code).toBe(0);
  expect(dry.stdout).toMatch(
    /quiesce root\n {2}take a snapshot of root\n {2}download from root\n {2}resume root\n {2}quiesce child/,
  );
  expect(dry.stdout).not.toContain('leaf');
  expect(existsSync(out)).toBe(false);

  const done = await download('--recursive', '--json');
  expect(done).toMatchObject({
    code: 0,
    stderr: '',
    json: {
      dry_run: false,
      planned_commands: [],
      artifacts: [
        {
          target_id: 'root',
          artifact_path: 'artifacts/root',
          checksum: expect.stringMatching(/^[0-9a-f]{64}$/),
        },
        { target_id: 'child' },
        { target_id: 'leaf' },
      ],
    },
  });
  expect(await stillpoint(['fleet', 'verify', out])).toMatchObject({ code: 0 });
  expect((await stillpoint(['verify', join(out, 'artifacts/leaf')])).code).toBe(0);
  for (const server of servers) expect(await put(server, 'b'), server.id).toBe(200);
  expect(await download('--children')).toMatchObject({ code: 4 }); // another selection
  expect(await download('--children', '--recursive')).toMatchObject({ code: 2 });
  expect(await download('--node', 'nobody')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('there is no node nobody'),
  });
});

test('restore and undo tell what they do; a mapping that cannot be is refused', async () => {
  const servers = await fleetServers(['eu-1', 'eu-2']);
  for (const server of servers) await put(server, 'a');
  const { file, out } = await fleetFile(servers);
  await stillpoint(['fleet', 'run', file, '--out', out]);
  for (const server of servers) await put(server, 'b');
  const has = async (key: string) =>
    Promise.all(servers.map(async ({ url }) => (await fetch(`${url}/kv/${key}`)).status));

  const dry = await stillpoint(['fleet', 'restore', out, '--fleet', file, '--dry-run']);
  expect(dry.stdout).toMatch(/eu-1 +eu-1 +planned[\s\S]*2 nodes would be restored in this order/);
  for (const map of ['eu-1', '=x', 'eu-1=a=b', 'eu-9=eu-1', 'eu-1=eu-2'])
    expect((await stillpoint(['fleet', 'restore', out, '--fleet', file, '--map', map])).code, map).toBe(2);
  expect((await stillpoint(['fleet', 'undo', out, '--fleet', file])).code).toBe(5);
  expect(await has('b')).toEqual([200, 200]);

  const restored = await stillpoint(['fleet', 'restore', out, '--fleet', file, '--json']);
  expect(restored).toMatchObject({
    code: 0,
    json: { complete: true, undone: false, nodes: [{ id: 'eu-1', member: 'eu-1', state: 'released' }, {}] },
  });
  expect(await has('b')).toEqual([404, 404]);
  const undone = await stillpoint(['fleet', 'undo', out, '--fleet', file]);
  expect(undone.stdout).toContain('taken back');
  expect(undone.code).toBe(0);
  expect(await has('b')).toEqual([200, 200]);
});
