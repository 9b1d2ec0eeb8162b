import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { backUp } from '../../src/backup/back-up.ts';
import { listBackups } from '../../src/backup/list-backups.ts';
import { listJobs } from '../../src/backup/list-jobs.ts';
import { type PruneBackupsResult, pruneBackups } from '../../src/backup/prune-backups.ts';
import { initRepository } from '../../src/backup/repositories.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { verifyBackup } from '../../src/backup/verify-backup.ts';
import { openDestination } from '../../src/destination/open.ts';
import { StillpointError } from '../../src/errors.ts';
import { BackupCoordinator } from '../../src/index.ts';
import { aged } from '../support/aged-destination.ts';
import { FAULTS, type Fault, startFaultProxy } from '../support/fault-proxy.ts';
import { readTree, writeTree } from '../support/folders.ts';
import { describeWithRight } from '../support/needs.ts';
import { hasS3, newS3Place } from '../support/s3.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

/** Of the requests of a run, every so many-th is spoiled. */
const STEP = perTier(97, 1);
/** A prune asks for more. */
const PRUNE_STEP = perTier(131, 1);
const RESTORE_STEP = perTier(9, 1);

type Form = 'in clear' | 'encrypted';
/** Each fault meets both forms in the long tier, one in the quick one. */
const MEETINGS: readonly (readonly [Fault, Form])[] = perTier(
  [
    ['cut after the server', 'in clear'],
    ['a wrong byte', 'encrypted'],
  ],
  FAULTS.flatMap((fault) => [[fault, 'in clear'] as const, [fault, 'encrypted'] as const]),
);

/** A data directory with a repository in a bucket, reached directly and through the proxy. */
async function stage(form: Form) {
  const proxy = await startFaultProxy(process.env.S3_ENDPOINT!);
  onTestFinished(() => proxy.close());
  const direct = await newS3Place();
  const spoiled = direct.replace(process.env.S3_ENDPOINT!, proxy.endpoint);
  const dataDir = join(await temporaryFolder(), 'data');
  writeTree(dataDir, {
    large: randomBytes(9_000_000), // what shrinks would go in one part
    middle: randomBytes(300_000),
    small: 's',
  });
  const keyFile = join(await temporaryFolder(), 'key');
  const sealing = form === 'encrypted' ? { encryption: { keyFile } } : {};
  await initRepository(direct, sealing);
  const coordinator = new BackupCoordinator({ dataDir, engine: 'files', defaults: { keep: 2 } });
  return { proxy, direct, spoiled, dataDir, coordinator, sealing };
}

/** An error that says what to do, and no other. */
function expectClear(error: unknown, about: string): void {
  expect(error, about).toBeInstanceOf(StillpointError);
  expect((error as StillpointError).code, `${about}: ${(error as Error).message}`).toMatch(
    /^(DESTINATION_|PUBLICATION_UNKNOWN|BACKUP_|REPOSITORY_INVALID|REPOSITORY_KEY_WRONG|STORE_DIVERGED|NOT_FOUND)/,
  );
}

