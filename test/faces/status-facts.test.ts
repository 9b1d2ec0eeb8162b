import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { BackupCoordinator, Lifecycle, openLsm, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { stillpoint } from '../support/command.ts';
import { plainDirectory } from '../support/folders.ts';
import { rot } from '../support/rot.ts';
import { temporaryFolder } from '../support/temp.ts';

/** A closed LevelDB with a table that is old enough to be known again by its time. */
async function withTable(): Promise<{ dir: string; table: string }> {
  const dir = join(await temporaryFolder(), 'data');
  const database = new ClassicLevel(dir);
  for (let i = 0; i < 1000; i++) await database.put(`key${i}`, randomBytes(30).toString('hex'));
  await database.compactRange('', 'zzz');
  await database.close();
  const table = join(dir, readdirSync(dir).find((name) => name.endsWith('.ldb'))!);
  const anHourAgo = Date.now() / 1000 - 3600.5;
  utimesSync(table, anHourAgo, anHourAgo);
  return { dir, table };
}

test('damage that verifying the database finds is in its status, until another finds none', async () => {
  const { dir, table } = await withTable();
  rot(table, 100);
  expect((await stillpoint(['verify', dir])).code).toBe(3);
  expect(existsSync(join(dir, '.lifecycle'))).toBe(false); // no snapshot, and so nowhere to put it on record
  rot(table, 100);
  await new BackupCoordinator({ dataDir: dir }).backup();
  expect((await stillpoint(['verify', dir])).code).toBe(0);
  expect((await stillpoint(['status', dir])).code).toBe(0);
  rot(table, 100);
  expect((await stillpoint(['verify', dir])).code).toBe(3);
  const { code, json } = await stillpoint(['status', dir, '--json']);
  expect(code).toBe(3);
  expect(json).toMatchObject({ safe: false, source_damaged: true });
  const prune = await stillpoint(['prune', dir, '--keep', '1', '--dry-run']);
  expect(prune.stderr).toContain('better remove no snapshot until it is whole');
  expect(json.summary).toMatch(/^Not safe: the database itself is damaged, as was found \d+ m?s ago/);
  expect((await stillpoint(['runs', dir, '--kind', 'verify', '--json'])).json.runs).toMatchObject([
    { state: { status: 'failed', code: 'SOURCE_DAMAGED' } },
    { state: { status: 'completed' } },
  ]);
  // What was proven before is shared: a snapshot goes well, and says nothing of the database's own table.
  const shared = await stillpoint(['snapshot', dir, '--quiet']);
  expect(shared).toMatchObject({ code: 0, stderr: expect.stringContaining('known to be damaged') });
  expect((await stillpoint(['status', dir])).code).toBe(3);
  const snapshotTable = join(
    (await new Snapshots({ dataDir: dir }).status()).newestGood!.location,
    basename(table),
  );
  rot(snapshotTable, 100);
  const all = await stillpoint(['verify', dir, '--all']);
  expect(all).toMatchObject({
    code: 3,
    stdout: expect.stringContaining(`stillpoint status ${dir} says what to do`),
  });
  rot(snapshotTable, 100);
  expect((await stillpoint(['verify', dir, '--all'])).code).toBe(0);
  expect((await stillpoint(['verify', dir, '--engine', 'files'])).code).toBe(0); // it is no database to that
  expect((await stillpoint(['status', dir])).code).toBe(3);
  rot(table, 100);
  expect((await stillpoint(['verify', dir, '--level', 'files'])).code).toBe(0);
  expect((await stillpoint(['status', dir])).code).toBe(3); // that did not look into it
  expect((await stillpoint(['verify', dir])).code).toBe(0);
  expect((await stillpoint(['status', dir])).code).toBe(0);
});

test('an undo brings damage of the database back, whatever was looked at between', async () => {
  const { dir, table } = await withTable();
  await new BackupCoordinator({ dataDir: dir }).backup();
  rot(table, 100);
  const restores = new RestoreCoordinator({ dataDir: dir });
  const isSafe = async () => (await new Snapshots({ dataDir: dir }).status()).safe;
  expect((await stillpoint(['verify', dir])).code).toBe(3);
  await restores.restore();
  expect(await isSafe()).toBe(true);
  expect((await stillpoint(['verify', dir])).code).toBe(0);
  await restores.undo();
  expect(await isSafe()).toBe(false);
  await restores.undo(); // again what was restored
  expect((await stillpoint(['verify', dir])).code).toBe(0);
  expect(await isSafe()).toBe(true);
});

test('status names the restored snapshot, an undo of it, and a restore that failed since', async () => {
  const dir = await plainDirectory();
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const first = await backup.backup();
  const second = await backup.backup({ reuse: false });
  const restores = new RestoreCoordinator({ dataDir: dir, engine: 'files' });
  await restores.restore({ source: first.name });
  const snapshots = new Snapshots({ dataDir: dir });
  expect(await snapshots.status()).toMatchObject({
    lastRestore: { name: first.name, undoAtMs: null },
    lastRestoreFailure: null,
  });
  await restores.undo();
  expect((await snapshots.status()).lastRestore).toMatchObject({ undoAtMs: expect.any(Number) });
  rot(join(second.location, 'a.txt'));
  await expect(restores.restore()).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH' });
  const { stdout } = await stillpoint(['status', dir]);
  const text = stdout.replaceAll(/\n +/g, ' ');
  expect(text).toMatch(new RegExp(`^last restore +${first.name}, .*; an undo after it: 20`, 'm'));
  expect(text).toMatch(/the last attempt failed: 20.*RESTORE_INTEGRITY_MISMATCH/);
  expect((await snapshots.status()).summary).toMatch(/the last restore failed .*MISMATCH/);
});

test('the next snapshot needs what the last one has no copy of', async () => {
  const { dir, table } = await withTable();
  const snapshots = new Snapshots({ dataDir: dir });
  const next = async () => (await snapshots.status()).next!;
  const whole = await next();
  expect(whole.neededBytes).toBe(whole.databaseBytes);
  expect(whole.databaseBytes).toBeGreaterThan(readFileSync(table).length);
  await new BackupCoordinator({ dataDir: dir }).backup();
  const second = await next();
  expect(second.databaseBytes).toBe(whole.databaseBytes);
  expect(second.neededBytes).toBeLessThanOrEqual(whole.neededBytes - readFileSync(table).length);
  writeFileSync(table, readFileSync(table)); // another time: nobody knows whether it is the same
  expect(await next()).toEqual(whole);
});

test('what was to be shared and cannot be is asked for before it is copied', async () => {
  const { dir, table } = await withTable();
  await new BackupCoordinator({ dataDir: dir }).backup();
  const fs = { ...systemEnvironment.fs, freeBytes: async () => 40_000 };
  const lifecycle = new Lifecycle({ dataDir: dir, environment: { ...systemEnvironment, fs } });
  const short = new BackupCoordinator({ dataDir: dir, lifecycle });
  await short.backup(); // the table is shared
  writeFileSync(table, readFileSync(table));
  await expect(short.backup()).rejects.toMatchObject({
    code: 'NO_SPACE',
    message: expect.stringContaining('and 39 KiB are free on the disk of'),
  });
});

test('of the undo folders those are named that may hold writes of their own', async () => {
  const { dir } = await withTable();
  const backup = await new BackupCoordinator({ dataDir: dir }).backup();
  const write = async (key: string) => {
    const database = new ClassicLevel(dir);
    await database.put(key, 'value');
    await database.close();
  };
  await write('of the first'); // in no snapshot
  for (let i = 0; i < 2; i++) await new RestoreCoordinator({ dataDir: dir }).restore({ source: backup.name });
  const status = await new Snapshots({ dataDir: dir }).status();
  expect(status.undo.count).toBe(2);
  const [first, second] = status.undoFolders;
  expect([first, second]).toMatchObject([{ mayHoldWrites: true, damaged: false }, { mayHoldWrites: false }]);
  const { stdout } = await stillpoint(['status', dir]);
  const [told] =
    stdout.replaceAll(/\n +/g, ' ').match(/ts-[^:]+: replaced [^:]+:[^:]+:[^:]+may hold writes/) ?? [];
  expect(told).toContain(first!.name);
  expect(stdout).toContain(`stillpoint undo ${dir} --to ${first!.name}\n`);
  const look = await stillpoint(['prune', dir, '--undo', '--keep', '0', '--dry-run']);
  expect(look.stdout).toMatch(
    new RegExp(`^would remove ${second!.name}: replaced [^,]+, [\\d.]+ KiB\nwould keep ${first!.name}: `),
  );
  expect(look.stdout).toContain(`stillpoint undo ${dir} --to NAME`);
  const pruned = await stillpoint(['prune', dir, '--undo', '--keep', '0']);
  expect(pruned.stdout).toContain('no undo of these restores is possible any more');
  expect(readdirSync(join(dir, '.lifecycle/restore-backup'))).toEqual([first!.name]);
  const given = await stillpoint(['status', dir]);
  expect(given.stdout).toMatch(/^give up undo +no folder can go yet\n/m);
  await stillpoint(['prune', dir, '--undo', '--keep', '0', '--discard-writes']);
  expect(readdirSync(join(dir, '.lifecycle/restore-backup'))).toEqual([]);
});

test('an undo folder holds nothing of its own only beside a good snapshot that has its files', async () => {
  const { dir, table } = await withTable();
  const { atimeMs, mtimeMs } = statSync(table);
  for (const file of readdirSync(dir)) utimesSync(join(dir, file), atimeMs / 1000, mtimeMs / 1000);
  const { name, location } = await new BackupCoordinator({ dataDir: dir }).backup();
  const restores = new RestoreCoordinator({ dataDir: dir });
  const held = async () =>
    (await new Snapshots({ dataDir: dir }).status()).undoFolders.map(({ mayHoldWrites }) => mayHoldWrites);
  await restores.restore({ source: name });
  cpSync(table, join(dir, '000099.ldb'), { preserveTimestamps: true }); // its time is old
  await restores.restore({ source: name });
  expect(await held()).toEqual([false, true]);
  const { undoFolders } = await new Snapshots({ dataDir: dir }).status();
  const link = join(undoFolders[0]!.location, '000077.ldb');
  symlinkSync(table, link);
  expect(await held()).toEqual([true, true]); // and the status is told all the same
  rmSync(link);
  rot(join(location, basename(table)), 100);
  expect((await stillpoint(['verify', dir, '--all'])).code).toBe(3);
  expect(await held()).toEqual([true, true]);
});

test('a file among the tables of lsm that is none of them belongs to the undo folder alone', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const database = await openLsm(dir);
  for (let i = 0; i < 100; i++) await database.put(`key${i}`, Buffer.from('value'));
  await database.close();
  const old = (path: string) => utimesSync(path, Date.now() / 1000 - 3600.5, Date.now() / 1000 - 3600.5);
  for (const entry of readdirSync(dir, { recursive: true, encoding: 'utf8' })) old(join(dir, entry));
  const { name } = await new BackupCoordinator({ dataDir: dir }).backup();
  const restores = new RestoreCoordinator({ dataDir: dir });
  await restores.restore({ source: name });
  const notes = join(dir, 'sst/notes.txt');
  mkdirSync(join(dir, 'sst'), { recursive: true });
  writeFileSync(notes, 'of somebody');
  old(notes);
  await restores.restore({ source: name });
  const { undoFolders } = await new Snapshots({ dataDir: dir }).status();
  expect(undoFolders.map(({ mayHoldWrites }) => mayHoldWrites)).toEqual([false, true]);
});

