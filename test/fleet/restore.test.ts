import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { runFleet } from '../../src/fleet/fleet.ts';
import { restoreFleet, undoFleetRestore } from '../../src/fleet/restore/restore-fleet.ts';
import { AdminClient } from '../../src/rpc/client.ts';
import type { Backend } from '../../src/server/index.ts';
import { leveldbBackend } from '../../src/server/index.ts';
import { type FleetServer, fleetServers } from '../support/fleet-servers.ts';
import { listening, smallLsm } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

// A whole fleet is restored, or nothing of it; over real servers.

const put = async ({ url }: { url: string }, value: string): Promise<number> =>
  (await fetch(`${url}/kv/state`, { method: 'PUT', body: value })).status;
const get = async ({ url }: { url: string }): Promise<string> => (await fetch(`${url}/kv/state`)).text();
const values = (servers: readonly { url: string }[]) => Promise.all(servers.map(get));
const writable = (servers: readonly { url: string }[], value: string) =>
  Promise.all(servers.map((server) => put(server, value)));

interface Change {
  readonly parent?: string;
  readonly identity?: string;
}

async function fleetFileOf(
  servers: readonly { id: string; url: string }[],
  change: Record<string, Change> = {},
) {
  const file = join(await temporaryFolder(), 'fleet.json');
  const nodes = servers.map(({ id, url }) => ({ id, url, ...change[id] }));
  writeFileSync(file, JSON.stringify({ fleet: 'shop', nodes }));
  return file;
}

const TREE = { child: { parent: 'root' }, leaf: { parent: 'child' } };
const IDS = ['leaf', 'child', 'root'];

/** A fleet of three that was backed up with the value `old` and then got `new`. */
async function backedUp(
  options: (id: string) => { backend?: Backend } = () => ({}),
  change: Record<string, Change> = TREE,
) {
  const servers = await fleetServers(IDS, options);
  await writable(servers, 'old');
  const file = await fleetFileOf(servers, change);
  const dir = join(await temporaryFolder(), 'backup');
  expect(await runFleet(file, { layoutDir: dir })).toMatchObject({ complete: true });
  await writable(servers, 'new');
  return { servers, file, dir };
}

/** Fails the opening of a database the next time after it was armed. */
function fragile(): { backend: Backend; arm: () => void } {
  let isArmed = false;
  const inner = smallLsm();
  return {
    arm: () => {
      isArmed = true;
    },
    backend: {
      engine: inner.engine,
      open(dir) {
        if (!isArmed) return inner.open(dir);
        isArmed = false;
        return Promise.reject(new RangeError('of the test'));
      },
    },
  };
}

test('a fleet of both engines is restored in place, parents first, and taken back', async () => {
  const { servers, file, dir } = await backedUp((id) => ({
    backend: id === 'child' ? leveldbBackend() : smallLsm(),
  }));
  const dry = await restoreFleet(dir, { fleetFile: file, dryRun: true });
  expect(dry).toMatchObject({ dryRun: true, complete: false });
  expect(dry.nodes.map(({ id }) => id)).toEqual(['root', 'child', 'leaf']);
  expect(existsSync(join(dir, 'restores'))).toBe(false);
  expect(await values(servers)).toEqual(['new', 'new', 'new']);

  const order: string[] = [];
  const restored = await restoreFleet(dir, {
    fleetFile: file,
    onProgress: ({ targetId, phase }) => phase === 'restore' && order.push(targetId),
  });
  expect(restored).toMatchObject({ complete: true, undone: false });
  expect(restored.nodes.map(({ state, error }) => [state, error])).toEqual(Array(3).fill(['released', null]));
  for (const { safetySnapshot } of restored.nodes) expect(safetySnapshot).toMatch(/^[0-9a-f-]{36}$/);
  expect(order.filter((id, i) => order.indexOf(id) === i)).toEqual(['root', 'child', 'leaf']);
  expect(await values(servers)).toEqual(['old', 'old', 'old']);

  const undone = await undoFleetRestore(dir, { fleetFile: file });
  expect(undone).toMatchObject({ complete: true, undone: true });
  expect(await values(servers)).toEqual(['new', 'new', 'new']);
  expect(await writable(servers, 'later')).toEqual([200, 200, 200]);
  await expect(undoFleetRestore(dir, { fleetFile: file })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  for (const { dataDir } of servers) expect(readdirSync(join(dataDir, '.lifecycle/incoming'))).toEqual([]);
});

test('a fleet is restored into new nodes of other names', async () => {
  const { dir, servers } = await backedUp();
  const fresh = await fleetServers(['n1', 'n2', 'n3']);
  const file = await fleetFileOf(fresh);
  await expect(restoreFleet(dir, { fleetFile: file })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringContaining('the member root has no node'),
  });
  const mapping = { root: 'n1', child: 'n2', leaf: 'n3' };
  await expect(
    restoreFleet(dir, { fleetFile: file, mapping: { ...mapping, leaf: 'n2' } }),
  ).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  expect(await restoreFleet(dir, { fleetFile: file, mapping })).toMatchObject({ complete: true });
  expect(await values(fresh)).toEqual(['old', 'old', 'old']);
  expect(await values(servers)).toEqual(['new', 'new', 'new']);
});

