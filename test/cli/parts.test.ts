import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, openLsm, Snapshots } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

// What one snapshot has of another, and one file of a snapshot.

async function filesFolder(): Promise<string> {
  const dir = await temporaryFolder();
  mkdirSync(join(dir, 'letters'));
  for (const name of ['letters/ann.txt', 'letters/ben.txt', 'letters.txt', 'photo'])
    writeFileSync(join(dir, name), `this is ${name}`);
  await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  return dir;
}

test('one file, or one folder, of a snapshot of files comes back alone', async () => {
  const dir = await filesFolder();
  const into = join(await temporaryFolder(), 'new');
  const args = ['restore', 'latest', '--data-dir', dir, '--into'];
  const one = await stillpoint([...args, into, '--file', 'photo', '--json']);
  expect(one).toMatchObject({ code: 0, json: { files: 1, bytes: 'this is photo'.length } });
  expect(readdirSync(into)).toEqual(['photo']);
  rmSync(into, { recursive: true });
  expect(
    (
      await stillpoint([
        ...args,
        into,
        '--file',
        './letters/',
        '--file',
        'letters/ann.txt',
        '--file',
        'photo',
      ])
    ).code,
  ).toBe(0);
  expect(readdirSync(into, { recursive: true }).sort()).toEqual([
    'letters',
    'letters/ann.txt',
    'letters/ben.txt',
    'photo',
  ]);
  expect(readFileSync(join(into, 'letters/ann.txt'), 'utf8')).toBe('this is letters/ann.txt');
  rmSync(into, { recursive: true });
  for (const absent of ['nothing', 'lett', '../photo', '/etc/passwd', 'letters/ann']) {
    const refused = await stillpoint([...args, into, '--file', 'photo', '--file', absent, '--json']);
    expect(refused.json, absent).toMatchObject({ error: { code: 'NOT_FOUND' } });
    expect(readdirSync(join(into, '..')), absent).toEqual([]);
  }
  const inPlace = await stillpoint(['restore', 'latest', '--data-dir', dir, '--in-place', '--file', 'photo']);
  expect(inPlace).toMatchObject({ code: 2, stderr: expect.stringContaining('cannot be used') });
});

test('a database is not restored in part', async () => {
  const dir = await temporaryFolder();
  const database = await openLsm(dir, SMALL_LOG);
  await database.put('key', 'value');
  await database.close();
  await new BackupCoordinator({ dataDir: dir }).backup();
  const into = join(await temporaryFolder(), 'new');
  const restoring = new Snapshots({ dataDir: dir }).restore('latest', { into, files: ['lsm.wal'] });
  await expect(restoring).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
});

test('diff says which files two snapshots have of each other', async () => {
  const dir = await filesFolder();
  const snapshots = new Snapshots({ dataDir: dir });
  const first = (await snapshots.list()).latest!;
  expect(await stillpoint(['diff', first, 'latest', '--data-dir', dir])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('have the same files by their manifests: 4 files'),
  });
  writeFileSync(join(dir, 'new'), '12345');
  writeFileSync(join(dir, 'photo'), 'this is photp'); // of the same size
  rmSync(join(dir, 'letters.txt'));
  await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  const { code, json } = await stillpoint(['diff', first, 'latest', '--data-dir', dir, '--json']);
  expect(code).toBe(1);
  expect(json).toMatchObject({
    identical: false,
    files: [
      { path: 'letters.txt', change: 'removed', before_bytes: 19, after_bytes: null },
      { path: 'new', change: 'added', before_bytes: null, after_bytes: 5 },
      { path: 'photo', change: 'changed', before_bytes: 13, after_bytes: 13 },
    ],
    added_bytes: 18,
    removed_bytes: 32,
    unchanged_files: 2,
  });
  expect(await snapshots.compare('latest', first)).toMatchObject({ addedBytes: 32, removedBytes: 18 });
  const { stdout } = await stillpoint(['diff', first, 'latest', '--data-dir', dir]);
  expect(stdout).toMatch(/^~ +photo +13 +13$/m);
  expect(stdout).toMatch(/differ in 3 files: 18 B new, 32 B gone; 2 files, 46 B are the same/);
  expect((await stillpoint(['diff', first, 'ts-1', '--data-dir', dir, '--json'])).json.error.code).toBe(
    'NOT_FOUND',
  );
});

test('diff tells databases apart whose logs have the same size and, with their own checksums inside, the same CRC-32', async () => {
  const root = await temporaryFolder();
  const taken: string[] = [];
  for (const balance of [100, 999]) {
    const dir = join(root, `${balance}`);
    const database = await openLsm(dir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } });
    await database.put('account', `balance=${balance}`);
    await database.close();
    taken.push((await new BackupCoordinator({ dataDir: dir }).backup()).location);
  }
  const { json } = await stillpoint(['diff', ...taken, '--json']);
  expect([json.identical, json.files.map(({ path }: { path: string }) => path)]).toEqual([
    false,
    ['lsm.wal'],
  ]);
});
