import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { drillBackup } from '../../src/backup/drill-backup.ts';
import { deleteBackup, pinBackup, unpinBackup } from '../../src/backup/keep-backups.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { type PruneBackupsOptions, pruneBackups } from '../../src/backup/prune-backups.ts';
import { reconcileBackups } from '../../src/backup/reconcile-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyAllBackups } from '../../src/backup/verify-all-backups.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { BackupCoordinator, StillpointError } from '../../src/index.ts';
import { entriesBelow, plainDirectory, readTree } from '../support/folders.ts';
import { fill, writeFolder } from '../support/leveldb-folders.ts';
import { temporaryFolder } from '../support/temp.ts';

const HOUR = 60 * 60 * 1000;

const pathsIn = (repository: string, part = ''): string[] =>
  entriesBelow(repository)
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => path.includes(part));

/** All that the repository holds becomes older: the clock of a folder is that of its files. */
async function age(repository: string, hours: number): Promise<void> {
  for (const path of pathsIn(repository)) {
    const at = new Date(Date.now() - hours * HOUR);
    await utimes(path, at, at);
  }
}

async function setUp(backups: number) {
  const repository = join(await temporaryFolder(), 'repository');
  await initRepository(repository);
  const dataDir = await plainDirectory();
  const ids: string[] = [];
  const trees: Record<string, unknown> = {};
  const run = async (options: object = {}) => {
    writeFileSync(join(dataDir, 'changing'), `${ids.length} `.repeat(200_000));
    writeFileSync(join(dataDir, 'small'), `${ids.length}`);
    const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
    const result = await backUp(dataDir, { to: repository, coordinator, ...options });
    ids.push(result.backupId);
    trees[result.backupId] = readTree(dataDir);
    return result;
  };
  for (let i = 0; i < backups; i++) await run();
  const prune = (options: Omit<PruneBackupsOptions, 'from'> = {}) =>
    pruneBackups({ from: repository, ...options });
  const standing = async () =>
    (await listBackups({ from: repository })).stores[0]!.backups.map(({ backupId }) => backupId);
  const expectWhole = async () => {
    for (const id of await standing()) {
      const into = join(await temporaryFolder(), 'out');
      await restoreBackup(id, { from: repository, into });
      expect(readTree(into)).toEqual(trees[id]);
    }
  };
  return { repository, dataDir, ids, run, prune, standing, expectWhole };
}