test('a member with a fixed identity is restored only into itself', async () => {
  const fixed = { root: { identity: 'fixed' } };
  const { dir, servers } = await backedUp(undefined, fixed);
  const [fresh] = await fleetServers(['other']);
  const same = await fleetFileOf([...servers, fresh!], fixed);
  await expect(restoreFleet(dir, { fleetFile: same, mapping: { root: 'other' } })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringContaining('fixed identity'),
  });
  const moved = await fleetFileOf([...servers.slice(0, 2), { id: 'root', url: fresh!.url }], fixed);
  await expect(restoreFleet(dir, { fleetFile: moved })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  expect(await restoreFleet(dir, { fleetFile: same })).toMatchObject({ complete: true });
});

test('after a failure in the middle all nodes stay without writes, and an undo brings every node back', async () => {
  const { backend, arm } = fragile();
  const { servers, file, dir } = await backedUp((id) => (id === 'child' ? { backend } : {}));
  const failed = await restoreFleet(dir, {
    fleetFile: file,
    onProgress: ({ targetId, phase }) => phase === 'restore' && targetId === 'child' && arm(),
  });
  expect(failed.complete).toBe(false);
  expect(failed.nodes.map(({ id, state, error }) => [id, state, error?.code ?? null])).toEqual([
    ['root', 'restored', null],
    ['child', 'held', 'HOOK_FAILED'],
    ['leaf', 'held', null],
  ]);
  expect(await values(servers)).toEqual(['new', 'new', 'old']); // leaf, child, root
  expect(await writable(servers, 'x')).toEqual([503, 503, 503]);
  expect(await undoFleetRestore(dir, { fleetFile: file })).toMatchObject({ complete: true, undone: true });
  expect(await values(servers)).toEqual(['new', 'new', 'new']);
  expect(await writable(servers, 'later')).toEqual([200, 200, 200]);
});

test('after a failure in the middle the same call finishes the restore', async () => {
  const { backend, arm } = fragile();
  const { servers, file, dir } = await backedUp((id) => (id === 'child' ? { backend } : {}));
  const begun = await restoreFleet(dir, {
    fleetFile: file,
    onProgress: ({ targetId, phase }) => phase === 'restore' && targetId === 'child' && arm(),
  });
  const again = await restoreFleet(dir, { fleetFile: file });
  expect(again).toMatchObject({ complete: true, restoreId: begun.restoreId });
  expect(await values(servers)).toEqual(['old', 'old', 'old']);
  expect(await writable(servers, 'later')).toEqual([200, 200, 200]);
});

