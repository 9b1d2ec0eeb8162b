import { randomBytes } from 'node:crypto';
import { chmodSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, type TestContext, test } from 'vitest';
import { BackupCoordinator, Lifecycle, restoreSnapshot, Snapshots } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { mountInMemory } from '../support/file-systems.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { isRoot, needsPrograms, testAsRoot } from '../support/needs.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';

async function smallDisk(context: TestContext, megabytes: number): Promise<string> {
  const folder = join(await temporaryFolder(), 'disk');
  mountInMemory(context, folder, megabytes << 20);
  return folder;
}

testAsRoot(
  'a snapshot without space left fails before a byte is copied, or as soon as it runs out (needs root)',
  async (context) => {
    const disk = await smallDisk(context, 16);
    const dir = join(disk, 'data');
    writeTree(dir, { 'a.bin': randomBytes(5 << 20), 'b.bin': randomBytes(5 << 20) });
    const before = readTree(dir);
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
    await expect(backup.backup()).rejects.toMatchObject({
      code: 'NO_SPACE',
      message: expect.stringMatching(/needs at least \d+/),
    });
    // The same with a file system that does not say how full it is.
    const fs = { ...systemEnvironment.fs, freeBytes: async () => Number.MAX_SAFE_INTEGER };
    const lifecycle = new Lifecycle({ dataDir: dir, environment: { ...systemEnvironment, fs } });
    const blind = new BackupCoordinator({ dataDir: dir, engine: 'files', lifecycle });
    const { id } = await blind.startBackup();
    await expect(blind.finished(id)).rejects.toMatchObject({ code: 'NO_SPACE' });
    expect((await blind.status(id)).code).toBe('NO_SPACE');
    expect(readTree(dir)).toEqual(before);
    expect(readdirSync(join(dir, '.lifecycle/backup')).filter((name) => name.startsWith('.'))).toEqual([]);
    expect((await new Snapshots({ dataDir: dir }).list()).snapshots).toEqual([]);
    expect(statfsSync(disk).bavail * statfsSync(disk).bsize).toBeGreaterThan(5 << 20);
  },
);

testAsRoot(
  'what the last snapshot cannot share counts as needed before a byte is copied (needs root)',
  async (context) => {
    const dir = join(await smallDisk(context, 14), 'data');
    const part = randomBytes(5 << 20);
    writeTree(dir, { 'a.bin': part });
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
    await backup.backup();
    expect(await backup.backup()).toMatchObject({ report: { ok: true } }); // shares it: there is no room for another
    rmSync(join(dir, 'a.bin'));
    writeTree(dir, { 'b.bin': part });
    await expect(backup.backup()).rejects.toMatchObject({
      code: 'NO_SPACE',
      path: join(dir, '.lifecycle/backup'),
      data: { neededBytes: 5 << 20 },
    });
  },
);

testAsRoot('a restore without space left leaves nothing behind (needs root)', async (context) => {
  const disk = await smallDisk(context, 4);
  const dir = await plainDirectory({ 'a.bin': randomBytes(6 << 20) });
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  await expect(restoreSnapshot(location, { into: join(disk, 'new') })).rejects.toMatchObject({
    code: 'NO_SPACE',
  });
  expect(readdirSync(disk)).toEqual([]);
});

test('a file that this process may not read is named', async (context) => {
  const dir = await plainDirectory();
  chmodSync(join(dir, 'a.txt'), 0);
  // Root reads every file unless it gives that capability away.
  if (isRoot) needsPrograms(context, 'setpriv');
  const child = startScript(
    `import { BackupCoordinator, Snapshots } from 'stillpoint';
     const dataDir = process.argv[2];
     const outcome = await new BackupCoordinator({ dataDir, engine: 'files' }).backup().catch((error) => error);
     const { snapshots } = await new Snapshots({ dataDir }).list();
     process.stdout.write(JSON.stringify({ code: outcome.code, path: outcome.path, snapshots }));`,
    [dir],
    isRoot ? ['setpriv', '--inh-caps=-all', '--bounding-set=-all'] : [],
  );
  expect(JSON.parse(await text(child.stdout))).toEqual({
    code: 'ACCESS_DENIED',
    path: join(dir, 'a.txt'),
    snapshots: [],
  });
});

/** Takes every descriptor when its first run begins, gives them back, and goes on to take snapshots. */
const SHORT_OF_DESCRIPTORS = `
import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers/promises';
import { BackupCoordinator } from 'stillpoint';
const backup = new BackupCoordinator({ dataDir: process.argv[2], engine: 'files' });
const { cache } = createRequire(import.meta.url);
while (!Object.keys(cache).some((path) => path.includes('/piscina/'))) await setTimeout(10);
execFileSync('prlimit', ['--pid', String(process.pid), '--nofile=200:']);
let taken;
backup.on('state', () => {
  if (taken !== undefined) return;
  taken = [];
  try { for (;;) taken.push(openSync('/dev/null')); } catch {}
  void setTimeout(300).then(() => { for (const fd of taken) closeSync(fd); });
});
const codes = [];
for (let i = 0; i < 3; i++) codes.push(await backup.backup().then(() => 'ok', ({ code }) => code));
process.stdout.write(JSON.stringify(codes));
`;

test('a moment without descriptors costs one snapshot at most, and none of the later ones', async (context) => {
  needsPrograms(context, 'prlimit');
  const dir = await plainDirectory();
  const [first, ...later] = JSON.parse(await text(startScript(SHORT_OF_DESCRIPTORS, [dir]).stdout));
  expect(['ok', 'IO_ERROR']).toContain(first);
  expect(later).toEqual(['ok', 'ok']);
});
