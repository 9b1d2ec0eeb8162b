import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { StillpointError } from '../../src/errors.ts';
import { runFleet } from '../../src/fleet/index.ts';
import { fleetReplySchema } from '../../src/rpc/elsewhere.ts';
import { startFleetConsole } from '../../src/server/elsewhere/fleet-console.ts';
import type { Backend } from '../../src/server/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { fleetOf, fleetServers } from '../support/fleet-servers.ts';
import { altered, smallLsm } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

// What the consoles of a fleet and of a repository answer, without a browser.

async function withFleet(backendOf: (id: string) => Backend = () => smallLsm()) {
  const servers = await fleetServers(['a', 'b'], (id) => ({ backend: backendOf(id) }));
  for (const { url } of servers) await fetch(`${url}/kv/key`, { method: 'PUT', body: 'value' });
  const root = await temporaryFolder();
  const fleetFile = join(root, 'fleet.json');
  const { fleet, nodes } = fleetOf(servers);
  writeFileSync(fleetFile, JSON.stringify({ fleet, nodes }));
  const setsDir = join(root, 'sets');
  mkdirSync(setsDir);
  return { fleetFile, setsDir };
}

/** What the console answers when it is asked for the first time. */
async function askFleet(of: { readonly fleetFile: string; readonly setsDir: string | undefined }) {
  const { url, key, close } = await startFleetConsole({
    ...{ fleetFile: of.fleetFile, setsDir: of.setsDir },
    ...{ port: 0, environment: systemEnvironment, audit: () => {} },
  });
  onTestFinished(close);
  const reply = await fetch(`${url}/api/admin/fleet`, { headers: { 'x-api-key': key } });
  return fleetReplySchema.parse(await reply.json());
}

test('a node whose database has failed is not safe, however good its snapshots are', async () => {
  let failure: StillpointError | undefined;
  const backend = altered(smallLsm(), (database) => {
    Object.defineProperty(database, 'failure', { get: () => failure });
    return {};
  });
  const { fleetFile, setsDir } = await withFleet((id) => (id === 'b' ? backend : smallLsm()));
  await runFleet(fleetFile, { layoutDir: join(setsDir, 'first'), keepSnapshots: true });
  expect((await askFleet({ fleetFile, setsDir: undefined })).nodes).toMatchObject([
    { id: 'a', safe: true },
    { id: 'b', safe: true },
  ]);
  failure = new StillpointError('NO_SPACE', 'the disk is full');
  expect((await askFleet({ fleetFile, setsDir: undefined })).nodes).toMatchObject([
    { id: 'a', safe: true },
    {
      id: 'b',
      safe: false,
      summary: expect.stringMatching(/^The database takes no writes: the disk is full\. Snapshots: Safe/),
    },
  ]);
});

test('a backup of a fleet that lacks files, or whose plan is damaged, is told as damaged', async () => {
  const { fleetFile, setsDir } = await withFleet();
  expect(await askFleet({ fleetFile, setsDir })).toMatchObject({ sets: [], sets_dir: setsDir });
  const layoutDir = join(setsDir, 'first');
  await runFleet(fleetFile, { layoutDir, keepSnapshots: true });
  const set = async () => (await askFleet({ fleetFile, setsDir })).sets[0]!;
  const whole = await set();
  expect(whole).toMatchObject({ name: 'first', problem: null, nodes: [{ damage: null }, { damage: null }] });
  expect(whole.created_at_ms).toBeLessThanOrEqual(whole.ended_at_ms!);

  const copy = join(layoutDir, 'artifacts/a');
  const file = readdirSync(copy).find((name) => name !== 'snapshot.manifest' && name.includes('.'))!;
  writeFileSync(join(copy, file), 'longer'.repeat(10_000));
  rmSync(join(layoutDir, 'artifacts/b'), { recursive: true });
  expect((await set()).nodes).toMatchObject([
    { id: 'a', damage: expect.stringMatching(/ has 60000 bytes, and not \d+$/) },
    { id: 'b', damage: 'artifacts/b is gone' },
  ]);
  rmSync(join(copy, file));
  expect((await set()).nodes[0]!.damage).toBe(`${file} is gone`);
  rmSync(join(layoutDir, 'fleet-manifest.json'));
  expect((await set()).problem).toBe('its fleet-manifest.json is gone');
  writeFileSync(join(layoutDir, 'backup-plan.json'), '{}');
  expect(await set()).toMatchObject({
    name: 'first',
    created_at_ms: null,
    problem: expect.stringContaining('backup-plan.json'),
  });
});
