import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  BackupCoordinator,
  Lifecycle,
  openLsm,
  RestoreCoordinator,
  restoreSnapshot,
  Snapshots,
  snapshotClassicLevel,
  verifySnapshot,
} from '../../src/index.ts';
import { buildServer, leveldbBackend } from '../../src/server/index.ts';
import { stillpoint } from '../support/command.ts';
import { plainDirectory, readTree } from '../support/folders.ts';
import { smallLsm } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';

/** A database with two snapshots, one of them restored in place: a snapshot, an undo folder, and what is around them. */
async function database() {
  const root = await temporaryFolder();
  const dataDir = join(root, 'data');
  const db = await openLsm(dataDir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } });
  await db.put('key', 'value');
  await db.close();
  const backup = new BackupCoordinator({ dataDir });
  const { name, location } = await backup.backup();
  const other = (await backup.backup()).name;
  const { undo } = await new RestoreCoordinator({ dataDir }).restore({ source: name });
  symlinkSync(location, join(root, 'alias'));
  return { root, dataDir, name, other, location, undo };
}

const everything = (dir: string) => readTree(dir, []);

test('no command works on a snapshot as if it were a data directory (invariant 3)', async () => {
  const { root, dataDir, name, other, location, undo } = await database();
  const before = everything(dataDir);
  const refused = {
    code: 'INVALID_REQUEST',
    hint: 'Restore it into a folder first: `stillpoint restore PATH --into DIR`.',
  };
  const backup = join(dataDir, '.lifecycle/backup');
  for (const place of [location, join(root, 'alias'), undo, backup, join(dataDir, '.lifecycle')]) {
    const level = { location: place, status: 'open', open: async () => undefined };
    const ways: Record<string, () => Promise<unknown>> = {
      snapshot: () => new BackupCoordinator({ dataDir: place }).backup(),
      files: () => new BackupCoordinator({ dataDir: place, engine: 'files' }).backup(),
      snapshotClassicLevel: () => snapshotClassicLevel(level, { pauseWrites: false }),
      restore: () =>
        new RestoreCoordinator({ dataDir: place, allowedSources: [backup] }).restore({ source: location }),
      undo: () => new RestoreCoordinator({ dataDir: place }).undo(),
      recover: () => new Lifecycle({ dataDir: place }).recover(),
      prune: () => new Snapshots({ dataDir: place }).prune({ keep: 1 }),
      'dry run': () => new Snapshots({ dataDir: place }).prune({ keep: 1, dryRun: true }),
      delete: () => new Snapshots({ dataDir: place }).delete(other),
      serve: () => buildServer({ dataDir: place, backend: smallLsm() }),
      'serve leveldb': () => buildServer({ dataDir: place, backend: leveldbBackend() }),
      'serve a new one': () => buildServer({ dataDir: join(place, 'new/one'), backend: smallLsm() }),
    };
    for (const [way, go] of Object.entries(ways))
      await expect(go(), `${way} ${place}`).rejects.toMatchObject(refused);
    const commands = [
      ['snapshot', place],
      ['snapshot', place, '--engine', 'files'],
      ['restore', name, '--data-dir', place, '--in-place'],
      ['undo', place],
      ['recover', place],
      ['prune', place, '--keep', '1'],
      ['prune', place, '--keep', '1', '--dry-run'],
      ['serve', place, '--port', '0'],
      ['serve', place, '--port', '0', '--engine', 'lsm'],
      ['serve', join(place, 'new'), '--port', '0'],
    ];
    for (const args of commands) {
      const outcome = await stillpoint([...args, '--json']);
      expect({ args, ...outcome.json }).toMatchObject({ args, error: refused });
      expect(outcome.code).toBe(2);
    }
  }
  expect(everything(dataDir)).toEqual(before);

  expect(await verifySnapshot(location)).toMatchObject({ verdict: 'faithful', findings: [] });
  await restoreSnapshot(location, { into: join(root, 'elsewhere') });
  expect((await new BackupCoordinator({ dataDir: join(root, 'elsewhere') }).backup()).engine).toBe('lsm');
  expect((await new Snapshots({ dataDir }).delete(name)).name).toBe(name);
});

test('prune, delete and undo create nothing in a folder without snapshots', async () => {
  const dataDir = await plainDirectory();
  const before = everything(dataDir);
  const undo = () => new RestoreCoordinator({ dataDir }).undo();
  for (const dryRun of [true, false])
    expect(await new Snapshots({ dataDir }).prune({ keep: 1, dryRun })).toEqual({
      removed: [],
      kept: [],
      busy: [],
      decisions: [],
      freedBytes: 0,
    });
  await expect(new Snapshots({ dataDir }).delete('ts-1')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(undo()).rejects.toMatchObject({
    code: 'NOT_FOUND',
    hint: expect.stringMatching(/^Nothing was restored/),
  });
  for (const [options, start, code] of [
    [{}, {}, 'ENGINE_MISMATCH'],
    [{ engine: 'lsm' }, {}, 'ENGINE_MISMATCH'],
    [{ engine: 'files' }, { mode: 'link' }, 'INVALID_REQUEST'],
  ] as const) {
    const backup = new BackupCoordinator({ dataDir, ...options });
    await expect(backup.backup(start), code).rejects.toMatchObject({ code });
  }
  expect(everything(dataDir)).toEqual(before);
  expect(existsSync(join(dataDir, '.lifecycle'))).toBe(false);

  const empty = join(await temporaryFolder(), 'empty');
  mkdirSync(empty);
  await expect(new BackupCoordinator({ dataDir: empty }).backup()).rejects.toMatchObject({
    code: 'EMPTY_SOURCE',
  });
  for (const dir of [join(empty, 'absent'), join(dataDir, 'a.txt')]) {
    const code = dir.endsWith('absent') ? 'NOT_FOUND' : 'NOT_A_FOLDER';
    await expect(new Snapshots({ dataDir: dir }).prune({ keep: 1 })).rejects.toMatchObject({ code });
    await expect(new BackupCoordinator({ dataDir: dir }).backup()).rejects.toMatchObject({ code });
  }
  expect(existsSync(join(empty, '.lifecycle'))).toBe(false);
});

test('a snapshot that somebody copied elsewhere is a data directory', async () => {
  const { root, location } = await database();
  const copy = join(root, 'copy');
  cpSync(location, copy, { recursive: true });
  await (await openLsm(copy)).close();
  expect((await new BackupCoordinator({ dataDir: copy }).backup()).report.verdict).toBe('faithful');
  expect((await new Snapshots({ dataDir: copy }).list()).snapshots).toHaveLength(1);
});