test('a damaged snapshot that was left behind is offered to salvage before it is removed, and not to restore', async () => {
  const { dir, table } = await withTable();
  const { name, location } = await new BackupCoordinator({ dataDir: dir }).backup();
  for (const entry of readdirSync(dir).filter((one) => one !== '.lifecycle')) rmSync(join(dir, entry));
  const database = new ClassicLevel(dir);
  await database.put('anew', 'value');
  await database.close();
  await new BackupCoordinator({ dataDir: dir }).backup();
  expect((await stillpoint(['status', dir])).stdout).toMatch(
    new RegExp(`^or left behind +with the database closed:\\n .* restore ${name} `, 'm'),
  );
  rot(join(location, basename(table)), 100);
  expect((await stillpoint(['verify', dir, '--all'])).code).toBe(3);
  const { stdout } = await stillpoint(['status', dir]);
  expect(stdout).toContain(`stillpoint salvage ${location} --into NEW`);
  expect(stdout).not.toMatch(new RegExp(`take a new one|stillpoint restore ${name}`));
  expect(stdout).toMatch(new RegExp(`^then remove it +stillpoint delete ${name} `, 'm'));
});

test('after several restores, an undo to the first and a snapshot, nothing is left to save or to warn of', async () => {
  const { dir } = await withTable();
  const old = await new BackupCoordinator({ dataDir: dir }).backup();
  const database = new ClassicLevel(dir);
  await database.put('later', 'value');
  await database.close();
  const newer = await new BackupCoordinator({ dataDir: dir }).backup();
  const again = new ClassicLevel(dir);
  await again.put('latest', 'value');
  await again.close();
  const restores = new RestoreCoordinator({ dataDir: dir });
  for (let i = 0; i < 3; i++) await restores.restore({ source: old.name });
  const put = await new Snapshots({ dataDir: dir }).status();
  expect(put.putBackFrom).toBe(old.location);
  expect(put.summary).toContain(
    `what is in the database came from ${old.name}, so ${newer.name} may hold writes that it lacks`,
  );
  const { stdout } = await stillpoint(['status', dir]);
  expect(stdout.replaceAll(/\n +/g, ' ')).toContain(
    'undo the restore, which takes no space, and take a snapshot',
  );
  const undo = stdout.split('\n').flatMap((line) => line.match(/stillpoint (undo .*--to .*)/)?.[1] ?? [])[0]!;
  expect((await stillpoint(undo.split(' '))).code).toBe(0);
  const snapshot = await stillpoint(['snapshot', dir, '--quiet']);
  expect(snapshot).toMatchObject({ code: 0, stderr: '' });
  const { safe, putBackFrom, undoFolders, leftBehind } = await new Snapshots({ dataDir: dir }).status();
  expect({ safe, putBackFrom, leftBehind }).toEqual({ safe: true, putBackFrom: null, leftBehind: [] });
  expect(undoFolders.map(({ mayHoldWrites }) => mayHoldWrites)).toEqual([false, false, false]);
});

