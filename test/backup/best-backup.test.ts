import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type BackUpOptions, backUp } from '../../src/backup/back-up.ts';
import { drillBackup } from '../../src/backup/drill-backup.ts';
import { deleteBackup } from '../../src/backup/keep-backups.ts';
import { showBackup } from '../../src/backup/list-backups.ts';
import { repositoryOf } from '../../src/backup/options.ts';
import { pruneBackups } from '../../src/backup/prune-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { repositoryStandings } from '../../src/backup/repository-standings.ts';
import { openBackup, restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { bodyOf } from '../../src/destination/destination.ts';
import { systemClock } from '../../src/env/clock.ts';
import { Lifecycle, RestoreCoordinator } from '../../src/index.ts';
import { recordReading } from '../../src/repository/marks.ts';
import { type Environment, systemEnvironment } from '../../src/snapshot/environment.ts';
import { fill, namesOf, writeFolder } from '../support/leveldb-folders.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

/** A machine whose clock is ahead. */
const at = (aheadMs: number): Environment => {
  const nowMs = () => systemClock.nowMs() + aheadMs;
  return { ...systemEnvironment, clock: { ...systemClock, nowMs } };
};

const onlyStore = async (from: string, environment = systemEnvironment) =>
  (await repositoryOf(environment, from, {})).findStore(undefined);

/** A fully proven backup; then a bit of a table flips, which no proof of a lesser level sees. */
async function setUp() {
  const root = await temporaryFolder();
  const from = join(root, 'repository');
  await initRepository(from);
  const dataDir = await writeFolder(join(root, 'db'), (db) => fill(db, 700), { writeBufferSize: 65_536 });
  await writeFolder(dataDir, (db) => fill(db, 1)); // what was in the log is in a table now
  const run = (options: Partial<BackUpOptions> = {}) =>
    backUp(dataDir, { to: from, local: false, ...options });
  const lesser = (options: Partial<BackUpOptions> = {}) =>
    run({ snapshotOptions: { level: 'files' }, ...options });
  const good = (await run()).backupId;
  const [name] = await namesOf(dataDir, /\.ldb$/);
  const table = join(dataDir, name!);
  const flip = () => {
    const bytes = readFileSync(table);
    bytes[bytes.byteLength >> 2]! ^= 1;
    writeFileSync(table, bytes);
  };
  flip();
  const isDamaged = async (id: string) => (await showBackup(id, { from })).damaged;
  return { root, from, dataDir, run, lesser, good, flip, isDamaged };
}

describe('the best backup', () => {
  test('is not removed in favour of a newer one of a lesser proof', async () => {
    const { from, lesser, good } = await setUp();
    const { backupId, pruned } = await lesser({ retention: { keepLast: 1 } });
    expect(pruned?.kept).toEqual([
      { backupId: good, reasons: ['newest proven at level full'] },
      { backupId, reasons: ['newest', 'newest good', 'last 1'] },
    ]);
    expect(await showBackup(good, { from })).toMatchObject({ level: 'full', damaged: false });
    expect(await showBackup(backupId, { from })).toMatchObject({ level: 'files', damaged: false });
    const dry = await pruneBackups({ from, keepLast: 1, dryRun: true });
    expect(dry).toMatchObject({ removed: [], kept: pruned!.kept });
    await expect(deleteBackup(good, { from })).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  test('may go once a newer one was proven as deeply by a drill', async () => {
    const { from, flip, lesser, good } = await setUp();
    flip(); // and it is whole again
    const { backupId } = await lesser();
    await drillBackup(backupId, { from });
    expect(await showBackup(backupId, { from })).toMatchObject({ level: 'full' });
    expect((await pruneBackups({ from, keepLast: 1 })).removed).toEqual([good]);
  });
});

describe('content that is damaged in a backup is on record once it was seen', () => {
  type World = Awaited<ReturnType<typeof setUp>>;
  type Read = [string, (world: World, backup: string) => Promise<unknown>];
  const reads: Read[] = [
    ['by a drill', ({ from }, id) => drillBackup(id, { from })],
    [
      'by a restore in place',
      async ({ from, dataDir }, id) => {
        const { source } = await openBackup(id, { from, dataDir });
        const lifecycle = new Lifecycle({ dataDir });
        const host = { close: async () => {}, open: async () => {} };
        const restore = new RestoreCoordinator({ dataDir, lifecycle, ...host });
        await restore.restore({ source: async () => source });
      },
    ],
    ['by a verification', ({ from }, id) => verifyBackup(id, { from, level: 'full' })],
    ['by a restore', ({ from, root }, id) => restoreBackup(id, { from, into: join(root, 'into') })],
  ];
  test.each(perTier(reads.slice(0, 2), reads))('%s', async (_, read) => {
    const world = await setUp();
    const { from, dataDir, lesser, good, isDamaged } = world;
    const { backupId } = await lesser();
    const hint = expect.stringContaining(`stillpoint backup restore ${good}`);
    await expect(read(world, backupId)).rejects.toMatchObject({ code: 'RESTORE_INTEGRITY_MISMATCH', hint });
    expect(await isDamaged(backupId)).toBe(true);
    await verifyBackup(backupId, { from, dataDir }); // its objects are whole, and its content is not read
    expect(await isDamaged(backupId)).toBe(true);
    expect((await pruneBackups({ from, keepLast: 1 })).kept).toContainEqual({
      backupId: good,
      reasons: ['newest good', 'last 1'],
    });
  });

  test('until it is proven in full', async () => {
    const { from, isDamaged, good } = await setUp();
    const store = (await showBackup(good, { from })).storeId;
    const marks = join(from, 'stores', store, 'verified', good);
    mkdirSync(marks, { recursive: true });
    writeFileSync(join(marks, `damaged-${String(Date.now() - 1).padStart(15, '0')}`), '\n');
    expect(await isDamaged(good)).toBe(true);
    await drillBackup(good, { from });
    expect(await isDamaged(good)).toBe(false);
  });

  test('whatever the clock of the machine that found it, or of one that read it before', async () => {
    const { from, lesser, flip, good, isDamaged } = await setUp();
    const ahead = at(DAY_MS);
    flip(); // whole again
    const { backupId } = await lesser();
    await drillBackup(backupId, { from, environment: ahead });
    await recordReading(await onlyStore(from), backupId, 'damaged');
    expect(await isDamaged(backupId)).toBe(true);
    expect((await pruneBackups({ from, keepLast: 1, dryRun: true })).removed).toEqual([]);

    await recordReading(await onlyStore(from, ahead), good, 'damaged');
    expect(await isDamaged(good)).toBe(true);
    await drillBackup(good, { from });
    expect(await isDamaged(good)).toBe(false);
  });

  test('of an earlier version, whose marks have no id, by their times', async () => {
    const { from, good, run, isDamaged } = await setUp();
    const { backupId: other } = await run({ snapshotOptions: { level: 'files' } });
    const { destination, storeId } = await onlyStore(from);
    const mark = (id: string, level: string, second: number) =>
      destination.put(
        `stores/${storeId}/verified/${id}/${level}-${String(1_700_000_000_000 + second * 1000).padStart(15, '0')}`,
        bodyOf(Buffer.from('\n')),
        { ifAbsent: true },
      );
    await mark(good, 'damaged', 1);
    await mark(good, 'full', 2);
    await mark(other, 'full', 1);
    await mark(other, 'damaged', 2);
    expect([await isDamaged(good), await isDamaged(other)]).toEqual([false, true]);
    await recordReading(await onlyStore(from), good, 'damaged');
    expect(await isDamaged(good)).toBe(true);
  });

  test('by a reading that ends while a full proof is under way: that proof cannot tell which was first', async () => {
    const { from, good, isDamaged } = await setUp();
    const store = await onlyStore(from);
    await drillBackup(good, { from, probe: () => recordReading(store, good, 'damaged') });
    expect(await isDamaged(good)).toBe(true);
    await verifyBackup(good, { from, level: 'full' });
    expect(await isDamaged(good)).toBe(false);
  });

  test('and the status of the directory counts it no more', async () => {
    const { from, dataDir, lesser, good } = await setUp();
    const { backupId } = await lesser();
    expect(await repositoryStandings(dataDir)).toMatchObject([{ newestBackup: { backupId } }]);
    await expect(drillBackup('latest', { from, dataDir })).rejects.toThrow('cannot be restored');
    expect(await repositoryStandings(dataDir)).toMatchObject([{ newestBackup: { backupId: good } }]);
  });
});
