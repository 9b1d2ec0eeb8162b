import { readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { BackupCoordinator, Snapshots, verifyAllSnapshots } from '../../src/index.ts';
import { plainDirectory } from '../support/folders.ts';
import { rot } from '../support/rot.ts';
import { temporaryFolder } from '../support/temp.ts';

// A manifest, a ledger or a whole snapshot that is damaged or gone: neither the order of the others nor what they alone hold is lost with it.

async function plain(count: number) {
  const dataDir = await plainDirectory();
  const backups = new BackupCoordinator({ dataDir, engine: 'files' });
  const take = async (keep?: number) => (await backups.backup({ reuse: false, ...(keep && { keep }) })).name;
  const names: string[] = [];
  for (let i = 0; i < count; i++) names.push(await take());
  const backup = join(dataDir, '.lifecycle/backup');
  const listed = async () => (await new Snapshots({ dataDir }).list()).snapshots.map(({ name }) => name);
  return { dataDir, backup, take, names, listed };
}

test.each([true, false])(
  'after damage to the newest manifest the next ones are the newest all the same (number on record: %s)',
  async (isOnRecord) => {
    const { dataDir, backup, take, names, listed } = await plain(5);
    rot(join(backup, names[4]!, 'snapshot.manifest'), 20);
    if (!isOnRecord) rmSync(join(backup, 'last-snapshot.json'));
    const later = [await take(3), await take(3), await take(3)];
    expect(await listed()).toEqual(later);
    expect((await new Snapshots({ dataDir }).list()).latestGood).toBe(later[2]);
  },
);

test('a file of a snapshot that was written to since is no proof, also where its size is the same', async () => {
  for (const isLedgerThere of [true, false]) {
    const { dataDir, backup, names } = await plain(2);
    const [good, touched] = names as [string, string];
    const file = join(backup, touched, 'a.txt');
    const bytes = readFileSync(file);
    if (!isLedgerThere) rmSync(join(backup, 'proofs'), { recursive: true });
    writeFileSync(file, Buffer.alloc(bytes.length));
    const later = Date.now() / 1000 + 10; // some file systems round times: a difference of two seconds says nothing
    utimesSync(file, later, later);
    const snapshots = new Snapshots({ dataDir });
    const list = await snapshots.list();
    expect(list.snapshots).toMatchObject([
      { name: good, state: 'good' },
      { name: touched, state: 'unproven', level: null },
    ]);
    expect(list.latestGood).toBe(good);
    expect((await snapshots.status()).summary).toContain(`${touched} came later and has no proof that holds`);
    expect(await snapshots.prune({ keep: 1 })).toMatchObject({ removed: [] });
    // The same bytes again: reading tells.
    writeFileSync(file, bytes);
    await verifyAllSnapshots(dataDir, { level: 'files' });
    expect(await snapshots.get(touched)).toMatchObject({ state: 'good', level: 'files' });
  }
});

test('what a restore found damaged is no good in any snapshot that has the same file', async () => {
  const { dataDir, backup, names } = await plain(2);
  const { name: sharing } = await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
  expect(statSync(join(backup, sharing, 'a.txt')).ino).toBe(statSync(join(backup, names[1]!, 'a.txt')).ino);
  rot(join(backup, sharing, 'a.txt'));
  const snapshots = new Snapshots({ dataDir });
  const into = join(await temporaryFolder(), 'new');
  await expect(snapshots.restore(sharing, { into })).rejects.toMatchObject({
    code: 'RESTORE_INTEGRITY_MISMATCH',
  });
  const { latestGood, snapshots: listed } = await snapshots.list();
  expect(listed.map(({ state }) => state)).toEqual(['good', 'damaged', 'damaged']);
  expect(latestGood).toBe(names[0]);
});

async function leveldb() {
  const dataDir = join(await temporaryFolder(), 'data');
  const backup = join(dataDir, '.lifecycle/backup');
  const fill = async (count: number) => {
    const database = new ClassicLevel(dataDir);
    for (let i = 0; i < count; i++) await database.put(`key${i}`, `value ${i}`);
    await database.close();
  };
  const beginAnew = async () => {
    for (const entry of readdirSync(dataDir))
      if (entry !== '.lifecycle') rmSync(join(dataDir, entry), { recursive: true });
    await fill(5);
  };
  await fill(200);
  const backups = new BackupCoordinator({ dataDir });
  const first = (await backups.backup()).name;
  return { dataDir, backup, fill, beginAnew, backups, first };
}

const isSetback = expect.arrayContaining([expect.objectContaining({ code: 'STATE_OLDER' })]);

test('a database that was begun anew is noticed without the ledger of its last snapshot', async () => {
  const { backup, beginAnew, backups, first } = await leveldb();
  rmSync(join(backup, 'proofs'), { recursive: true });
  await beginAnew();
  expect(await backups.backup({ keep: 1 })).toMatchObject({ report: { findings: isSetback }, pruned: [] });
  expect(readdirSync(backup)).toContain(first);
});

test('a database that was begun anew is noticed when its last snapshot is gone, and the one before it stays', async () => {
  const { backup, fill, beginAnew, backups, first } = await leveldb();
  await fill(100);
  const { name } = await backups.backup();
  rmSync(join(backup, name), { recursive: true });
  await beginAnew();
  expect(await backups.backup({ keep: 1 })).toMatchObject({ report: { findings: isSetback }, pruned: [] });
  await fill(500);
  await backups.backup({ keep: 1 });
  expect(readdirSync(backup)).toContain(first);
});

test('of what was there before it was begun anew, the last that is whole stays', async () => {
  const { backup, fill, beginAnew, backups, first } = await leveldb();
  await fill(100);
  const { name } = await backups.backup();
  rot(join(backup, name, 'snapshot.manifest'), 20);
  await beginAnew();
  expect(await backups.backup({ keep: 1 })).toMatchObject({ report: { findings: isSetback }, pruned: [] });
  await fill(500);
  await backups.backup({ keep: 1 });
  expect(readdirSync(backup)).toContain(first);
});