test('what a restore replaced since it was damaged is offered to salvage, with its later writes', async () => {
  const { dir, table } = await withTable();
  await new BackupCoordinator({ dataDir: dir }).backup();
  const database = new ClassicLevel(dir);
  await database.put('later', 'value');
  await database.close();
  rot(table, 100);
  expect((await stillpoint(['verify', dir])).code).toBe(3);
  const before = (await stillpoint(['status', dir])).stdout.replaceAll(/\n +/g, ' ');
  expect(before).toMatch(/brings ts-\d+ back; what was written after it stays in the undo folder/);
  await new RestoreCoordinator({ dataDir: dir }).restore();
  const { code, stdout } = await stillpoint(['status', dir]);
  expect(code).toBe(0);
  const salvage = stdout.split('\n').flatMap((line) => line.match(/stillpoint (salvage .*)/)?.[1] ?? [])[0]!;
  const into = join(await temporaryFolder(), 'salvaged');
  expect((await stillpoint(salvage.replace('NEW', into).split(' '))).code).toBe(3); // and says what is missing
  const salvaged = new ClassicLevel(into);
  expect(await salvaged.get('later')).toBe('value');
  await salvaged.close();
  const { undoFolders } = await new Snapshots({ dataDir: dir }).status();
  expect(undoFolders).toMatchObject([{ damaged: true, mayHoldWrites: true }]);
});

