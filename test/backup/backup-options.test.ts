import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { cancelJob, listJobs } from '../../src/backup/list-jobs.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import type { Destination } from '../../src/destination/destination.ts';
import { openDestination } from '../../src/destination/open.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { bound } from '../support/bound-destination.ts';
import { outcomeOf, startProcess, stillpoint } from '../support/command.ts';
import { plainDirectory, readTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

const newRepository = async (): Promise<string> => {
  const folder = join(await temporaryFolder(), 'repository');
  await initRepository(folder);
  return folder;
};

const backUpFiles = (dataDir: string, to: string | Destination, options: object = {}) =>
  backUp(dataDir, { to, coordinator: new BackupCoordinator({ dataDir, engine: 'files' }), ...options });

const backupsIn = async (from: string) =>
  (await listBackups({ from })).stores.flatMap(({ backups }) => backups);

describe('a backup that is read back', () => {
  test('does not come into existence when the destination holds other bytes; the next run sends them anew', async () => {
    const folder = await newRepository();
    const dataDir = await plainDirectory();
    const inner = await openDestination(folder);
    const spoiling: Destination = {
      ...bound(inner),
      async put(key, body, options) {
        if (!key.includes('/objects/')) return inner.put(key, body, options);
        const parts: Buffer[] = [];
        for await (const part of body.open()) parts.push(Buffer.from(part));
        const bytes = Buffer.concat(parts);
        bytes[1000]! ^= 1;
        return inner.put(key, { sizeBytes: bytes.byteLength, open: () => [bytes] }, options);
      },
    };
    await expect(backUpFiles(dataDir, spoiling, { readBack: true })).rejects.toMatchObject({
      code: 'BACKUP_DAMAGED',
      message: expect.stringContaining('read back'),
    });
    expect(await backupsIn(folder)).toEqual([]);
    expect(await backUpFiles(dataDir, folder, { readBack: true })).toMatchObject({ readBack: true });
    const [backup] = await backupsIn(folder);
    expect(backup!.verifiedAtMs).not.toBeNull();
    expect(await verifyBackup('latest', { from: folder })).toMatchObject({ ok: true });
  });

  test('without it, such bytes are found by a verification only', async () => {
    const folder = await newRepository();
    const dataDir = await plainDirectory();
    expect(await backUpFiles(dataDir, folder)).toMatchObject({ readBack: false });
    expect((await backupsIn(folder))[0]!.verifiedAtMs).toBeNull();
  });
});

describe('limits of the bandwidth', () => {
  test('hold in both directions, and change nothing else', async () => {
    const folder = await newRepository();
    const dataDir = await plainDirectory({ large: randomBytes(600_000), small: 's' });
    const rate = 300_000;
    const uploadBegan = performance.now();
    await backUpFiles(dataDir, folder, { limitUpload: rate });
    expect(performance.now() - uploadBegan).toBeGreaterThan(1500);
    const into = join(await temporaryFolder(), 'out');
    const downloadBegan = performance.now();
    await restoreBackup('latest', { from: folder, into, limitDownload: rate });
    expect(performance.now() - downloadBegan).toBeGreaterThan(1500);
    expect(readTree(into)).toEqual(readTree(dataDir));
  });
});

describe('a job is cancelled by its id', () => {
  test('in whatever process it runs', async () => {
    const folder = await newRepository();
    const dataDir = await plainDirectory({ large: randomBytes(30_000_000) });
    const run = startProcess([
      'backup',
      'run',
      dataDir,
      '--to',
      folder,
      '--engine',
      'files',
      '--limit-upload',
      '64K',
      '--json',
    ]);
    const ended = outcomeOf(run);
    const running = async () => (await listJobs(dataDir, { status: 'running' })).jobs[0];
    let job = await running();
    while (job === undefined || job.progress < 10) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      job = await running();
    }
    expect((await stillpoint(['jobs', 'cancel', dataDir, job.id])).stdout).toContain('asked to end');
    const { code, json } = await ended;
    expect([code, json.error.code]).toEqual([130, 'CANCELLED']);
    expect((await listJobs(dataDir)).jobs).toMatchObject([
      { id: job.id, status: 'interrupted', errorCode: 'CANCELLED' },
    ]);
    expect(await backupsIn(folder)).toEqual([]);
    await expect(cancelJob(dataDir, job.id)).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(cancelJob(dataDir, 'nothing')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await backUpFiles(dataDir, folder)).toMatchObject({ state: 'succeeded' });
  });
});