test('a failure before anything was exchanged lets all nodes go', async () => {
  let isBroken = false;
  const { servers, file, dir } = await backedUp((id) => ({
    backend: {
      engine: 'lsm',
      async open(folder) {
        const database = await smallLsm().open(folder);
        const hold = database.hold!.bind(database);
        return Object.assign(database, {
          hold: () => (id === 'leaf' && isBroken ? Promise.reject(new RangeError('of the test')) : hold()),
        });
      },
    },
  }));
  isBroken = true; // its safety snapshot fails
  const failed = await restoreFleet(dir, { fleetFile: file });
  expect(failed.complete).toBe(false);
  expect(failed.nodes.find(({ id }) => id === 'leaf')?.error).toMatchObject({ code: 'HOOK_FAILED' });
  expect(await writable(servers, 'later')).toEqual([200, 200, 200]);
  isBroken = false;
  expect(await restoreFleet(dir, { fleetFile: file })).toMatchObject({ complete: true });
  expect(await values(servers)).toEqual(['old', 'old', 'old']);
  await undoFleetRestore(dir, { fleetFile: file });
  expect(await values(servers)).toEqual(['later', 'later', 'later']);
});

test('an undo that would lose writes is refused before anything is changed, unless they are given up', async () => {
  const { servers, file, dir } = await backedUp();
  await restoreFleet(dir, { fleetFile: file });
  await put(servers[1]!, 'precious');
  await expect(undoFleetRestore(dir, { fleetFile: file })).rejects.toMatchObject({
    code: 'CONFLICT',
    message: expect.stringContaining('child has taken writes'),
  });
  expect(await values(servers)).toEqual(['old', 'precious', 'old']);
  expect(await writable([servers[0]!], 'x')).toEqual([200]);
  expect(await undoFleetRestore(dir, { fleetFile: file, discardWrites: true })).toMatchObject({
    undone: true,
  });
  expect(await values(servers)).toEqual(['new', 'new', 'new']);
});

test('a damaged copy, and a node that does not answer, stop a restore before any node is touched', async () => {
  const { servers, file, dir } = await backedUp();
  await servers[0]!.close();
  await expect(restoreFleet(dir, { fleetFile: file })).rejects.toMatchObject({ code: 'PREFLIGHT_REFUSED' });
  const copy = join(dir, 'artifacts/root');
  const [name] = readdirSync(copy).filter((name) => name.endsWith('.meta'));
  writeFileSync(join(copy, name!), 'damaged');
  await expect(restoreFleet(dir, { fleetFile: file })).rejects.toMatchObject({
    code: 'COPY_DAMAGED',
    exitCode: 3,
  });
  expect(await writable(servers.slice(1), 'later')).toEqual([200, 200]);
});

test('a node that was restarted in the middle stays without writes and is finished', async () => {
  const { servers, file, dir } = await backedUp();
  const restarted: { url: string }[] = [];
  const root = servers.find(({ id }) => id === 'root') as FleetServer;
  const port = Number(new URL(root.url).port);
  const failed = await restoreFleet(dir, {
    fleetFile: file,
    async onProgress({ targetId, phase }) {
      if (targetId !== 'child' || phase !== 'restore' || restarted.length > 0) return;
      restarted.push({ url: root.url });
      await root.close();
    },
    concurrency: 1,
    patienceMs: 500,
  }).catch((error) => error);
  expect(failed).toMatchObject({ complete: false });
  await listening({ dataDir: root.dataDir, port });
  expect(await put(root, 'x')).toBe(503);
  expect(await restoreFleet(dir, { fleetFile: file })).toMatchObject({ complete: true });
  expect(await values(servers)).toEqual(['old', 'old', 'old']);
  expect(await writable(servers, 'later')).toEqual([200, 200, 200]);
});

test('the safety snapshot of a restore is kept until the restore is taken back', async () => {
  const { servers, file, dir } = await backedUp();
  const { nodes } = await restoreFleet(dir, { fleetFile: file });
  const [{ url }] = servers as [FleetServer];
  const client = new AdminClient({ url });
  onTestFinished(() => client.close());
  const { location } = await client.backup(nodes.find(({ id }) => id === servers[0]!.id)!.safetySnapshot!);
  const { handle } = await client.startBackup({}); // the newest is never deleted
  while ((await client.backup(handle)).state.status !== 'completed');
  const remove = async () =>
    (await fetch(`${url}/api/admin/backups/${basename(location)}`, { method: 'DELETE' })).status;
  expect(await remove()).toBe(409);
  await undoFleetRestore(dir, { fleetFile: file });
  expect(await remove()).toBe(200);
});