test('a data directory may have the name of a folder of snapshots', async () => {
  const { dir, table } = await withTable();
  const named = join(await temporaryFolder(), 'backup');
  cpSync(dir, named, { recursive: true, preserveTimestamps: true });
  await new BackupCoordinator({ dataDir: named }).backup();
  rot(join(named, basename(table)), 100);
  expect((await stillpoint(['verify', named])).code).toBe(3);
  expect((await new Snapshots({ dataDir: named }).status()).sourceDamaged).toBe(true);
});

test('a command of the advice can be pasted, whatever the path has in it', async () => {
  const dir = join(await temporaryFolder(), "it's; touch OWNED; my data");
  const database = new ClassicLevel(dir);
  await database.put('key', 'value');
  await database.close();
  await new BackupCoordinator({ dataDir: dir }).backup();
  const { stdout } = await stillpoint(['status', dir]);
  const [, command] = /^ +stillpoint (restore .*)$/m.exec(stdout)!;
  const words = execFileSync('sh', ['-c', `printf '%s\\n' ${command}`], { encoding: 'utf8' }).split('\n');
  expect(words).toContain(dir);
});

test('a snapshot that is damaged goes once a newer one is good', async () => {
  const dir = await plainDirectory();
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const damaged = await backup.backup();
  await backup.backup({ reuse: false });
  rot(join(damaged.location, 'a.txt'));
  await stillpoint(['verify', dir, '--all', '--level', 'files']);
  const { stdout } = await stillpoint(['status', dir]);
  expect(stdout).not.toContain('take a new one');
  const [, command] = /^remove damaged +stillpoint (.*)$/m.exec(stdout)!;
  expect((await stillpoint(command!.split(' '))).code).toBe(0);
  expect((await stillpoint(['status', dir])).code).toBe(0);
});

test('a snapshot that is removed while it is looked at is not damaged, and not there', async () => {
  const dir = await plainDirectory();
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const first = await backup.backup();
  const second = await backup.backup({ reuse: false });
  const { fs } = systemEnvironment;
  const open: typeof fs.open = async (path, how) => {
    const file = await fs.open(path, how);
    if (path.startsWith(first.location)) rmSync(first.location, { recursive: true, force: true });
    return file;
  };
  const environment = { ...systemEnvironment, fs: { ...fs, open } };
  const status = await new Snapshots({ dataDir: dir, environment }).status();
  expect(status).toMatchObject({
    safe: true,
    newestGood: { name: second.name },
    total: { count: 1, damaged: 0 },
  });
});

test('damage of the database that cannot be put on record is said to be forgotten', async () => {
  const { dir, table } = await withTable();
  const { location } = await new BackupCoordinator({ dataDir: dir }).backup();
  const record = join(location, '../proofs/upkeep.jsonl');
  rmSync(record, { force: true });
  mkdirSync(record);
  rot(table, 100);
  const { code, stdout } = await stillpoint(['verify', dir]);
  expect(code).toBe(3);
  expect(stdout).toContain('cannot be put on record');
});
