import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, readdirSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, onTestFinished, test } from 'vitest';
import { BackupCoordinator, Lifecycle, listSnapshots, restoreSnapshot } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { plainDirectory, readTree, writeTree } from '../support/folders.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';

const isRoot = process.getuid?.() === 0;

/** A file system of a few megabytes, or undefined where none can be mounted. */
async function smallDisk(megabytes: number): Promise<string | undefined> {
  const folder = join(await temporaryFolder(), 'disk');
  mkdirSync(folder);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', folder], { stdio: 'ignore' });
  } catch {
    return undefined;
  }
  onTestFinished(() => void execFileSync('umount', ['-l', folder]));
  return folder;
}

test.skipIf(!isRoot)(
  'no space left: told before a byte is copied, and told when it runs out in the middle (needs root)',
  async (context) => {
    const disk = await smallDisk(16);
    if (disk === undefined) return context.skip('no tmpfs can be mounted here');
    const dir = join(disk, 'data');
    writeTree(dir, { 'a.bin': randomBytes(5 << 20), 'b.bin': randomBytes(5 << 20) });
    const before = readTree(dir);
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
    await expect(backup.backup()).rejects.toMatchObject({
      code: 'NO_SPACE',
      message: expect.stringMatching(/needs \d+/),
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
    expect((await listSnapshots(dir)).snapshots).toEqual([]);
    expect(statfsSync(disk).bavail * statfsSync(disk).bsize).toBeGreaterThan(5 << 20);
  },
);

test.skipIf(!isRoot)('no space left for a restore: nothing appears (needs root)', async (context) => {
  const disk = await smallDisk(4);
  if (disk === undefined) return context.skip('no tmpfs can be mounted here');
  const dir = await plainDirectory({ 'a.bin': randomBytes(6 << 20) });
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  await expect(restoreSnapshot(location, { into: join(disk, 'new') })).rejects.toMatchObject({
    code: 'NO_SPACE',
  });
  expect(readdirSync(disk)).toEqual([]);
});

test.skipIf(!isRoot)(
  'a file that this user may not read is named (needs root, to become somebody else)',
  async () => {
    const dir = await plainDirectory();
    for (const folder of [
      dirname(dir),
      dir,
      join(dir, 'deep'),
      join(dir, 'deep/er'),
      join(dir, 'deep/.lifecycle'),
    ]) {
      chmodSync(folder, 0o777);
      chownSync(folder, 65534, 65534);
    }
    chmodSync(join(dir, 'a.txt'), 0o600);
    const child = startScript(
      `import { BackupCoordinator, listSnapshots } from '../../src/index.ts';
     process.setegid(65534); process.seteuid(65534);
     const dataDir = process.argv[2];
     const outcome = await new BackupCoordinator({ dataDir, engine: 'files' }).backup().catch((error) => error);
     const { snapshots } = await listSnapshots(dataDir);
     process.stdout.write(JSON.stringify({ code: outcome.code, path: outcome.path, snapshots }));`,
      [dir],
    );
    let output = '';
    for await (const chunk of child.stdout) output += chunk;
    expect(JSON.parse(output)).toEqual({ code: 'ACCESS_DENIED', path: join(dir, 'a.txt'), snapshots: [] });
  },
);

/** Takes every descriptor when its first run begins, gives them back, and goes on to take snapshots. */
const SHORT_OF_DESCRIPTORS = `
import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers/promises';
import { BackupCoordinator } from '../../src/index.ts';
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
  try {
    execFileSync('prlimit', ['--version'], { stdio: 'ignore' });
  } catch {
    return context.skip('there is no prlimit here');
  }
  const dir = await plainDirectory();
  const [first, ...later] = JSON.parse(await text(startScript(SHORT_OF_DESCRIPTORS, [dir]).stdout));
  expect(['ok', 'IO_ERROR']).toContain(first);
  expect(later).toEqual(['ok', 'ok']);
});
