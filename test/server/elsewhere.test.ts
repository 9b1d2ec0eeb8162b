import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';

import { backUp } from '../../src/backup/back-up.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { BackupCoordinator } from '../../src/coordinator/backup.ts';

import { StillpointError } from '../../src/errors.ts';
import { planFleet, runFleet } from '../../src/fleet/index.ts';
import { fleetReplySchema } from '../../src/rpc/elsewhere.ts';
import { startFleetConsole } from '../../src/server/elsewhere/fleet-console.ts';
import { startRepositoryConsole } from '../../src/server/elsewhere/repository-console.ts';
import { startFolderConsole } from '../../src/server/folders/folder-console.ts';
import type { Backend } from '../../src/server/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { fleetOf, fleetServers } from '../support/fleet-servers.ts';
import { altered, smallLsm, untilFinished } from '../support/server.ts';
import { makeSmallLsm } from '../support/small-lsm.ts';
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

/** A console of a repository with one backup, and the lines of its audit. */
async function withRepository(keyFile?: string) {
  const root = await temporaryFolder();
  const dataDir = join(root, 'data');
  const repository = join(root, 'repository');
  mkdirSync(dataDir);
  writeFileSync(join(dataDir, 'letter'), 'a letter');
  const key = keyFile === undefined ? {} : { encryption: { keyFile: join(root, keyFile) } };
  await initRepository(repository, key);
  const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
  const { backupId } = await backUp(dataDir, { to: repository, coordinator, ...key });
  // biome-ignore lint/suspicious/noExplicitAny: each line has fields of its own
  const audit: any[] = [];
  const server = await startRepositoryConsole({
    ...{ from: { from: repository, ...key }, port: 0, environment: systemEnvironment },
    audit: (line) => audit.push(JSON.parse(line)),
  });
  onTestFinished(() => server.close());
  // biome-ignore lint/suspicious/noExplicitAny: each answer has fields of its own
  const rpc = async (method: string, path: string, body?: object): Promise<any> => {
    const headers = { 'x-api-key': server.key, 'content-type': 'application/json' };
    const init = { method, headers, ...(body && { body: JSON.stringify(body) }) };
    return (await fetch(`${server.url}/api/admin/${path}`, init)).json();
  };
  return { root, repository, backupId, audit, rpc };
}

test('a backup whose objects are gone is damaged as soon as the repository is read', async () => {
  const { root, repository, backupId, audit, rpc } = await withRepository('key');
  const read = () => rpc('GET', 'repository');
  const { stores, key_flags } = await read();
  expect(key_flags).toEqual(['--key-file', join(root, 'key')]);
  const [{ store_id, backups }] = stores;
  expect(backups).toMatchObject([{ backup_id: backupId, damaged: false, problem: null }]);
  const into = join(root, 'restored');
  const errand = { store_id, backup_id: backupId };
  const ended = async (body: object) => {
    await rpc('POST', 'errand', { ...errand, ...body });
    return untilFinished(async () => {
      const { errand: last } = await rpc('GET', 'errand');
      return { state: { ...last, status: last.status === 'succeeded' ? 'completed' : last.status } };
    });
  };
  const nul = await rpc('POST', 'errand', { ...errand, action: 'restore', into: '/tmp/\0' });
  expect(nul.error).toMatchObject({ code: 'INVALID_REQUEST', message: expect.stringContaining('NUL') });
  await ended({ action: 'restore', into });
  const store = join(repository, 'stores', store_id);
  const names = readdirSync(store, { recursive: true, encoding: 'utf8' });
  const stored = names.filter((name) => /small-\d+$|^objects$/.test(name));
  expect(stored.length).toBeGreaterThan(0);
  for (const name of stored) rmSync(join(store, name), { recursive: true });
  expect((await read()).stores[0].backups).toMatchObject([
    { damaged: true, problem: expect.stringMatching(/is missing/) },
  ]);
  await ended({ action: 'verify' });
  const about = { id: backupId, store: store_id };
  expect(audit).toMatchObject([
    { action: 'restore', outcome: 'accepted', into, ...about },
    { action: 'restore', outcome: 'completed', into, ...about },
    { action: 'verify', outcome: 'accepted', ...about },
    { action: 'verify', outcome: 'failed', ...about },
  ]);
});

test('an audit line of a console of several folders names the folder', async () => {
  const root = await temporaryFolder();
  const dataDirs = [join(root, 'one'), join(root, 'two')];
  for (const dir of dataDirs) await makeSmallLsm(dir);
  const lines: string[] = [];
  const audit = (line: string) => void lines.push(line);
  const { url, key, close } = await startFolderConsole({
    ...{ dataDirs, port: 0, environment: systemEnvironment, audit },
  });
  onTestFinished(close);
  const headers = { 'x-api-key': key };
  for (const folder of [1, 2])
    await fetch(`${url}/folder/${folder}/api/admin/backups/ts-1`, { method: 'DELETE', headers });
  expect(lines.map((line) => JSON.parse(line))).toMatchObject(
    dataDirs.map((data_dir) => ({ action: 'delete', outcome: 'refused', data_dir })),
  );
});

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
  writeFileSync(join(layoutDir, 'artifacts/a', 'stray'), '');
  expect((await set()).nodes[0]!.damage).toBe('stray does not belong there');
  rmSync(join(layoutDir, 'artifacts/a', 'stray'));

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

test('of more than ten backups of a fleet the newest are told, and how many are older', async () => {
  const { fleetFile, setsDir } = await withFleet();
  for (let i = 0; i < 12; i++) await planFleet(fleetFile, { layoutDir: join(setsDir, `set-${i}`) });
  const { sets, sets_left_out } = await askFleet({ fleetFile, setsDir });
  expect(sets.map(({ name }) => name)).toContain('set-11');
  expect([sets.length, sets_left_out]).toEqual([10, 2]);
  rmSync(join(setsDir, 'set-11'), { recursive: true });
  expect(await askFleet({ fleetFile, setsDir })).toMatchObject({ sets_left_out: 1 });
});
