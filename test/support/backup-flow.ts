import assert from 'node:assert/strict';
import { readDigestLedger } from '../../src/backup/digest-ledger.ts';
import type { ExecutorJobs } from '../../src/backup/jobs/job-store.ts';
import { Lineage } from '../../src/backup/lineage.ts';
import { repositoryDestination } from '../../src/backup/repository-destination.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { runBackup } from '../../src/backup/run-backup.ts';
import { snapshotSource } from '../../src/backup/snapshot-source.ts';
import { openFolder } from '../../src/destination/folder.ts';
import { BackupCoordinator, Lifecycle } from '../../src/index.ts';
import { directoryOf } from '../../src/operation/lifecycle.ts';
import { Repository } from '../../src/repository/repository.ts';
import { ensureStoreFile } from '../../src/snapshot/store/store-identity.ts';
import type { Flow } from './crash-matrix.ts';
import { DATA, type Stage } from './crash-subjects.ts';
import { type World, worldOn } from './crash-world.ts';

const REPOSITORY = '/disk/repository';

const noJobs: ExecutorJobs = {
  createBackupJob: async () => {},
  updateBackupJob: async () => {},
  updateBackupJobProgress: async () => {},
  abandonBackupJob: async () => {},
  createBackupRecord: async () => {},
};

const destinationIn = ({ fs, environment: { clock } }: World) => openFolder(REPOSITORY, { fs, clock });

async function backUpLatest(world: World): Promise<string> {
  const { environment } = world;
  const lifecycle = new Lifecycle({ dataDir: DATA, environment });
  const layout = await directoryOf(lifecycle).layout();
  const repository = await Repository.open(environment, await destinationIn(world));
  const { store_id: storeId } = await ensureStoreFile(environment, layout);
  const lineage = new Lineage(environment, layout, storeId);
  const { record } = await runBackup({
    source: snapshotSource({
      coordinator: new BackupCoordinator({ dataDir: DATA, lifecycle }),
      snapshot: 'latest',
    }),
    destination: repositoryDestination({
      store: repository.store(storeId),
      lineage,
      digests: await readDigestLedger(environment, layout),
      name: 'data',
      readBack: false,
      beforeStoring: async () => false,
      onPhase: () => {},
      onPlanned: () => {},
    }),
    jobs: noJobs,
    clock: environment.clock,
    repositoryId: repository.id,
    storeId,
    begin: async () => ({ storeId, afterBackupId: (await lineage.known(repository.id)).at(-1) }),
  });
  return record.id;
}

/** Every backup that a listing shows can be restored; resolves to their ids and what a user reads in the newest. */
async function checkBackups(world: World, stage: Stage, place: string): Promise<string[]> {
  const destination = await destinationIn(world);
  const repository = await Repository.open(world.environment, destination);
  const ids: string[] = [];
  for (const storeId of await repository.storeIds()) ids.push(...(await repository.store(storeId).ids()));
  for (const id of ids) {
    const into = `/disk/${place}/${id}`;
    await restoreBackup(id, { from: destination, into, environment: world.environment });
    assert.equal(
      await stage.subject.read(world, into),
      stage.snapshots.at(-1)!.state,
      `another state in ${id}`,
    );
  }
  return ids;
}

/** A repository is made, and the newest snapshot backed up into it twice. */
export async function backupFlow(stage: Stage): Promise<Flow> {
  const disk = stage.disk.after('none');
  await worldOn(disk, 0).fs.makeFolder(REPOSITORY);
  const init = worldOn(disk, 0);
  await Repository.init(init.environment, await destinationIn(init));
  const before = disk.after('none');
  return {
    name: `${stage.subject.engine}: backup into a folder`,
    before,
    async run(world, reached) {
      const first = await backUpLatest(world);
      reached(first);
      reached(`${first} ${await backUpLatest(world)}`);
    },
    async recover({ environment }) {
      await new Lifecycle({ dataDir: DATA, environment }).recover();
    },
    async check(world, promise) {
      const ids = await checkBackups(world, stage, 'restored');
      for (const id of promise.split(' ').filter((text) => text !== ''))
        assert.ok(ids.includes(id), `the backup ${id} was promised and is not there`);
      // The next run goes on, whatever was cut off.
      const next = await backUpLatest(world);
      assert.equal((await checkBackups(worldOn(world.fs.after('none'), 9), stage, 'again')).at(-1), next);
    },
  };
}