describeWithRight('an S3 server (S3_ENDPOINT)', hasS3, 'with faults between us and the server', () => {
  test.each(MEETINGS)(
    'a backup whose requests meet "%s", %s, is whole or a clear error',
    async (fault, form) => {
      const { proxy, direct, spoiled, dataDir, coordinator, sealing } = await stage(form);
      let wentWell = 0;
      let failed = 0;
      await backUp(dataDir, { to: spoiled, coordinator, ...sealing });
      const count = proxy.requests.length;
      for (let at = 0; at < count; at += STEP) {
        writeFileSync(join(dataDir, 'large'), randomBytes(9_000_000));
        proxy.plan(fault, at);
        const about = `${fault} at request ${at}`;
        const outcome = await backUp(dataDir, { to: spoiled, coordinator, ...sealing }).catch(
          (error: unknown) => error,
        );
        const { stores } = await listBackups({ from: direct, ...sealing });
        const backups = stores.flatMap((store) => store.backups);
        expect(
          backups.every(({ problem }) => problem === null),
          about,
        ).toBe(true);
        if (outcome instanceof Error) {
          expectClear(outcome, about);
          failed++;
        } else {
          expect(backups.at(-1)?.backupId, about).toBe((outcome as { backupId: string }).backupId);
          expect(await verifyBackup('latest', { from: direct, ...sealing }), about).toMatchObject({
            ok: true,
          });
          wentWell++;
        }
        expect((await listJobs(dataDir, { status: 'running' })).jobs, about).toEqual([]);
      }
      proxy.plan();
      // Whatever was left behind, the next run goes on.
      await backUp(dataDir, { to: spoiled, coordinator, ...sealing });
      const into = join(await temporaryFolder(), 'out');
      await restoreBackup('latest', { from: direct, into, ...sealing });
      expect(readTree(into)).toEqual(readTree(dataDir));
      console.log(`${fault}, ${form}: ${wentWell} backups went well, ${failed} failed with a clear error`);
      expect(wentWell).toBeGreaterThan(0);
    },
  );

  test.each(MEETINGS)(
    'a restore whose requests meet "%s", %s, is right or a clear error that leaves nothing',
    async (fault, form) => {
      const { proxy, spoiled, dataDir, coordinator, direct, sealing } = await stage(form);
      await backUp(dataDir, { to: direct, coordinator, ...sealing });
      const parent = await temporaryFolder();
      const into = join(parent, 'out');
      proxy.plan();
      await restoreBackup('latest', { from: spoiled, into, ...sealing });
      rmSync(into, { recursive: true });
      const count = proxy.requests.length;
      for (let at = 0; at < count; at += RESTORE_STEP) {
        proxy.plan(fault, at);
        const about = `${fault} at request ${at}`;
        const outcome = await restoreBackup('latest', { from: spoiled, into, ...sealing }).catch(
          (error: unknown) => error,
        );
        if (outcome instanceof Error) expectClear(outcome, about);
        else expect(readTree(into), about).toEqual(readTree(dataDir));
        expect(readTree(parent, ['out']), about).toEqual({});
        rmSync(into, { recursive: true, force: true });
      }
    },
  );

  test.each(perTier(MEETINGS.slice(0, 1), MEETINGS))(
    'prunes whose requests meet "%s", %s, leave every backup that stands whole',
    async (fault, form) => {
      const { proxy, direct, spoiled, dataDir, coordinator, sealing } = await stage(form);
      await backUp(dataDir, { to: direct, coordinator, ...sealing });
      const from = aged(await openDestination(spoiled));
      const prunes = async () => {
        await pruneBackups({ from, keepLast: 1, ...sealing });
        return pruneBackups({ from, keepLast: 1, ...sealing });
      };
      proxy.plan();
      await prunes();
      const count = proxy.requests.length;
      let deleted = 0;
      let failed = 0;
      for (let at = 0; at < count + PRUNE_STEP; at += PRUNE_STEP) {
        writeFileSync(join(dataDir, 'large'), randomBytes(9_000_000));
        await backUp(dataDir, { to: direct, coordinator, ...sealing });
        proxy.plan(fault, at);
        const about = `${fault} at request ${at}`;
        const outcome = await prunes().catch((error: unknown) => error);
        if (outcome instanceof Error) {
          expectClear(outcome, about);
          failed++;
        } else deleted += (outcome as PruneBackupsResult).objectsDeleted;
        const [store] = (await listBackups({ from: direct, ...sealing })).stores;
        for (const { backupId } of store!.backups)
          expect(await verifyBackup(backupId, { from: direct, ...sealing }), about).toMatchObject({
            ok: true,
          });
      }
      proxy.plan();
      await prunes();
      expect((await listBackups({ from: direct, ...sealing })).stores[0]!.backups).toHaveLength(1);
      console.log(
        `${fault}, ${form}: ${deleted} objects deleted, ${failed} prunes failed with a clear error`,
      );
      expect(deleted).toBeGreaterThan(0);
    },
  );

  test('a server that is gone for good in the middle of a backup: a clear error, and no job stays running', async () => {
    const { proxy, direct, spoiled, dataDir, coordinator, sealing } = await stage('in clear');
    proxy.plan('cut before the server', 6, true);
    const failed = await backUp(dataDir, { to: spoiled, coordinator, ...sealing }).catch(
      (error: unknown) => error,
    );
    expect(failed).toMatchObject({ code: 'DESTINATION_UNREACHABLE' });
    expect((await listJobs(dataDir)).jobs).toMatchObject([
      { status: 'failed', errorCode: 'DESTINATION_UNREACHABLE' },
    ]);
    proxy.plan();
    expect(await backUp(dataDir, { to: direct, coordinator, ...sealing })).toMatchObject({
      state: 'succeeded',
    });
  });
});
