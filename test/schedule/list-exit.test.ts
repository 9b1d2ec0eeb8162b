import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openJobs } from '../../src/backup/jobs/open-jobs.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { newUlid } from '../../src/env/ulid.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { stillpoint } from '../support/command.ts';
import { plainDirectory } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

test('a plan whose last run failed is one to look at, though it is not overdue', async () => {
  const [dataDir, folder] = [await plainDirectory(), await temporaryFolder()];
  const repository = join(folder, 'repository');
  await initRepository(repository);
  const file = join(folder, 'stillpoint.json');
  writeFileSync(
    file,
    JSON.stringify({
      version: 1,
      stores: { data: { data_dir: dataDir, engine: 'files' } },
      repositories: { there: { destination: repository } },
      plans: { yearly: { store: 'data', repository: 'there', backup: '0 0 1 1 *' } },
    }),
  );
  const jobs = await openJobs(systemEnvironment, layoutOf(dataDir), undefined);
  const ran = async (status: 'succeeded' | 'failed', minutesAgo: number) => {
    const [id, dueMs] = [newUlid(Date.now()), Date.now() - minutesAgo * 60_000];
    const tick = {
      id,
      scheduleId: 'yearly/backup',
      dueMs,
      startedAtMs: dueMs,
      finishedAtMs: null,
      error: null,
    };
    expect(await jobs.claimTick({ ...tick, status: 'running' })).toBe(true);
    await jobs.endTick(id, status, status === 'failed' ? 'the disk is gone' : null);
  };
  await ran('succeeded', 3);
  expect(await stillpoint(['schedule', 'list', file])).toMatchObject({ code: 0 });
  await ran('failed', 2);
  const failed = await stillpoint(['schedule', 'list', file]);
  expect(failed).toMatchObject({ code: 3, stdout: expect.stringContaining('the disk is gone') });
  expect(failed.stdout).not.toContain('overdue');
  expect(failed.stdout).toContain('RESULT BY SCHEDULE');
  await ran('succeeded', 1);
  expect(await stillpoint(['schedule', 'list', file])).toMatchObject({ code: 0 });
  await jobs.close();
});

test('a data directory that is away hides no other plan, and counts as overdue', async () => {
  const [dataDir, folder] = [await plainDirectory(), await temporaryFolder()];
  const repository = join(folder, 'repository');
  await initRepository(repository);
  const file = join(folder, 'stillpoint.json');
  const plan = { repository: 'there', backup: '0 0 1 1 *' };
  writeFileSync(
    file,
    JSON.stringify({
      version: 1,
      stores: { away: { data_dir: join(folder, 'none') }, data: { data_dir: dataDir, engine: 'files' } },
      repositories: { there: { destination: repository } },
      plans: { first: { store: 'away', ...plan }, second: { store: 'data', ...plan } },
    }),
  );
  const { code, stdout } = await stillpoint(['schedule', 'list', file]);
  expect(code).toBe(3);
  expect(stdout).toMatch(/^first .*not known +overdue +.*none/m);
  expect(stdout).toMatch(/^second .*no service has run it\s*$/m);
});
