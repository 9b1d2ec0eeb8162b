import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { deleteBackup, pinBackup, unpinBackup } from '../../src/backup/keep-backups.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { listJobs } from '../../src/backup/list-jobs.ts';
import { pruneBackups } from '../../src/backup/prune-backups.ts';
import { verifyFleetBackup } from '../../src/fleet/copies/integrity.ts';
import { readFleetManifest, writeFleetManifest } from '../../src/fleet/copies/manifest.ts';
import { pinPushed, readPushed } from '../../src/fleet/copies/pushed-backup.ts';
import { planFleet, runFleet } from '../../src/fleet/fleet.ts';
import { readFleetFile } from '../../src/fleet/fleet-file.ts';
import { forgetFleet, forgetFleetIn } from '../../src/fleet/forget.ts';
import { pushFromNode } from '../../src/fleet/http/push.ts';
import { lockLayout } from '../../src/fleet/journal/open-run.ts';
import { planRepository } from '../../src/fleet/plan/derive-plan.ts';
import { type PlanTarget, readPlan } from '../../src/fleet/plan/plan.ts';
import { restoreFleet, undoFleetRestore } from '../../src/fleet/restore/restore-fleet.ts';
import { runFleetBackup } from '../../src/fleet/run/run-in-parallel.ts';
import type { AdminClient } from '../../src/rpc/client.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { stillpoint } from '../support/command.ts';
import { mountInMemory } from '../support/file-systems.ts';
import { fleetFileFor, nodeProcesses } from '../support/fleet-processes.ts';
import { type FleetRepository, fleetRepository, nodeWithRepository } from '../support/fleet-repository.ts';
import { type FleetServer, fleetServers, planned } from '../support/fleet-servers.ts';
import { describeWithRight } from '../support/needs.ts';
import { hasS3, newS3Place } from '../support/s3.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// Nodes push their snapshots into a repository by themselves; over real servers.

const IDS = perTier(['a'], ['a', 'b', 'c']);

const put = ({ url }: { url: string }, value: string) =>
  fetch(`${url}/kv/state`, { method: 'PUT', body: value });
const values = (servers: readonly { url: string }[]) =>
  Promise.all(servers.map(async ({ url }) => (await fetch(`${url}/kv/state`)).text()));

/** Servers that know the repository, with a value in each. */
async function servers(repository: FleetRepository, ids: readonly string[]): Promise<FleetServer[]> {
  const settings = new Map(
    await Promise.all(ids.map(async (id) => [id, await nodeWithRepository(repository)] as const)),
  );
  const all = await fleetServers(ids, (id) => settings.get(id)!);
  for (const server of all) await put(server, 'old');
  return all;
}

/** How many backups each database has there. */
const backupsIn = async ({ destination }: FleetRepository) =>
  (await listBackups({ from: destination })).stores.map(({ backups }) => backups.length).sort();

