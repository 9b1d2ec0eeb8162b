import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  BackupCoordinator,
  openLsm,
  RestoreCoordinator,
  restoreSnapshot,
  Snapshots,
  verifySnapshot,
} from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { plainDirectory } from '../support/folders.ts';
import { fill, namesOf, writeFolder } from '../support/leveldb-folders.ts';
import { rot } from '../support/rot.ts';
import { temporaryFolder } from '../support/temp.ts';

// One rule for `prune`, `keep`, HTTP and the command line: what could be restored best is never removed.

async function databaseFolder(): Promise<string> {
  const dir = await temporaryFolder();
  const database = await openLsm(dir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } });
  await database.put('key', 'value');
  await database.close();
  return dir;
}

async function directory(make = plainDirectory, engine = 'files') {
  const dir = await make();
  const backup = new BackupCoordinator({ dataDir: dir, engine });
  const store = new Snapshots({ dataDir: dir });
  let change = 0;
  /** Each holds files of its own, so that damage of one is no damage of another. */
  const take = (options = {}) => {
    writeFileSync(join(dir, 'a.txt'), `content ${++change} `.repeat(1000));
    return backup.backup({ reuse: false, ...options });
  };
  const names = async () => (await store.list()).snapshots.map(({ name }) => name);
  const reasons = async (keep: number) =>
    (await store.prune({ keep, dryRun: true })).decisions.map(({ name, stays, reason }) => [
      name,
      stays,
      reason,
    ]);
  return { dir, store, take, names, reasons };
}

describe('retention never removes the newest snapshot of the deepest proof (invariant 12)', () => {
  test('for one that was proven less', async () => {
    const { take, names, reasons } = await directory(databaseFolder, 'lsm');
    const deep = await take();
    const shallow = await take({ level: 'files', keep: 1 });
    const last = await take({ level: 'files', keep: 1 });
    expect(await names()).toEqual([deep.name, last.name]);
    expect(shallow.name).not.toBe(last.name);
    expect(await reasons(1)).toEqual([
      [deep.name, true, 'the newest proven at level full'],
      [last.name, true, 'one of the newest 1'],
    ]);
    const deeper = await take({ keep: 1 });
    expect(await names()).toEqual([deeper.name]);
  });

  test('where the newer ones are known to be damaged', async () => {
    const { store, take, names, reasons } = await directory();
    const good = await take();
    const second = await take();
    const third = await take();
    for (const { location } of [second, third]) rot(join(location, 'a.txt'));
    expect((await store.verifyAll()).totals.damaged).toBe(2);
    expect(await store.prune({ keep: 2 })).toMatchObject({ removed: [] });
    expect(await names()).toEqual([good.name, second.name, third.name]);
    expect(await reasons(1)).toEqual([
      [good.name, true, 'one of the newest 1'],
      [second.name, true, 'damaged (a.txt is damaged), but newer than a good one that stays'],
      [third.name, true, 'damaged (a.txt is damaged), but latest names it'],
    ]);
    await expect(store.delete(good.name)).rejects.toThrow(`${good.name} is the newest proven snapshot`);
    await expect(store.delete(third.name)).rejects.toThrow(`\`latest\` names ${third.name}, so it stays`);
    expect((await store.delete(second.name)).name).toBe(second.name);
  });

  test('where nobody has read the damaged one, and a file of it is gone or has another size', async () => {
    const { take, names } = await directory();
    const good = await take();
    const gone = await take();
    rmSync(join(gone.location, 'a.txt'));
    const cut = await take();
    writeFileSync(join(cut.location, 'a.txt'), 'short');
    const last = await take({ keep: 2 });
    expect(await names()).toEqual([good.name, gone.name, cut.name, last.name]);
    const newest = await take({ keep: 2 });
    expect(await names()).toEqual([last.name, newest.name]);
  });

  test('and damaged ones that are older than all that stay go', async () => {
    const { store, take, names, reasons } = await directory();
    const damaged = await take();
    rot(join(damaged.location, 'a.txt'));
    await store.verifyAll();
    expect(await reasons(1)).toEqual([
      [damaged.name, true, 'damaged (a.txt is damaged), but latest names it'],
    ]);
    const later = await take();
    expect(await reasons(1)).toEqual([
      [damaged.name, false, 'damaged (a.txt is damaged), and a good one is newer'],
      [later.name, true, 'one of the newest 1'],
    ]);
    const good = await take({ keep: 1 });
    expect(await names()).toEqual([good.name]);
  });
});

