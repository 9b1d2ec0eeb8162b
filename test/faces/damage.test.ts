import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, getSnapshot, Snapshots } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { plainDirectory, setOldTime } from '../support/folders.ts';
import { rot } from '../support/rot.ts';
import { injected, untilFinished } from '../support/server.ts';

// What is known of a snapshot is shown by each face that lists it.

/** Three snapshots that share no file: one proven less, one that will be damaged, one that stays good. */
async function threeSnapshots() {
  const dir = await plainDirectory();
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const taken = [];
  for (const level of ['files', 'full', 'full'] as const) {
    writeFileSync(join(dir, 'a.txt'), `content ${taken.length} `.repeat(1000));
    taken.push(await backup.backup({ reuse: false, level }));
  }
  return { dir, taken };
}

test('damage that verify --all found shows in list, show and the library', async () => {
  const { dir, taken } = await threeSnapshots();
  const [lesser, bad, good] = taken;
  const states = async () => (await stillpoint(['list', dir, '--json'])).json.snapshots;
  expect(await states()).toMatchObject([
    { name: lesser!.name, state: 'good', level: 'files', verified_at_ms: expect.any(Number), damage: null },
    { name: bad!.name, state: 'good', level: 'files', verified_at_ms: expect.any(Number), damage: null },
    { name: good!.name, state: 'good', level: 'files', verified_at_ms: expect.any(Number), damage: null },
  ]);
  rot(join(bad!.location, 'a.txt'));
  const verified = await stillpoint(['verify', dir, '--all', '--level', 'files']);
  expect(verified.code).toBe(3);
  expect(verified.stdout).toContain(`next: stillpoint snapshot ${dir} --full takes one that shares no file`);
  const one = await stillpoint(['verify', bad!.name, '--data-dir', dir]);
  expect(one.stdout).toContain(`next: stillpoint list ${dir} shows which snapshots are good`);
  const known = {
    state: 'damaged',
    level: null,
    verifiedAtMs: expect.any(Number),
    damage: 'a.txt is damaged',
  };
  expect(await getSnapshot(bad!.location)).toMatchObject(known);
  expect(await new Snapshots({ dataDir: dir }).get(bad!.name)).toMatchObject(known);
  expect((await states())[1]).toMatchObject({ state: 'damaged', damage: 'a.txt is damaged' });
  const { stdout } = await stillpoint(['list', dir]);
  const lines = stdout.trimEnd().split('\n');
  expect(lines[1]).toMatch(/ files +\d+ s ago +good$/);
  expect(lines[2]).toMatch(/damaged: a\.txt is damaged$/);
  expect(lines[3]).toMatch(/latest +good$/);
  expect(lines[4]).toMatch(/^3 snapshots, 1 damaged: [\d.]+ MiB on disk for [\d.]+ MiB of files$/);
  const shown = ['show', bad!.name, '--data-dir', dir];
  expect((await stillpoint(shown)).stdout).toMatch(/^state +damaged: a\.txt is damaged$/m);
  expect((await stillpoint([...shown, '--json'])).json).toMatchObject({ state: 'damaged' });
});

test('a snapshot without a proof on record, or with files that are gone, is not shown as proven', async () => {
  const { dir, taken } = await threeSnapshots();
  rmSync(join(dir, '.lifecycle/backup/proofs'), { recursive: true });
  rmSync(join(taken[0]!.location, 'a.txt'));
  for (const extra of ['b', 'c', 'd', 'e']) writeFileSync(join(taken[0]!.location, extra), '');
  rmSync(join(taken[1]!.location, 'snapshot.manifest'));
  const { snapshots } = await new Snapshots({ dataDir: dir }).list();
  expect(snapshots).toMatchObject([
    {
      state: 'damaged',
      verifiedAtMs: null,
      damage: 'a.txt is missing; b, c, d and 1 more do not belong to it',
    },
    { state: 'damaged', verifiedAtMs: null, damage: 'there is no manifest' },
    { state: 'good', level: 'files', verifiedAtMs: null },
  ]);
});

test('an unknown name is told with the data directory', async () => {
  const { dir } = await threeSnapshots();
  const { json } = await stillpoint(['show', 'latests', '--data-dir', dir, '--json']);
  expect(json.error).toMatchObject({
    code: 'NOT_FOUND',
    message: `there is no snapshot "latests" in ${dir}`,
  });
});

test('the server lists the same', async () => {
  const { rpc, dataDir } = await injected();
  await rpc('PUT', '/kv/a', '1');
  const { handle } = (await rpc('POST', '/api/admin/backup')).json;
  const url = `/api/admin/backup/${handle}`;
  const { location } = await untilFinished(async () => (await rpc('GET', url)).json);
  const list = async () => (await rpc('GET', '/api/admin/backups')).json.snapshots;
  expect(await list()).toMatchObject([{ state: 'good', level: 'full', damage: null }]);
  rot(join(location, 'lsm.wal'), 100);
  expect((await rpc('POST', `${url}/verify`)).json.ok).toBe(false);
  const [shown] = await list();
  expect(shown).toMatchObject({ state: 'damaged', level: null, damage: 'lsm.wal is damaged' });
  expect((await stillpoint(['list', dataDir, '--json'])).json.snapshots).toEqual([
    { ...shown, age_ms: expect.any(Number) },
  ]);
});

test('a file that snapshots share counts once on the disk, and is freed with the last of them only', async () => {
  const dir = await plainDirectory();
  writeFileSync(join(dir, 'one.bin'), Buffer.alloc(300_000, 1));
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  setOldTime(join(dir, 'one.bin'));
  for (const _ of [1, 2]) await backup.backup();
  const { snapshots, total, latest, latestGood } = await new Snapshots({ dataDir: dir }).list();
  expect(latestGood).toBe(latest);
  const [first, second] = snapshots;
  const shared = first!.diskBytes! - first!.ownBytes!;
  expect(shared).toBeGreaterThan(300_000 - 1);
  expect(total.diskBytes).toBe(first!.diskBytes! + second!.diskBytes! - shared);
  const { freedBytes } = await new Snapshots({ dataDir: dir }).prune({ keep: 1, dryRun: true });
  expect(freedBytes).toBe(first!.ownBytes);
  expect(first!.mode).toBe('copy');
});
