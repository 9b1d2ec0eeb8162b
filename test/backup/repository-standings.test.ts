import { chmodSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { drillBackup } from '../../src/backup/drill-backup.ts';
import { openJobs } from '../../src/backup/jobs/open-jobs.ts';
import { listJobs } from '../../src/backup/list-jobs.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { offsiteStanding, repositoryStandings } from '../../src/backup/repository-standings.ts';
import { wholeStatus } from '../../src/backup/status-advice.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { hintOf } from '../../src/errors.ts';
import { BackupCoordinator, Lifecycle, Snapshots } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { stillpoint } from '../support/command.ts';
import { entriesBelow, plainDirectory } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

async function setUp() {
  const root = await temporaryFolder();
  const [near, far] = [join(root, 'near'), join(root, 'far')];
  const { repositoryId } = await initRepository(near);
  const dataDir = await plainDirectory();
  const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
  const run = (to: string) => backUp(dataDir, { to, coordinator });
  return { near, far, repositoryId, dataDir, run };
}

test('each repository with its newest backup, and of each kind of attempt the last one if it failed', async () => {
  const { near, far, repositoryId, dataDir, run } = await setUp();
  expect(await repositoryStandings(dataDir)).toEqual([]);
  const { backupId } = await run(near);
  const fresh = {
    repositoryId,
    repositoryUrl: `folder:${near}`,
    newestBackup: { backupId, createdAtMs: expect.any(Number) },
    lastVerified: null,
    lastDrill: null,
    failing: [],
  };
  expect(await repositoryStandings(dataDir)).toEqual([{ ...fresh, sharesDisk: true }]);

  // Its disk is not mounted: the repository is not open, and is known by where it should be.
  renameSync(near, far);
  await expect(run(near)).rejects.toMatchObject({ code: 'DESTINATION_NOT_FOUND' });
  const gone = { kind: 'backup', code: 'DESTINATION_NOT_FOUND', atMs: expect.any(Number) };
  const [failing] = await repositoryStandings(dataDir);
  expect(failing).toMatchObject({ ...fresh, sharesDisk: false, failing: [gone] });
  const { notesAt } = await offsiteStanding(dataDir, {});
  expect(notesAt(failing!.failing[0]!.atMs + 60_000)).toEqual([
    `the last backup to folder:${near} failed 1 min ago (DESTINATION_NOT_FOUND)`,
  ]);

  // The same repository elsewhere is the same one.
  const { backupId: second } = await run(far);
  await drillBackup('latest', { from: far, dataDir });
  const moved = { ...fresh, repositoryUrl: `folder:${far}`, newestBackup: { backupId: second } };
  expect(await repositoryStandings(dataDir)).toMatchObject([
    { ...moved, lastVerified: { backupId: second }, lastDrill: { tookMs: expect.any(Number) } },
  ]);

  // A verification that found damage stays known until one goes well; a cancelled one says nothing.
  const [object] = entriesBelow(far).filter((entry) => entry.isFile() && entry.name.startsWith('small-'));
  writeFileSync(join(object!.parentPath, object!.name), 'damaged');
  const { lastVerified } = (await repositoryStandings(dataDir))[0]!;
  await verifyBackup('latest', { from: far, dataDir });
  const cancelled = verifyBackup('latest', { from: far, dataDir, signal: AbortSignal.abort() });
  await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' });
  expect((await repositoryStandings(dataDir))[0]!).toMatchObject({
    lastVerified,
    failing: [{ kind: 'verify', code: 'BACKUP_DAMAGED' }],
  });
});

test('status tells of backups that fail, where the newest lies, and how to come back by it', async () => {
  const { near, dataDir, run } = await setUp();
  const { backupId } = await run(near);
  rmSync(layoutOf(dataDir).backup, { recursive: true });
  const alone = await stillpoint(['status', dataDir]);
  expect(alone.code).toBe(3);
  expect(alone.stdout).toContain(backupId);
  expect(alone.stdout).toContain(`stillpoint backup restore latest --from folder:${near} --into NEW\n`);

  // What was read back is said of that backup, not of the newest.
  const text = async () => (await stillpoint(['status', dataDir])).stdout.replaceAll(/\n +/g, ' ');
  expect(await text()).toContain('on the disk of the data: if that fails, both are lost');
  expect(await text()).toContain('last read back: not on record here');
  const { backupId: newest } = await run(near);
  await verifyBackup(backupId, { from: near, dataDir });
  expect(await text()).toContain(`last read back: ${backupId}, `);
  await verifyBackup(newest, { from: near, dataDir });
  expect(await text()).toContain('last read back: this one, ');

  renameSync(near, `${near}-unmounted`);
  await expect(run(near)).rejects.toMatchObject({ code: 'DESTINATION_NOT_FOUND' });
  const { code, json } = await stillpoint(['status', dataDir, '--json']);
  expect({ code, safe: json.safe }).toEqual({ code: 3, safe: true }); // the snapshot beside the database is good
  expect(json.summary).toMatch(
    /^Safe: .*; the last backup to folder:.* failed .* ago \(DESTINATION_NOT_FOUND\)\.$/,
  );
  const hint = 'Backups in it are on record: mount its disk, or bring the folder back.';
  expect(json.repositories).toMatchObject([
    { failing: [{ code: 'DESTINATION_NOT_FOUND', hint }], newest_backup: {}, shares_disk: false },
  ]);
  expect(json.failing).toMatchObject([{ kind: 'backup', repository_url: `folder:${near}`, hint }]);
  const advice = { what: 'failed backup', lines: [`folder:${near}: ${hint}`], solves: true };
  expect(json.advice).toContainEqual(advice);
  expect(await text()).toMatch(/^failed backup +folder:.*: Backups in it are on record: mount its disk/m);
  const later = Date.now() + 32 * 24 * 3_600_000;
  const offsite = await offsiteStanding(dataDir, {});
  const local = await new Snapshots({ dataDir }).status();
  expect(wholeStatus(local, offsite, dataDir, later)).toMatchObject({ failing: [] }); // given up

  renameSync(`${near}-unmounted`, near);
  await run(near);
  const mended = await stillpoint(['status', dataDir, '--json']);
  expect(mended).toMatchObject({ code: 0, json: { failing: [] } });
});

test('a failed attempt is on record with what to do about it, and a job of an earlier version, too', async () => {
  const { near, dataDir, run } = await setUp();
  await run(near);
  rmSync(near, { recursive: true });
  mkdirSync(near);
  await expect(run(near)).rejects.toMatchObject({ code: 'DESTINATION_NOT_FOUND' });
  const [job] = (await listJobs(dataDir)).jobs;
  expect(job!.errorHint).toBe('Check that its disk is mounted. To make one: `stillpoint repo init DEST`.');
  expect((await stillpoint(['jobs', 'show', dataDir, job!.id])).stdout).toContain(`hint: ${job!.errorHint}`);
  const store = await openJobs(systemEnvironment, layoutOf(dataDir), undefined);
  const old = { ...job!, id: newUlid(Date.now()), errorHint: null, status: 'running' as const };
  await store.createBackupJob(old);
  expect((await store.getJob(old.id))!.errorHint).toBe(hintOf('DESTINATION_NOT_FOUND'));
  await store.close();
});

test('a mistyped repository is settled by a backup into the right one', async () => {
  const { near, far, dataDir, run } = await setUp();
  expect((await stillpoint(['snapshot', dataDir, '--engine', 'files'])).code).toBe(0);
  await expect(run(`${near}x`)).rejects.toMatchObject({ code: 'DESTINATION_NOT_FOUND' });
  expect((await stillpoint(['status', dataDir])).code).toBe(3);
  await initRepository(far);
  await run(far);
  expect((await stillpoint(['status', dataDir])).code).toBe(0);
});

test('where the jobs cannot be read, status says so and tells the rest', async () => {
  const { near, dataDir, run } = await setUp();
  await run(near);
  const file = join(layoutOf(dataDir).lifecycle, 'jobs.sqlite');
  writeFileSync(file, 'no database '.repeat(1000));
  chmodSync(file, 0o600);
  const { code, json } = await stillpoint(['status', dataDir, '--json']);
  expect(code).toBe(0);
  expect(json.repositories).toBeNull();
  expect(json.summary).toMatch(/^Safe: .*; what was backed up elsewhere cannot be told: .*\.$/);
});

test('a backup that a clock dated into the time to come hides no failure after it', async () => {
  const { near, dataDir, run } = await setUp();
  const clock = { ...systemEnvironment.clock, nowMs: () => Date.now() + 3_600_000 };
  const lifecycle = new Lifecycle({ dataDir, environment: { ...systemEnvironment, clock } });
  const ahead = new BackupCoordinator({ dataDir, engine: 'files', lifecycle });
  await backUp(dataDir, { to: near, coordinator: ahead });
  renameSync(near, `${near}-unmounted`);
  await expect(run(near)).rejects.toMatchObject({ code: 'DESTINATION_NOT_FOUND' });
  expect((await repositoryStandings(dataDir))[0]!.failing).toMatchObject([{ kind: 'backup' }]);
});

test('a first backup into a repository that is not there is told by status where there is a snapshot', async () => {
  const { far, dataDir, run } = await setUp();
  const code = 'DESTINATION_NOT_FOUND';
  expect((await stillpoint(['snapshot', dataDir, '--engine', 'files'])).code).toBe(0);
  await expect(run(far)).rejects.toMatchObject({ code });
  const { json } = await stillpoint(['status', dataDir, '--json']);
  expect(json.summary).toMatch(
    /^Safe: .*; the last backup to folder:.*far failed .* ago \(DESTINATION_NOT_FOUND\)\.$/,
  );
  expect(json.repositories).toMatchObject([{ repository_id: null, failing: [{ kind: 'backup', code }] }]);

  await initRepository(far);
  const { repositoryId } = await run(far);
  expect(await repositoryStandings(dataDir)).toMatchObject([{ repositoryId, failing: [] }]);
});
