import { execFileSync } from 'node:child_process';
import { linkSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, onTestFinished, type TestContext, test } from 'vitest';
import { BackupCoordinator, openLsm, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { overlayOn } from '../support/file-systems.ts';
import { readTree, writeTree } from '../support/folders.ts';
import { withRights } from '../support/needs.ts';
import { startScript } from '../support/process.ts';
import { diskFolder, temporaryFolder } from '../support/temp.ts';

// Layers, append-only files and hard links: a snapshot works, and a restore in place either works or is refused before anything stops.

async function writeLsm(dir: string): Promise<void> {
  const database = await openLsm(dir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 2 } });
  await database.put('key', 'in a table');
  await database.checkpoint();
  await database.put('key', 'in the log');
  await database.close();
}

/** A restore in place, and which hooks it called. */
async function restoreInPlace(dataDir: string): Promise<{ outcome: object; hooks: string[] }> {
  const hooks: string[] = [];
  const restore = new RestoreCoordinator({
    dataDir,
    engine: 'lsm',
    close: () => void hooks.push('close'),
    open: () => void hooks.push('open'),
  });
  return { outcome: await restore.restore().catch((error) => error), hooks };
}

async function expectRefused(dataDir: string, path: string, why: string): Promise<void> {
  const before = readTree(dataDir);
  const { outcome, hooks } = await restoreInPlace(dataDir);
  expect(outcome).toMatchObject({ code: 'PREFLIGHT_REFUSED', path, message: expect.stringContaining(why) });
  expect(hooks).toEqual([]);
  expect(readTree(dataDir)).toEqual(before);
}

test('a database in a lower layer of overlayfs is captured and shared; what cannot be moved is known before it is closed', async (context) => {
  const dir = join(await overlayOn(context, (lower) => writeLsm(join(lower, 'data'))), 'data');
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'lsm' });
  for (const mode of ['link', 'copy'] as const) {
    expect((await backup.backup({ mode })).report).toMatchObject({ ok: true, findings: [] });
  }
  await expectRefused(dir, join(dir, 'sst'), 'lower layer');
  // As the hint says:
  execFileSync('sh', ['-c', 'cp -a sst sst.new && rm -r sst && mv sst.new sst'], { cwd: dir });
  const { outcome, hooks } = await restoreInPlace(dir);
  expect([outcome, hooks]).toMatchObject([{ report: { ok: true } }, ['close', 'open']]);
});

test('snapshots in a lower layer of overlayfs are removed, as the dry run says', async (context) => {
  const root = await overlayOn(context, async (lower) => {
    await writeLsm(join(lower, 'data'));
    const backup = new BackupCoordinator({ dataDir: join(lower, 'data'), engine: 'lsm' });
    for (let i = 0; i < 3; i++) await backup.backup();
  });
  const snapshots = new Snapshots({ dataDir: join(root, 'data') });
  const shown = await snapshots.prune({ keep: 2, dryRun: true });
  expect(shown.removed).toHaveLength(1);
  expect(await snapshots.prune({ keep: 2 })).toEqual(shown);
  const [oldest, newest] = (await snapshots.list()).snapshots;
  await snapshots.delete(oldest!.name);
  expect((await snapshots.list()).snapshots.map(({ name }) => name)).toEqual([newest!.name]);
});

test.for(['.', 'lsm.wal', 'sst', 'sst/1.sst'])('append-only: %s', async (name, context: TestContext) => {
  const dir = join(await diskFolder(), 'data');
  await writeLsm(dir);
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'lsm' });
  await backup.backup();
  const path = join(dir, name);
  withRights(context, 'chattr', '+a', path);
  onTestFinished(() => void execFileSync('chattr', ['-R', '-a', dir]));
  for (const mode of ['link', 'copy'] as const) {
    expect((await backup.backup({ mode, reuse: false })).report, mode).toMatchObject({
      ok: true,
      findings: [],
    });
  }
  // What moves with its folder need not be moved itself.
  if (name === 'sst/1.sst')
    expect((await restoreInPlace(dir)).outcome).toMatchObject({ report: { ok: true } });
  else await expectRefused(dir, name === '.' ? join(dir, 'checkpoint.meta') : path, 'appended');
});

const HOST = `
import { execFileSync } from 'node:child_process';
import { ClassicLevel } from 'classic-level';
import { BackupCoordinator, verifySnapshot } from 'stillpoint';
const [, , folder, dataDir] = process.argv;
const database = new ClassicLevel(dataDir);
await database.put('a', 'acknowledged');
const SECOND = 'const { ClassicLevel } = require("classic-level"); new ClassicLevel(process.argv[1]).open().then(() => process.stdout.write("open"), () => process.stdout.write("refused"))';
const answers = [];
for (const call of [() => verifySnapshot(folder, { engine: 'files' }), () => new BackupCoordinator({ dataDir: folder, engine: 'files' }).backup()]) {
  answers.push(await call().then(() => 'done', (error) => error.code), String(execFileSync(process.execPath, ['-e', SECOND, dataDir])));
}
await database.close();
answers.push((await new BackupCoordinator({ dataDir: folder, engine: 'files' }).backup()).report.ok);
process.stdout.write(JSON.stringify(answers));
`;

test.for(['hard link', 'bind mount'])(
  'a %s of the lock of a database that this process has open is not read under its other name (invariant 14)',
  async (kind, context) => {
    const [folder, dataDir] = [await temporaryFolder(), join(await temporaryFolder(), 'db')];
    const database = new ClassicLevel(dataDir);
    await database.open();
    await database.close();
    writeTree(folder, { 'beside.txt': 'x' });
    const [lock, other] = [join(dataDir, 'LOCK'), join(folder, 'another name')];
    if (kind === 'hard link') linkSync(lock, other);
    else {
      writeFileSync(other, '');
      withRights(context, 'mount', '--bind', lock, other);
      onTestFinished(() => void execFileSync('umount', [other]));
    }
    const child = startScript(HOST, [folder, dataDir]);
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    await new Promise((done) => child.once('close', done));
    expect(JSON.parse(text)).toEqual(['CONFLICT', 'refused', 'CONFLICT', 'refused', true]);
    expect(readdirSync(folder).sort()).toEqual(['.lifecycle', 'another name', 'beside.txt']);
  },
);
