import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { BackupCoordinator, Lifecycle, RestoreCoordinator, Snapshots } from '../../src/index.ts';
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

test('damage that verifying the database finds is in its status, until a snapshot goes well', async () => {
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
  expect(json.summary).toMatch(/^Not safe: the database itself is damaged, as was found \d+ m?s ago/);
  expect((await stillpoint(['runs', dir, '--kind', 'verify', '--json'])).json.runs).toMatchObject([
    { state: { status: 'failed', code: 'SOURCE_DAMAGED' } },
    { state: { status: 'completed' } },
  ]);
  rot(table, 100);
  expect((await stillpoint(['snapshot', dir])).code).toBe(0);
  expect((await stillpoint(['status', dir])).code).toBe(0);
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
