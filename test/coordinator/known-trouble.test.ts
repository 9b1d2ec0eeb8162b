import { once } from 'node:events';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { BackupCoordinator, openLsm, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';

// What is known to be wrong, every face says.

async function filled(): Promise<string> {
  const dir = join(await temporaryFolder(), 'data');
  const database = new ClassicLevel(dir);
  await database.open();
  for (let i = 0; i < 100; i++) await database.put(`key${i}`, `value ${i}`);
  await database.compactRange('a', 'z');
  await database.close();
  return dir;
}

test('a LevelDB of which only the tables are left is a damaged LevelDB, and its snapshots do not make it safe', async () => {
  const dir = await filled();
  const backups = new BackupCoordinator({ dataDir: dir });
  await backups.backup();
  const snapshots = new Snapshots({ dataDir: dir });
  expect(await snapshots.status()).toMatchObject({ safe: true });
  for (const name of readdirSync(dir)) if (/^(CURRENT|MANIFEST|.*\.log$)/.test(name)) rmSync(join(dir, name));
  await expect(backups.backup()).rejects.toMatchObject({
    code: 'SOURCE_DAMAGED',
    hint: expect.stringContaining('salvage'),
  });
  expect(await snapshots.status()).toMatchObject({
    safe: false,
    problems: [expect.stringContaining('the database itself is damaged')],
    lastFailure: { code: 'SOURCE_DAMAGED' },
  });
  expect(await stillpoint(['status', dir])).toMatchObject({
    code: 3,
    stdout: expect.stringMatching(/^Not safe: /),
  });
  const checkpoint = () => Promise.reject(new Error('not now'));
  const failing = new BackupCoordinator({ dataDir: dir, engine: 'leveldb', checkpoint });
  await expect(failing.backup()).rejects.toMatchObject({ code: 'HOOK_FAILED' });
  expect(await snapshots.status()).toMatchObject({ safe: false, lastFailure: { code: 'HOOK_FAILED' } });
  const restore = new RestoreCoordinator({ dataDir: dir });
  await restore.restore({ source: 'latest-good' });
  expect(await snapshots.status()).toMatchObject({ safe: true });
  await restore.undo();
  expect(await snapshots.status()).toMatchObject({ safe: false });
  rmSync(join(dir, '.lifecycle'), { recursive: true });
  expect(await stillpoint(['verify', dir])).toMatchObject({
    code: 3,
    stdout: expect.stringContaining(`stillpoint salvage ${dir} --into NEW`),
  });
});

test('who names the folder around a database gets the database and the files beside it as one snapshot', async () => {
  const dir = await filled();
  const around = join(dir, '..');
  writeFileSync(join(around, 'level.dat'), 'level');
  const { code, stdout } = await stillpoint(['snapshot', around, '--json']);
  expect([code, JSON.parse(stdout)]).toEqual([0, expect.objectContaining({ engine: 'parts' })]);
  expect(await stillpoint(['verify', around])).toMatchObject({ code: 0 });
});

test('a run whose process was killed does not read as running', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const database = await openLsm(dir, { walGeometry: { segmentBytes: 1024 * 1024, segmentCount: 4 } });
  await database.put('key', Buffer.alloc(2_000_000, 7));
  await database.close();
  const child = startScript(
    `import { BackupCoordinator } from 'stillpoint';
     const backups = new BackupCoordinator({ dataDir: process.argv[2] });
     const { id } = await backups.startBackup({ maxBytesPerSecond: 65536 });
     console.log(id);
     await backups.finished(id);`,
    [dir],
  );
  const [id] = (await once(child.stdout, 'data')) as [Buffer];
  const snapshots = new Snapshots({ dataDir: dir });
  const first = async () => (await snapshots.runs()).runs[0];
  expect(await first()).toMatchObject({ id: String(id).trim(), state: { status: 'running' } });
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(await first()).toMatchObject({
    id: String(id).trim(),
    state: { status: 'failed', code: 'INTERRUPTED' },
  });
  // A server that does not put it in order, as `stillpoint console`, does not wait for it for ever.
  const look = new BackupCoordinator({ dataDir: dir });
  expect(await look.status(String(id).trim())).toMatchObject({ status: 'failed', code: 'INTERRUPTED' });
  await look.backup();
  expect((await snapshots.runs()).runs).toMatchObject([
    { state: { status: 'completed' } },
    { state: { status: 'failed', code: 'INTERRUPTED' } },
  ]);
});