describe('a prune', () => {
  test('removes what no rule keeps, as its dry run said', async () => {
    const { ids, prune, standing, expectWhole } = await setUp(4);
    const said = await prune({ keepLast: 2, dryRun: true });
    expect(await standing()).toEqual(ids);
    const done = await prune({ keepLast: 2 });
    expect({ ...done, dryRun: true }).toEqual(said);
    expect(done.removed).toEqual(ids.slice(0, 2));
    expect(done.kept.map(({ backupId }) => backupId)).toEqual(ids.slice(2));
    expect(await standing()).toEqual(ids.slice(2));
    await expectWhole();
  });

  test('deletes what no backup needs, and not before two graces have passed', async () => {
    const { repository, prune, expectWhole, run } = await setUp(3);
    await prune({ keepLast: 1 });
    const before = pathsIn(repository, '/objects/').length;
    expect(await prune({ keepLast: 1 })).toMatchObject({ objectsCondemned: 0, objectsDeleted: 0 });
    await age(repository, 49);
    // Of the backups that are gone: two objects and a pack. The first pack has files that did not change.
    expect(await prune({ keepLast: 1, dryRun: true })).toMatchObject({
      objectsCondemned: 3,
      objectsDeleted: 0,
    });
    expect(await prune({ keepLast: 1 })).toMatchObject({ objectsCondemned: 3, objectsDeleted: 0 });
    expect(await prune({ keepLast: 1 })).toMatchObject({ objectsCondemned: 0, objectsDeleted: 0 });
    expect(pathsIn(repository, '/objects/')).toHaveLength(before);
    await age(repository, 49);
    expect(await prune({ keepLast: 1 })).toMatchObject({ objectsCondemned: 0, objectsDeleted: 3 });
    expect(pathsIn(repository, '/objects/')).toHaveLength(before - 2);
    expect(pathsIn(repository, '/condemned/')).not.toEqual([]);
    await age(repository, 49);
    await prune({ keepLast: 1 });
    expect(pathsIn(repository, '/condemned/')).toEqual([]);
    await run();
    await expectWhole();
  });

  test('leaves pinned backups, until they are unpinned', async () => {
    const { repository, ids, prune, standing } = await setUp(3);
    await pinBackup(ids[0]!, { from: repository });
    expect((await listBackups({ from: repository })).stores[0]!.backups.map(({ pinned }) => pinned)).toEqual([
      true,
      false,
      false,
    ]);
    await prune({ keepLast: 1 });
    expect(await standing()).toEqual([ids[0], ids[2]]);
    await unpinBackup(ids[0]!, { from: repository });
    await prune({ keepLast: 1 });
    expect(await standing()).toEqual([ids[2]]);
    await expect(pinBackup(ids[1]!, { from: repository })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(pathsIn(repository, '/pinned/')).toEqual([]);
  });

  test('never removes the newest good backup in favour of damaged ones', async () => {
    const { repository, ids, run, prune, standing } = await setUp(1);
    await run();
    const object = pathsIn(repository, `/backups/${ids[1]}/small-`)[0]!;
    const content = readFileSync(object);
    writeFileSync(object, content.fill(1, 0, 1));
    expect(await verifyBackup('latest', { from: repository })).toMatchObject({ ok: false });
    const { kept } = await prune({ keepLast: 1 });
    expect(await standing()).toEqual(ids);
    expect(kept[0]).toEqual({ backupId: ids[0], reasons: ['newest good', 'last 1'] });
    await run(); // uploads the damaged data again
    await prune({ keepLast: 1 });
    expect(await standing()).toEqual([ids[2]]);
    expect(await verifyBackup('latest', { from: repository, level: 'full' })).toMatchObject({ ok: true });
  });

  test('keeps the newest one that was read and whole, and a listing tells when that was', async () => {
    const { repository, ids, run, prune, standing } = await setUp(1);
    const beganMs = Date.now();
    await verifyBackup('latest', { from: repository });
    await run();
    await prune({ keepLast: 1 });
    expect(await standing()).toEqual(ids);
    const [first, second] = (await listBackups({ from: repository })).stores[0]!.backups;
    expect(first!.verifiedAtMs).toBeGreaterThanOrEqual(beganMs);
    expect(second!.verifiedAtMs).toBeNull();
    await verifyBackup('latest', { from: repository, level: 'manifest' });
    await prune({ keepLast: 1 });
    expect(await standing()).toEqual(ids); // no byte of it was read
  });

  test.each([
    ['cannot be read', (path: string) => writeFileSync(path, 'nonsense')],
    ['is gone without a word', (path: string) => rmSync(path)],
  ])('deletes no data when a backup %s', async (_, damage) => {
    const { repository, ids, prune } = await setUp(3);
    await prune({ keepLast: 2 });
    damage(pathsIn(repository, `${ids[1]}/manifest`)[0]!);
    await age(repository, 49);
    const { notSwept, objectsCondemned } = await prune({ keepLast: 2 });
    expect(notSwept).toContain(ids[1]);
    expect(objectsCondemned).toBe(0);
    await deleteBackup(ids[1]!, { from: repository });
    await age(repository, 49);
    expect(await prune({ keepLast: 2 })).toMatchObject({ notSwept: null, objectsCondemned: 3 });
  });

  test('removes nothing in favour of a newest one whose objects are not there', async () => {
    const { repository, ids, prune, standing } = await setUp(3);
    // As a writer leaves it that slept for days before it published, and has not looked at its objects since.
    rmSync(pathsIn(repository, `/backups/${ids[2]}/small-`)[0]!);
    const said = await prune({ keepLast: 1, dryRun: true });
    const { kept, removed } = await prune({ keepLast: 1 });
    expect(removed).toEqual([ids[0]]);
    expect(said).toMatchObject({ kept, removed });
    expect(kept[0]).toEqual({ backupId: ids[1], reasons: ['newest good', 'last 1'] });
    expect(await standing()).toEqual(ids.slice(1));
    expect(await verifyBackup(ids[1]!, { from: repository, level: 'full' })).toMatchObject({ ok: true });
  });

  test('a rule that says nothing removes nothing', async () => {
    const { ids, prune, standing } = await setUp(2);
    expect(await prune()).toMatchObject({ removed: [] });
    expect(await standing()).toEqual(ids);
  });

  test('goes on with a removal that was begun', async () => {
    const { repository, ids, prune, standing } = await setUp(3);
    const mark = join(pathsIn(repository, 'store.json')[0]!, '..', 'deleted', ids[0]!);
    mkdirSync(join(mark, '..'), { recursive: true });
    writeFileSync(mark, '');
    await prune({ keepLast: 3 });
    expect(await standing()).toEqual(ids.slice(1));
  });

  test('nor one without which no backup is good by now', async () => {
    const { repository, dataDir, ids, prune, standing } = await setUp(2);
    const mark = join(pathsIn(repository, 'store.json')[0]!, '..', 'deleted', ids[0]!);
    const begin = () => {
      mkdirSync(join(mark, '..'), { recursive: true });
      writeFileSync(mark, '');
    };
    begin();
    rmSync(pathsIn(repository, `/backups/${ids[1]}/small-`)[0]!);
    expect(await prune({ keepLast: 1, dryRun: true })).toMatchObject({ removed: [] });
    expect(existsSync(mark)).toBe(true);
    expect(await prune({ keepLast: 1 })).toMatchObject({ removed: [] });
    expect(existsSync(mark)).toBe(false);
    begin();
    expect(await reconcileBackups(dataDir, { from: repository })).toMatchObject({ forgotten: [] });
    expect(existsSync(mark)).toBe(false);
    expect(await standing()).toEqual(ids);
  });

  test('removes nothing for damage that was gone when all was read again', async () => {
    const { repository, ids, run, prune, standing } = await setUp(2);
    const [object] = pathsIn(repository, `/backups/${ids[0]}/small-`);
    renameSync(object!, `${repository}-away`);
    expect(await verifyBackup(ids[0]!, { from: repository })).toMatchObject({ ok: false });
    await run();
    const rule = { keepLast: 10, dryRun: true };
    expect(await prune(rule)).toMatchObject({ removed: ids.slice(0, 2) }); // both need it
    renameSync(`${repository}-away`, object!);
    await age(repository, 1); // the damage was found before
    expect(await verifyAllBackups({ from: repository })).toMatchObject({ ok: true });
    expect(await prune({ ...rule, dryRun: false })).toMatchObject({ removed: [] });
    expect(await standing()).toEqual(ids);
  });

  test('deletes no data that a backup on record needs which is away for a while', async () => {
    const { repository, dataDir, ids } = await setUp(2);
    const prune = () => pruneBackups({ from: repository, dataDir, keepLast: 5 });
    const [manifest] = pathsIn(repository, `${ids[1]}/manifest`);
    renameSync(manifest!, `${repository}-away`);
    for (let i = 0; i < 3; i++) {
      await age(repository, 49);
      const { notSwept } = await prune(); // its record says that it is lost after the first one
      expect(notSwept).toContain(ids[1]);
    }
    renameSync(`${repository}-away`, manifest!);
    expect(await verifyBackup(ids[1]!, { from: repository })).toMatchObject({ ok: true });
    expect(await prune()).toMatchObject({ notSwept: null });
  });

  test('after a backup keeps its records in step; a failure of it is a warning', async () => {
    const { repository, dataDir, ids, run, standing } = await setUp(2);
    const { pruned, warnings } = await run({ retention: { keepLast: 1 } });
    expect(pruned).toMatchObject({ removed: ids.slice(0, 2) });
    expect(warnings.filter((warning) => warning.includes('pruned'))).toEqual([]);
    expect(await standing()).toEqual([ids[2]]);
    const none = { adopted: [], lost: [], forgotten: [] };
    expect(await reconcileBackups(dataDir, { from: repository })).toMatchObject(none);
  });
});

test('a backup whose prune deletes no data says so', async () => {
  const { repository, ids, run } = await setUp(2);
  writeFileSync(pathsIn(repository, `${ids[0]}/manifest`)[0]!, 'nonsense');
  const { warnings } = await run({ retention: { keepLast: 1 } });
  expect(warnings).toContainEqual(
    expect.stringMatching(new RegExp(`no data of removed backups was deleted: .*${ids[0]}`)),
  );
});

describe('reconcile', () => {
  test('takes lost, deleted and unknown backups as what they are', async () => {
    const { repository, dataDir, ids, run, prune } = await setUp(2);
    await prune({ keepLast: 1 });
    await run();
    rmSync(pathsIn(repository, `${ids[1]}/manifest`)[0]!);
    rmSync(join(dataDir, '.lifecycle', 'jobs.sqlite'));
    const adopted = await reconcileBackups(dataDir, { from: repository });
    expect(adopted).toMatchObject({ adopted: [ids[2]], lost: [], forgotten: [] });
    await run();
    rmSync(pathsIn(repository, `${ids[2]}/manifest`)[0]!);
    const found = await reconcileBackups(dataDir, { from: repository });
    expect(found).toMatchObject({ adopted: [], lost: [ids[2]], forgotten: [] });
    await deleteBackup(ids[2]!, { from: repository });
    expect(await reconcileBackups(dataDir, { from: repository })).toMatchObject({ forgotten: [ids[2]] });
  });
});

describe('reconcile, after a removal that was cut off', () => {
  const begin = async (isPinned: boolean) => {
    const { repository, dataDir, ids, standing } = await setUp(2);
    const store = join(pathsIn(repository, 'store.json')[0]!, '..');
    for (const mark of ['deleted', ...(isPinned ? ['pinned'] : [])]) {
      mkdirSync(join(store, mark), { recursive: true });
      writeFileSync(join(store, mark, ids[0]!), '');
    }
    const found = await reconcileBackups(dataDir, { from: repository });
    return { found, ids, standing: await standing() };
  };

  test('brings it to its end', async () => {
    const { found, ids, standing } = await begin(false);
    expect(found).toMatchObject({ adopted: [], lost: [], forgotten: [ids[0]] });
    expect(standing).toEqual([ids[1]]);
  });

  test('leaves a backup that was pinned meanwhile', async () => {
    const { found, ids, standing } = await begin(true);
    expect(found).toMatchObject({ adopted: [], lost: [], forgotten: [] });
    expect(standing).toEqual(ids);
  });
});

describe('a backup is deleted by its id', () => {
  test('unless it is pinned, the newest, or the newest that is good or verified', async () => {
    const { repository, ids, standing } = await setUp(3);
    const from = { from: repository };
    await pinBackup(ids[0]!, from);
    for (const id of [ids[0]!, ids[2]!, 'latest'])
      await expect(deleteBackup(id, from)).rejects.toMatchObject({ code: 'CONFLICT' });
    expect(await deleteBackup(ids[1]!, from)).toMatchObject({ backupId: ids[1], existed: true });
    expect(await deleteBackup(ids[1]!, from)).toMatchObject({ existed: false });
    expect(await standing()).toEqual([ids[0], ids[2]]);
    await expect(deleteBackup('nonsense', from)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('a drill', () => {
  test('restores, proves and opens a backup, and leaves nothing behind', async () => {
    const repository = join(await temporaryFolder(), 'repository');
    await initRepository(repository);
    const dataDir = await writeFolder(join(await temporaryFolder(), 'db'), (db) => fill(db, 700));
    await backUp(dataDir, { to: repository });
    const scratch = await temporaryFolder();
    const drill = await drillBackup('latest', { from: repository, scratch });
    expect(drill).toMatchObject({ verdict: 'faithful', probe: { keys: 700 } });
    expect(drill.restoreMs).toBeGreaterThan(0);
    expect(readTree(scratch)).toEqual({});
    expect((await listBackups({ from: repository })).stores[0]!.backups[0]!.verifiedAtMs).not.toBeNull();
    const seen: string[] = [];
    await drillBackup('latest', { from: repository, scratch, probe: (dir) => seen.push(dir) });
    expect(seen).toHaveLength(1);
  });

  test('fails when the database cannot be opened, and does not count as a verification', async () => {
    const { repository } = await setUp(1);
    const cannot = new Error('cannot open it');
    const probe = () => {
      throw cannot;
    };
    await expect(drillBackup('latest', { from: repository, probe })).rejects.toMatchObject({ cause: cannot });
    const listed = async () => (await listBackups({ from: repository })).stores[0]!.backups[0]!;
    expect(await listed()).toMatchObject({ verifiedAtMs: null, damaged: false });
    const damaged = () => {
      throw new StillpointError('COPY_DAMAGED', 'it is damaged');
    };
    await expect(drillBackup('latest', { from: repository, probe: damaged })).rejects.toThrow(
      'it is damaged',
    );
    expect(await listed()).toMatchObject({ verifiedAtMs: null, damaged: false });
  });
});