describe('latest-good', () => {
  test('is a name for it, also where latest is damaged', async () => {
    const { dir, store, take } = await directory();
    const good = await take();
    const text = readFileSync(join(dir, 'a.txt'), 'utf8');
    const bad = await take();
    expect((await store.get('latest-good')).name).toBe(bad.name);
    rot(join(bad.location, 'a.txt'));
    // Nobody knows of the damage until the restore finds it.
    const restore = new RestoreCoordinator({ dataDir: dir, engine: 'files' });
    await expect(restore.restore()).rejects.toMatchObject({
      code: 'RESTORE_INTEGRITY_MISMATCH',
      hint: expect.stringContaining('latest-good'),
    });
    expect((await store.get('latest-good')).name).toBe(good.name);
    await restore.restore({ source: 'latest-good' });
    expect(readFileSync(join(dir, 'a.txt'), 'utf8')).toBe(text);
    const into = join(await temporaryFolder(), 'restored');
    const args = ['restore', 'latest-good', '--data-dir', dir, '--into', into, '--json'];
    expect((await stillpoint(args)).json).toMatchObject({ from: good.location });
    await restoreSnapshot(good.location, { into: `${into}-too` });
  });

  test('is none whose content a restore found damaged, until a reading as deep finds it whole', async () => {
    const dir = await writeFolder(join(await temporaryFolder(), 'db'), (db) => fill(db, 700));
    await writeFolder(dir, (db) => fill(db, 1)); // what was in the log is in a table now
    const [table] = await namesOf(dir, /\.ldb$/);
    rot(join(dir, table!), 100); // which a proof of the files alone does not see
    const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'leveldb' }).backup({
      level: 'files',
    });
    const store = new Snapshots({ dataDir: dir });
    const state = async () => (await store.list()).snapshots.map((one) => one.state);
    expect(await state()).toEqual(['good']);
    const into = join(await temporaryFolder(), 'into');
    await expect(restoreSnapshot(location, { into })).rejects.toMatchObject({
      data: { verdict: 'source-damaged' },
    });
    expect(await state()).toEqual(['damaged']);
    expect(await verifySnapshot(location, { level: 'files' })).toMatchObject({ ok: true });
    expect(await state()).toEqual(['damaged']);
  });

  test('is NOT_FOUND where there is no snapshot that is not damaged, and says which are', async () => {
    const { dir, store, take } = await directory();
    await expect(store.get('latest-good')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: `there is no snapshot of ${dir} yet`,
    });
    const first = await take();
    rmSync(join(first.location, 'a.txt'));
    await expect(store.get('latest-good')).rejects.toMatchObject({
      code: 'NOT_FOUND',
      message: `the only snapshot of ${dir} is damaged or cannot be looked at: ${first.name} (a.txt is missing)`,
    });
    const second = await take();
    rot(join(second.location, 'a.txt'));
    await store.verifyAll();
    rmSync(join(dir, '.lifecycle/backup/latest'));
    for (const name of ['latest-good', 'latest'])
      await expect(store.get(name)).rejects.toMatchObject({
        code: 'NOT_FOUND',
        message: `all 2 snapshots of ${dir} are damaged or cannot be looked at: ${second.name} (a.txt is damaged), ${first.name} (a.txt is missing)`,
        hint: expect.stringContaining('stillpoint backup restore'),
      });
  });
});

test('prune says how many bytes the disk gets back, of shared files only with their last name', async () => {
  const dir = await plainDirectory();
  writeFileSync(join(dir, 'large.txt'), Buffer.alloc(1024 * 1024, 'x'));
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  for (let i = 0; i < 4; i++) {
    writeFileSync(join(dir, 'own.txt'), Buffer.alloc(256 * 1024, `${i}`));
    await backup.backup();
  }
  const store = new Snapshots({ dataDir: dir });
  const folder = join(dir, '.lifecycle/backup');
  const used = () =>
    Number(
      execFileSync('du', ['-s', '-B1', '--exclude=proofs', folder], { encoding: 'utf8' }).split('\t')[0],
    );
  const before = used();
  const planned = await store.prune({ keep: 1, dryRun: true });
  const { freedBytes } = await store.prune({ keep: 1 });
  expect(freedBytes).toBe(planned.freedBytes);
  expect(freedBytes).toBeGreaterThan(3 * 256 * 1024);
  expect(Math.abs(before - used() - freedBytes)).toBeLessThan(128 * 1024); // folders
  const { stdout } = await stillpoint(['prune', dir, '--keep', '1']);
  expect(stdout).toMatch(/kept ts-\S+: one of the newest 1/);
});
