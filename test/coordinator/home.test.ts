import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { openSqliteJobStore } from '../../src/backup/jobs/sqlite-job-store.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { listJobs } from '../../src/backup/list-jobs.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { BackupCoordinator, Lifecycle, openLsm, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { stillpoint } from '../support/command.ts';
import { DATA, files, HOME, stageOf } from '../support/crash-subjects.ts';
import { worldOn } from '../support/crash-world.ts';
import { mountInMemory } from '../support/file-systems.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { withRights } from '../support/needs.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

// The snapshots of a data directory are kept in another folder, its home. Both sides find it, and no two databases share one.

const MiB = 1024 * 1024;

async function keptElsewhere() {
  const dataDir = await plainDirectory({ 'a.txt': 'first', 'folder/b.txt': 'second' });
  const home = join(dirname(dataDir), 'home');
  const lifecycle = new Lifecycle({ dataDir, lifecycleDir: home });
  const { name, location } = await new BackupCoordinator({ dataDir, engine: 'files', lifecycle }).backup();
  return { dataDir, home, name, location };
}

const take = (dataDir: string, lifecycleDir?: string) =>
  new BackupCoordinator({
    dataDir,
    engine: 'files',
    lifecycle: new Lifecycle({ dataDir, ...(lifecycleDir !== undefined && { lifecycleDir }) }),
  }).backup();

test('snapshots that were taken in the data directory before are told of, and come back into sight', async () => {
  const dataDir = await plainDirectory({ 'a.txt': 'first' });
  const home = join(dirname(dataDir), 'home');
  const { location } = await take(dataDir);
  await take(dataDir, home);
  const { notes } = await new Snapshots({ dataDir }).status();
  expect(notes).toContainEqual(
    `1 more from before stand in ${dirname(location)}, and are found by their paths only`,
  );
  await take(dataDir, dataDir);
  const after = await new Snapshots({ dataDir }).status();
  expect(after.total.count).toBe(2);
  expect(after.notes.filter((note) => note.includes('from before'))).toEqual([]);
});

test('list, restore, undo and the next snapshot find it from the data directory and from the home', async () => {
  const { dataDir, home, name, location } = await keptElsewhere();
  expect(location).toBe(join(home, '.lifecycle/backup', name));
  expect(existsSync(join(dataDir, '.lifecycle/backup'))).toBe(false);
  for (const dir of [dataDir, home]) {
    expect((await new Snapshots({ dataDir: dir }).list()).latest).toBe(name);
    expect((await stillpoint(['verify', dir, '--all', '--json'])).json.ok).toBe(true);
    expect((await stillpoint(['status', dir, '--json'])).json.safe).toBe(true);
  }
  const first = readTree(dataDir);
  writeTree(dataDir, { 'a.txt': 'changed' });
  const changed = readTree(dataDir);
  for (const args of [
    ['restore', location, '--in-place'],
    ['restore', 'latest', '--data-dir', dataDir, '--in-place'],
    ['restore', 'latest', '--data-dir', home, '--in-place'],
  ]) {
    const { json } = await stillpoint([...args, '--json']);
    expect([json.into, readTree(dataDir)]).toEqual([dataDir, first]);
    expect(dirname(dirname(json.undo))).toBe(join(dataDir, '.lifecycle'));
    expect((await stillpoint(['undo', dataDir])).code).toBe(0);
    expect(readTree(dataDir)).toEqual(changed);
  }
  expect((await take(dataDir)).location).toContain(home); // nobody says so again
  expect(new Set((await new Lifecycle({ dataDir: home }).runs()).map(({ kind }) => kind))).toEqual(
    new Set(['backup', 'restore', 'undo', 'verify']),
  );
  expect((await stillpoint(['prune', home, '--keep', '1', '--json'])).json.removed).toHaveLength(1);
});

test('a data directory that nobody may write to, as a database at rest on a read-only mount', async (context) => {
  const root = dirname(await plainDirectory());
  const [written, dataDir, home] = [join(root, 'written'), join(root, 'read-only'), join(root, 'home')];
  mkdirSync(dataDir);
  const database = await openLsm(written, SMALL_LOG);
  await database.put('key', 'value');
  await database.close();
  withRights(context, 'mount', '--bind', written, dataDir);
  onTestFinished(() => void execFileSync('umount', ['-l', dataDir]));
  execFileSync('mount', ['-o', 'remount,ro,bind', dataDir]);
  const taken = await stillpoint(['snapshot', dataDir, '--to', home, '--json']);
  expect([taken.code, taken.json?.engine, readdirSync(dataDir).includes('.lifecycle')]).toEqual([
    0,
    'lsm',
    false,
  ]);
  expect((await stillpoint(['snapshot', dataDir, '--to', home])).code).toBe(0);
  expect((await new Snapshots({ dataDir: home }).list()).snapshots).toHaveLength(2);
  const into = join(root, 'copy');
  await new Snapshots({ dataDir: home }).restore('latest', { into });
  const copy = await openLsm(into);
  expect((await copy.get('key'))?.toString()).toBe('value');
  await copy.close();
});

test('another disk: a restore moves nothing between the two', async (context) => {
  const dataDir = await plainDirectory();
  const disk = join(dirname(dataDir), 'disk');
  mountInMemory(context, disk, 8 * MiB);
  const before = readTree(dataDir);
  await take(dataDir, join(disk, 'home'));
  writeTree(dataDir, { 'new.txt': 'later' });
  await new RestoreCoordinator({ dataDir, engine: 'files' }).restore();
  expect(readTree(dataDir)).toEqual(before);
});

test('a home that is not there now is an error: no second one is begun', async () => {
  const { dataDir, home } = await keptElsewhere();
  renameSync(home, `${home}-unmounted`);
  const gone = { code: 'NOT_FOUND', path: home };
  await expect(take(dataDir)).rejects.toMatchObject(gone);
  await expect(new Snapshots({ dataDir }).list()).rejects.toMatchObject(gone);
  expect(existsSync(home)).toBe(false);
  renameSync(`${home}-unmounted`, home);
  expect((await new Snapshots({ dataDir }).list()).snapshots).toHaveLength(1);
});

test('no two data directories share a home, and none takes that of another with a copy', async () => {
  const { dataDir, home } = await keptElsewhere();
  const other = await plainDirectory();
  await expect(take(other, home)).rejects.toMatchObject({ code: 'CONFLICT', path: home });
  const copy = `${dataDir}-copy`;
  cpSync(dataDir, copy, { recursive: true });
  await expect(take(copy)).rejects.toMatchObject({ code: 'CONFLICT', path: home });
  expect((await new Snapshots({ dataDir }).list()).snapshots).toHaveLength(1);
  // Moved, and said so: then it is the same one.
  rmSync(dataDir, { recursive: true });
  expect((await take(copy, home)).location).toContain(home);
});

test('a home cannot say what is captured or replaced elsewhere: only one that the data directory names is believed', async () => {
  const { dataDir, home, location } = await keptElsewhere();
  const secret = await plainDirectory({ 'secret.txt': 'of another user' });
  await take(secret);
  const theirs = readTree(secret, []);
  writeFileSync(join(home, '.lifecycle/data-directory.json'), JSON.stringify({ data_dir: secret }));
  const refused = { code: 'INVALID_REQUEST', path: home, hint: expect.stringContaining('--data-dir') };
  await expect(take(home)).rejects.toMatchObject(refused);
  const restore = new RestoreCoordinator({ dataDir: home, engine: 'files' });
  await expect(restore.restore()).rejects.toMatchObject(refused);
  expect((await stillpoint(['restore', location, '--in-place'])).code).toBe(2);
  expect((await stillpoint(['restore', location, '--in-place', '--dry-run'])).code).toBe(2);
  await new Snapshots({ dataDir: home }).pruneUndo({ keep: 0 });
  expect(readTree(secret, [])).toEqual(theirs);
  // What lies in it can be read, and restored where the user says.
  expect((await new Snapshots({ dataDir: home }).list()).snapshots).toHaveLength(1);
  writeTree(dataDir, { 'a.txt': 'changed' });
  const args = ['restore', location, '--data-dir', dataDir, '--in-place', '--json'];
  expect((await stillpoint(args)).json.error.code).toBe('CONFLICT'); // its own note names the home of another now
});

test('refused where it would be captured, or stands among snapshots', async () => {
  const { dataDir, home } = await keptElsewhere();
  const used = await plainDirectory();
  await take(used);
  for (const bad of [join(dataDir, 'inside'), join(home, '.lifecycle/inside'), used])
    await expect(take(dataDir, bad)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  expect(existsSync(join(dataDir, 'inside'))).toBe(false);
});

test('the data directory itself as the home takes it back; what was kept elsewhere stays there', async () => {
  const { dataDir, home } = await keptElsewhere();
  const { location } = await take(dataDir, dataDir);
  expect(location).toContain(join(dataDir, '.lifecycle/backup'));
  expect((await new Snapshots({ dataDir }).list()).snapshots).toHaveLength(1);
  expect((await new Snapshots({ dataDir: home }).list()).snapshots).toHaveLength(1);
});

test('a power cut does not take back where the snapshots are kept', async () => {
  const world = worldOn((await stageOf(files, 1)).disk.after('none'), 1);
  const { environment } = world;
  let location = '';
  for (const lifecycleDir of [HOME, DATA]) {
    const lifecycle = new Lifecycle({ dataDir: DATA, lifecycleDir, environment });
    ({ location } = await new BackupCoordinator({ dataDir: DATA, engine: 'files', lifecycle }).backup());
  }
  const after = worldOn(world.fs.after('all'), 2).environment;
  const { snapshots } = await new Snapshots({ dataDir: DATA, environment: after }).list();
  expect(snapshots.at(-1)?.location).toBe(location);
});

test('a note that cannot be read is an error that says how it is written anew', async () => {
  const { dataDir, home } = await keptElsewhere();
  writeFileSync(join(dataDir, '.lifecycle/kept-in.json'), '{"home":');
  await expect(take(dataDir)).rejects.toMatchObject({
    code: 'IO_ERROR',
    hint: expect.stringContaining('--to'),
  });
  expect((await take(dataDir, home)).location).toContain(home);
  expect((await new Snapshots({ dataDir }).list()).snapshots).toHaveLength(2);
});

test('a database whose snapshots are kept elsewhere from now on stays the same store, there and back', async () => {
  const dataDir = await plainDirectory();
  const [home, to] = [join(dirname(dataDir), 'home'), join(await temporaryFolder(), 'repository')];
  await initRepository(to);
  const backUpOnce = async () => (await backUp(dataDir, { to, snapshot: 'latest' })).storeId;
  await take(dataDir);
  const stores = [await backUpOnce()];
  for (const place of [home, dataDir, home]) {
    await take(dataDir, place);
    stores.push(await backUpOnce());
  }
  // As where the data directory takes no change, and cannot say where its snapshots are.
  rmSync(join(dataDir, '.lifecycle/kept-in.json'));
  await take(dataDir, home);
  stores.push(await backUpOnce());
  expect(new Set(stores).size).toBe(1);
  expect((await listBackups({ from: to })).stores).toMatchObject([{ backups: Array(5).fill({}) }]);
  expect((await listJobs(dataDir)).jobs).toHaveLength(5);
});

test('no job is lost where snapshots are kept elsewhere: one under way there follows when it has ended', async () => {
  const dataDir = await plainDirectory();
  const [home, to] = [join(dirname(dataDir), 'home'), join(await temporaryFolder(), 'repository')];
  await initRepository(to);
  await take(dataDir);
  const { backupId } = await backUp(dataDir, { to, snapshot: 'latest' });
  const [first] = (await listJobs(dataDir)).jobs;
  const before = await openSqliteJobStore(systemEnvironment, layoutOf(dataDir));
  const id = newUlid(Date.now());
  await before.createBackupJob({ ...first!, id, kind: 'verify', status: 'running', finishedAtMs: null });
  await take(dataDir, home);
  const ids = async () => (await listJobs(dataDir)).jobs.map((job) => job.id);
  expect(await ids()).toEqual([first!.id]);
  await before.close(); // as when its process dies
  expect(await ids()).toEqual([id, first!.id]);
  expect(existsSync(join(home, '.lifecycle/jobs-from.json'))).toBe(false);
  const records = await openSqliteJobStore(systemEnvironment, layoutOf(dataDir, home));
  expect(await records.getRecord(backupId)).toMatchObject({ state: 'present' });
  await records.close();
});

test('a note of former jobs that cannot be read stops no backup', async () => {
  const dataDir = await plainDirectory();
  const [home, to] = [join(dirname(dataDir), 'home'), join(await temporaryFolder(), 'repository')];
  await initRepository(to);
  await take(dataDir);
  await backUp(dataDir, { to, snapshot: 'latest' });
  await take(dataDir, home);
  writeFileSync(join(home, '.lifecycle/jobs-from.json'), 'not JSON');
  await backUp(dataDir, { to, snapshot: 'latest' });
  expect((await listBackups({ from: to })).stores).toMatchObject([{ backups: [{}, {}] }]);
});

test('an identity that cannot be read keeps no snapshot from another folder', async () => {
  const dataDir = await plainDirectory();
  await take(dataDir);
  writeFileSync(join(dataDir, '.lifecycle/store.json'), 'rot');
  expect((await take(dataDir, join(dirname(dataDir), 'home'))).report.ok).toBe(true);
});
