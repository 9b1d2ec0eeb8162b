import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openSqliteJobStore } from '../../src/backup/jobs/sqlite-job-store.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { listJobs } from '../../src/backup/list-jobs.ts';
import { initRepository, showRepository } from '../../src/backup/repositories.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { chanceFrom } from '../support/chance.ts';
import { COMMAND } from '../support/command.ts';
import { readTree, writeTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier, SEED } from '../support/tier.ts';

const KILLS = perTier(3, 300);

const FORMS = perTier(['encrypted'], ['in clear', 'encrypted']);

test.each(FORMS)(
  `${KILLS} kills of a process that backs up, %s: no record without a backup, and no job stays running`,
  async (form) => {
    const repository = join(await temporaryFolder(), 'repository');
    const dataDir = join(await temporaryFolder(), 'data');
    const change = (generation: number) =>
      writeTree(dataDir, {
        large: randomBytes(3_000_000),
        [`table-${generation % 5}`]: randomBytes(400_000),
        small: `${generation}`,
      });
    change(0);
    const keyFile = join(await temporaryFolder(), 'key');
    const sealing = form === 'encrypted' ? { encryption: { keyFile } } : {};
    await initRepository(repository, sealing);
    const { repositoryId } = await showRepository(repository, sealing);
    const from = { from: repository, ...sealing };
    const command = [
      ...COMMAND,
      'backup',
      'run',
      dataDir,
      '--to',
      repository,
      '--engine',
      'files',
      '--keep',
      '1',
      ...(form === 'encrypted' ? ['--key-file', keyFile] : []),
    ];
    const start = () => {
      const child = spawn(command[0]!, command.slice(1), { stdio: 'ignore' });
      onTestFinished(() => void child.kill('SIGKILL'));
      return child;
    };
    const began = performance.now();
    await once(start(), 'exit');
    const wholeMs = performance.now() - began;
    const random = chanceFrom(SEED);
    let survived = 0;
    for (let kill = 1; kill <= KILLS; kill++) {
      change(kill);
      const child = start();
      const ended = once(child, 'exit');
      const timer = setTimeout(() => child.kill('SIGKILL'), wholeMs * (0.3 + 0.8 * random()));
      const [code] = await ended;
      clearTimeout(timer);
      if (code === 0) survived++;
      const { jobs } = await listJobs(dataDir);
      expect(jobs.filter(({ status }) => status === 'running')).toEqual([]);
      const backups = (await listBackups(from)).stores.flatMap((store) => store.backups);
      expect(backups.filter(({ problem }) => problem !== null)).toEqual([]);
      const ids = new Set(backups.map(({ backupId }) => backupId));
      const store = await openSqliteJobStore(systemEnvironment, layoutOf(dataDir));
      for (const record of await store.listRecords(repositoryId)) expect(ids).toContain(record.id);
      await store.close();
      for (const { backupRecordId, status } of jobs)
        if (status === 'succeeded') expect(ids).toContain(backupRecordId);
    }
    writeFileSync(join(dataDir, 'small'), 'the last');
    const [code] = await once(start(), 'exit');
    expect(code).toBe(0);
    const backups = (await listBackups(from)).stores.flatMap((store) => store.backups);
    for (const { backupId } of backups)
      expect(await verifyBackup(backupId, from)).toMatchObject({ ok: true });
    const into = join(await temporaryFolder(), 'out');
    await restoreBackup('latest', { ...from, into });
    expect(readTree(into)).toEqual(readTree(dataDir));
    console.log(
      `${KILLS} kills, ${form}: ${survived} ended before theirs; ${backups.length} backups stand, each whole`,
    );
  },
);
