import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { BackupCoordinator, Lifecycle, Snapshots } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { COMMAND } from '../support/command.ts';
import { plainDirectory, readTree } from '../support/folders.ts';
import { isRoot, testOnLinux, withRights } from '../support/needs.ts';
import { temporaryFolder } from '../support/temp.ts';

async function roundTrip(dataDir: string): Promise<void> {
  const into = join(await temporaryFolder(), 'into');
  await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
  await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
  expect((await new Snapshots({ dataDir }).verifyAll({})).ok).toBe(true);
  await new Snapshots({ dataDir }).restore('latest', { into });
  expect(readTree(into)).toEqual(readTree(dataDir));
}

testOnLinux('names that differ only in case are files of their own', async () => {
  const dataDir = await plainDirectory({ README: 'one', readme: 'two', 'Folder/a': '3', 'folder/a': '4' });
  await roundTrip(dataDir);
});

test.each(['__proto__', 'constructor', 'toString'])('a file and a folder called %s', async (name) => {
  await roundTrip(await plainDirectory({ [name]: 'one', [`folder/${name}/${name}`]: 'two' }));
});

test('a restore into a folder with the longest possible name', async () => {
  const dataDir = await plainDirectory();
  await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
  const into = join(await temporaryFolder(), 'n'.repeat(255));
  await new Snapshots({ dataDir }).restore('latest', { into });
  expect(readTree(into)).toEqual(readTree(dataDir));
});

test.each(['', 'ts-17', '\0\0\0\0\0\0\0\0', 'ts-99999999999'])(
  'a marker that holds %j is survived: latest is the newest good snapshot',
  async (text) => {
    const dataDir = await plainDirectory();
    const backup = new BackupCoordinator({ dataDir, engine: 'files' });
    await backup.backup();
    const { location } = await backup.backup({ reuse: false });
    const marker = join(dataDir, '.lifecycle/backup/latest');
    writeFileSync(marker, text);
    const snapshots = new Snapshots({ dataDir });
    expect((await snapshots.get('latest')).location).toBe(location);
    rmSync(marker);
    expect((await snapshots.get('latest')).location).toBe(location);
    // Not one that is damaged.
    writeFileSync(join(location, 'a.txt'), 'other');
    await snapshots.verify(location);
    expect((await snapshots.get('latest')).location).not.toBe(location);
    const next = await backup.backup();
    expect((await snapshots.list()).latest).toBe(next.name);
  },
);

test('files that vanish during every capture are SOURCE_CHANGING, and not NOT_FOUND', async () => {
  const dataDir = await plainDirectory();
  const { fs } = systemEnvironment;
  let rounds = 0;
  const path = join(dataDir, 'fleeting');
  const vanishing: typeof fs = {
    ...fs,
    async list(folder) {
      if (folder === dataDir) writeFileSync(path, `${rounds++}`);
      return fs.list(folder);
    },
    async freeBytes(folder) {
      rmSync(path, { force: true }); // after the plan, before the first byte is copied
      return fs.freeBytes(folder);
    },
  };
  const environment = { ...systemEnvironment, fs: vanishing };
  const lifecycle = new Lifecycle({ dataDir, environment });
  await expect(new BackupCoordinator({ dataDir, engine: 'files', lifecycle }).backup()).rejects.toMatchObject(
    { code: 'SOURCE_CHANGING', message: expect.stringContaining('fleeting') },
  );
  expect(rounds).toBeGreaterThan(4);
});

test('a umask that takes all rights away takes none from snapshots and restores', async (context) => {
  const home = await temporaryFolder();
  const dataDir = join(home, 'data');
  mkdirSync(dataDir);
  writeFileSync(join(dataDir, 'a.txt'), 'first');
  // Root, too, then needs the rights that the modes give.
  const user = ['setpriv', '--inh-caps=-all', '--bounding-set=-dac_override,-dac_read_search'];
  if (isRoot) withRights(context, user[0]!, ...user.slice(1), 'true');
  const run = (...args: string[]) =>
    execFileSync('sh', ['-c', 'umask 777; exec "$@"', 'sh', ...(isRoot ? user : []), ...COMMAND, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  run('snapshot', dataDir, '--engine', 'files');
  run('snapshot', dataDir, '--engine', 'files');
  run('restore', 'latest', '--data-dir', dataDir, '--into', join(home, 'into'));
  run('restore', 'latest', '--data-dir', dataDir, '--in-place');
  expect(readFileSync(join(home, 'into/a.txt'), 'utf8')).toBe('first');
  expect(statSync(join(home, 'into/a.txt')).mode & 0o777).toBe(0o600);
});