/** Changes one byte in the middle of the largest object. */
function damage({ destination }: FleetRepository): void {
  const objects = readdirSync(join(destination, 'stores'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /small-|objects/.test(join(entry.parentPath, entry.name)))
    .map((entry) => join(entry.parentPath, entry.name));
  const [largest] = objects.sort((x, y) => readFileSync(y).byteLength - readFileSync(x).byteLength);
  const bytes = readFileSync(largest!);
  bytes[bytes.byteLength >> 1]! ^= 0xff;
  rmSync(largest!);
  writeFileSync(largest!, bytes);
}

test('a fleet is pushed into a repository, verified there, restored from it, and taken back', async () => {
  const repository = await fleetRepository();
  const all = await servers(repository, IDS);
  const file = await fleetFileFor(all, undefined, repository);
  const dir = join(await temporaryFolder(), 'backup');
  const dry = await stillpoint(['fleet', 'plan', file, '--out', dir, '--push', '--dry-run']);
  expect(dry.stdout).toContain('(quiesced, pushed into offsite)');
  expect(dry.stdout).toContain('push the snapshot of a\n');
  const result = await runFleet(file, { layoutDir: dir, push: true });
  expect(result).toMatchObject({ complete: true, execution: { completed: 5 * IDS.length + 5 } });
  expect(result.nodes.map(({ state, verdict }) => [state, verdict])).toEqual(
    IDS.map(() => ['Durable', 'faithful']),
  );
  expect(await backupsIn(repository)).toEqual(IDS.map(() => 1));
  expect(readdirSync(join(dir, 'artifacts/a'))).toEqual(['pushed-backup.json']);
  expect(await verifyFleetBackup(dir)).toMatchObject({ ok: true, verified: IDS.length });
  const listed = (await listBackups({ from: repository.destination })).stores.flatMap(
    ({ backups }) => backups,
  );
  for (const { verifiedAtMs } of listed) expect(verifiedAtMs).toBeGreaterThan(0);
  for (const server of all) expect((await put(server, 'new')).status).toBe(200);

  const manifest = (await readFleetManifest(systemEnvironment.fs, dir))!;
  const { repository: planned } = (await readPlan(systemEnvironment.fs, dir))!;
  const named = { name: 'offsite', repository_id: planned!.repository_id };
  expect(manifest.fleet.members.map((member) => member.repository)).toEqual(IDS.map(() => named));
  const { manifest_sha256: _, ...body } = structuredClone(manifest);
  body.fleet.members[0]!.repository!.repository_id = 'another';
  const manifest_sha256 = createHash('sha256').update(JSON.stringify(body)).digest('hex');
  await writeFleetManifest(systemEnvironment.fs, dir, { ...body, manifest_sha256 });
  expect(await verifyFleetBackup(dir)).toMatchObject({ ok: false, findings: [{ code: 'MEMBER' }] });
  await writeFleetManifest(systemEnvironment.fs, dir, manifest);

  expect(await restoreFleet(dir, { fleetFile: file })).toMatchObject({ complete: true });
  expect(await values(all)).toEqual(IDS.map(() => 'old'));
  expect(readdirSync(join(dir, 'artifacts'))).toEqual(IDS);
  expect(await undoFleetRestore(dir, { fleetFile: file })).toMatchObject({ undone: true });
  expect(await values(all)).toEqual(IDS.map(() => 'new'));

  damage(repository);
  expect(await verifyFleetBackup(dir)).toMatchObject({
    ok: false,
    verified: IDS.length - 1,
    findings: [{ code: 'ARTIFACT' }],
  });
  await expect(restoreFleet(dir, { fleetFile: file })).rejects.toMatchObject({ code: 'COPY_DAMAGED' });
});

test('the members of a pushed fleet stay whatever the retention, until the fleet backup is forgotten', async () => {
  const repository = await fleetRepository();
  const from = { from: repository.destination };
  const all = await servers(repository, ['a']);
  const file = await fleetFileFor(all, undefined, repository);
  const dir = join(await temporaryFolder(), 'backup');
  const { backupId } = await runFleet(file, { layoutDir: dir, push: true });
  const [{ backups: [member] = [] } = {}] = (await listBackups(from)).stores;
  expect(member).toMatchObject({ pinned: true, fleetBackups: [backupId] });
  const list = await stillpoint(['backup', 'list', '--from', repository.destination]);
  expect(list.stdout).toContain(`pinned by ${backupId}`);
  expect(await verifyFleetBackup(dir)).toMatchObject({ ok: true, pinned: 1 });
  for (let i = 0; i < 2; i++) {
    await put(all[0]!, `later ${i}`);
    await runFleet(file, { layoutDir: join(await temporaryFolder(), `later-${i}`), push: true });
  }
  const prune = async (dryRun: boolean) => pruneBackups({ ...from, keepLast: 1, dryRun });
  const why = `pinned by the fleet backup ${backupId}`;
  for (const dryRun of [true, false]) {
    const { kept, removed } = await prune(dryRun);
    expect(kept.find((one) => one.backupId === member!.backupId)?.reasons).toContain(why);
    expect(removed).toEqual([]);
  }
  await expect(deleteBackup(member!.backupId, from)).rejects.toMatchObject({
    code: 'CONFLICT',
    message: expect.stringContaining(why),
  });

  // By hand it is pinned beside that: the one pin does not end the other.
  await pinBackup(member!.backupId, from);
  const { json } = await stillpoint(['fleet', 'forget', dir, '--json']);
  expect(json).toEqual({ backup_id: backupId, repository: 'offsite', unpinned: 1 });
  expect(await forgetFleet(dir)).toMatchObject({ unpinned: 0 });
  expect((await prune(true)).kept[0]).toMatchObject({ backupId: member!.backupId, reasons: ['pinned'] });
  await unpinBackup(member!.backupId, from);
  expect((await stillpoint(['fleet', 'verify', dir])).stdout).toMatch(
    /1 of 1 copy verified, 0 pinned\n0 of 1 member pinned: prunes .* may remove the others/,
  );
  // Its run says so as well, and pins nothing again.
  expect((await stillpoint(['fleet', 'run', file, '--out', dir])).stdout).toMatch(
    /complete: .*\n0 of 1 member pinned: .* a run pins none again/,
  );
  expect((await prune(false)).removed).toEqual([member!.backupId]);
  const [{ backups = [] } = {}] = (await listBackups(from)).stores;
  const later = backups.filter((one) => one.backupId !== member!.backupId);
  for (const { backupId: id } of later)
    expect(await unpinBackup(id, from)).toMatchObject({
      fleetBackups: [expect.not.stringMatching(backupId)],
    });
  expect(later).toHaveLength(2);
  expect(await verifyFleetBackup(dir)).toMatchObject({
    ok: false,
    pinned: 0,
    findings: [{ targetId: 'a', message: expect.stringContaining('is gone from its repository') }],
  });
  const plan = (await readPlan(systemEnvironment.fs, dir))!;
  const pushed = await readPushed(systemEnvironment.fs, join(dir, 'artifacts/a'));
  await expect(pinPushed(systemEnvironment, plan.repository!, pushed, 'f')).rejects.toMatchObject({
    code: 'BACKUP_DAMAGED',
  });
  expect(
    existsSync(join(repository.destination, 'stores', pushed.store_id, 'fleet-pins', pushed.backup_id, 'f')),
  ).toBe(false);
});

test('the pins of a fleet backup whose folder is lost are ended by its id, and no others', async () => {
  const repository = await fleetRepository();
  const from = { from: repository.destination };
  const all = await servers(repository, ['a', 'b']);
  const file = await fleetFileFor(all, undefined, repository);
  const run = async () => runFleet(file, { layoutDir: join(await temporaryFolder(), 'backup'), push: true });
  const [lost, kept] = [await run(), await run()];
  expect(lost.pinned).toBe(2);
  const { json } = await stillpoint(['fleet', 'forget', lost.backupId, '--from', from.from, '--json']);
  expect(json).toMatchObject({ backup_id: lost.backupId, unpinned: 2 });
  const sets = (await listBackups(from)).stores.map(({ backups }) => backups.map((one) => one.fleetBackups));
  expect(sets.flat(2)).toEqual([kept.backupId, kept.backupId]);
  expect(await forgetFleetIn(lost.backupId, from)).toMatchObject({ unpinned: 0 });
});

test('a fleet backup that was downloaded, or is at work, is not forgotten', async () => {
  const [plain] = await fleetServers(['plain']);
  const dir = join(await temporaryFolder(), 'backup');
  await expect(forgetFleet(dir)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await planFleet(await fleetFileFor([plain!]), { layoutDir: dir });
  await expect(forgetFleet(dir)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  const { lock } = await lockLayout(systemEnvironment, dir);
  await expect(forgetFleet(dir)).rejects.toMatchObject({ code: 'CONFLICT' });
  await lock.release();
});

test('a node that is killed in the middle of its push has one backup after the next run', async () => {
  const ids = perTier(['b'], ['a', 'b', 'c']);
  const repository = await fleetRepository();
  const given = new Map(
    await Promise.all(ids.map(async (id) => [id, await nodeWithRepository(repository)] as const)),
  );
  const nodes = await nodeProcesses(ids, (id) => ({ engine: 'lsm', ...given.get(id)! }));
  for (const node of nodes) await node.put('state', 'old');
  const b = nodes.find(({ id }) => id === 'b')!;
  const { settings } = given.get('b')!;
  writeFileSync(`${settings}.stalls`, '');
  const file = await fleetFileFor(nodes, undefined, repository);
  const dir = join(await temporaryFolder(), 'backup');
  const options = { layoutDir: dir, push: true, leaseMs: 2000 };
  const first = runFleet(file, options);
  while (!existsSync(`${settings}.stalled`)) await setTimeout(10);
  await b.kill();
  expect(await first).toMatchObject({ complete: false, units: [{ state: 'failed' }] });
  expect(await backupsIn(repository)).toEqual(ids.map((id) => (id === 'b' ? 0 : 1)).sort());
  rmSync(`${settings}.stalls`);
  await b.again();
  expect(await runFleet(file, options)).toMatchObject({ complete: true });
  expect(await backupsIn(repository)).toEqual(ids.map(() => 1));
  const { jobs } = await listJobs(b.dataDir);
  expect(jobs.map(({ status }) => status)).toEqual(['succeeded', 'interrupted']);
  expect(await verifyFleetBackup(dir)).toMatchObject({ ok: true, verified: ids.length });
});

test('a push that died with its node is begun again, once, under another key', async () => {
  const keys: string[] = [];
  const job = { id: 'j', status: 'interrupted', repository_id: null, backup_id: null, error: 'of the test' };
  const push = (codes: string[]) => {
    keys.length = 0;
    return pushFromNode({
      environment: systemEnvironment,
      client: {
        async push(_: string, { key }: { key: string }) {
          keys.push(key);
          return { backup: null, job: { ...job, error_code: codes.shift() } };
        },
      } as unknown as AdminClient,
      target: { target_id: 'a' } as PlanTarget,
      name: 'ts-1',
      snapshotId: 's',
      repository: { name: 'offsite', repository_id: 'r', destination: '/none' },
      key: 'k',
      signal: new AbortController().signal,
      retried: (_, send) => send(),
    });
  };
  await expect(push(['INTERRUPTED', 'NO_SPACE'])).rejects.toMatchObject({ code: 'NO_SPACE' });
  expect(keys).toEqual(['k', 'k/again']);
  await expect(push(['INTERRUPTED', 'INTERRUPTED'])).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect(keys).toEqual(['k', 'k/again']);
  // Somebody ended it on purpose, and not this controller.
  await expect(push(['CANCELLED'])).rejects.toMatchObject({ code: 'INTERRUPTED' });
  expect(keys).toEqual(['k']);
});

test('a backup that is damaged before it is verified is pushed once more', async () => {
  const repository = await fleetRepository();
  const all = await servers(repository, ['a']);
  const file = await readFleetFile(systemEnvironment.fs, await fleetFileFor(all, undefined, repository));
  const { layoutDir, executor } = await planned(file, {
    repository: await planRepository(systemEnvironment, file),
  });
  const push = executor.pushSnapshot.bind(executor);
  let pushes = 0;
  executor.pushSnapshot = async (...about) => {
    const detail = await push(...about);
    if (++pushes === 1) damage(repository);
    return detail;
  };
  expect(await runFleetBackup({ layoutDir }, executor)).toMatchObject({ complete: true });
  expect(pushes).toBe(2);
  expect(await backupsIn(repository)).toEqual([2]);
  expect(await verifyFleetBackup(layoutDir)).toMatchObject({ ok: true, verified: 1 });
});

test('a node without the repository, or with another one of its name, is refused', async () => {
  const [repository, other] = [await fleetRepository(), await fleetRepository()];
  const [a] = await servers(repository, ['a']);
  const [stranger] = await fleetServers(['stranger']);
  const dir = async () => join(await temporaryFolder(), 'backup');
  const run = async (nodes: readonly FleetServer[], change: { push?: boolean } = { push: true }) =>
    runFleet(await fleetFileFor(nodes, undefined, repository), { layoutDir: await dir(), ...change });
  await expect(run([a!, stranger!])).rejects.toMatchObject({
    code: 'PREFLIGHT_REFUSED',
    message: expect.stringContaining('no repository offsite'),
  });
  const [wrong] = await servers(other, ['wrong']);
  expect(await run([a!, wrong!])).toMatchObject({
    complete: false,
    units: [{ error: { code: 'CONFLICT' } }],
  });
  for (const server of [a!, wrong!, stranger!]) expect((await put(server, 'after')).status).toBe(200);

  const plain = await fleetFileFor([a!]);
  const layoutDir = await dir();
  await expect(runFleet(plain, { layoutDir, push: true })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  await runFleet(plain, { layoutDir });
  await expect(runFleet(plain, { layoutDir, push: true })).rejects.toMatchObject({ code: 'CONFLICT' });
});

test('a repository in which the controller may not write is refused before any node is stopped', async (context) => {
  const disk = join(await temporaryFolder(), 'disk');
  mountInMemory(context, disk, 8 * 1024 * 1024);
  const repository = await fleetRepository(disk);
  const all = await servers(repository, ['a']);
  const file = await fleetFileFor(all, undefined, repository);
  const layoutDir = join(await temporaryFolder(), 'backup');
  const names = readdirSync(disk);
  await planFleet(file, { layoutDir, push: true });
  expect(readdirSync(disk)).toEqual(names);
  execFileSync('mount', ['-o', 'remount,ro', disk]);
  const refused = {
    code: 'DESTINATION_PERMISSION_DENIED',
    message: expect.stringContaining('the controller cannot write into the repository offsite'),
  };
  const phases: string[] = [];
  const onProgress = ({ phase }: { phase: string }) => void phases.push(phase);
  await expect(runFleet(file, { layoutDir, push: true, onProgress })).rejects.toMatchObject(refused);
  expect(phases).toEqual([]);
  const plan = { layoutDir: `${layoutDir}-2`, push: true };
  await expect(planFleet(file, plan)).rejects.toMatchObject(refused);
  expect(await planFleet(file, { ...plan, dryRun: true })).toMatchObject({ dryRun: true }); // it writes nothing
});

describeWithRight('an S3 server (S3_ENDPOINT)', hasS3, 'with a bucket', () => {
  test('a fleet is pushed into it, verified there, and restored from it', async () => {
    const repository = await fleetRepository(await newS3Place());
    const all = await servers(repository, IDS);
    const file = await fleetFileFor(all, undefined, repository);
    const dir = join(await temporaryFolder(), 'backup');
    expect(await runFleet(file, { layoutDir: dir, push: true })).toMatchObject({ complete: true });
    expect(await backupsIn(repository)).toEqual(IDS.map(() => 1));
    expect(await verifyFleetBackup(dir)).toMatchObject({
      ok: true,
      verified: IDS.length,
      pinned: IDS.length,
    });
    expect(await forgetFleet(dir)).toMatchObject({ unpinned: IDS.length });
    expect(await verifyFleetBackup(dir)).toMatchObject({ ok: true, pinned: 0 });
    for (const server of all) await put(server, 'new');
    expect(await restoreFleet(dir, { fleetFile: file })).toMatchObject({ complete: true });
    expect(await values(all)).toEqual(IDS.map(() => 'old'));
  });
});
