import assert from 'node:assert/strict';
import { readDigestLedger } from '../../src/backup/digest-ledger.ts';
import type { ExecutorJobs } from '../../src/backup/jobs/job-store.ts';
import { Lineage } from '../../src/backup/lineage.ts';
import { repositoryDestination } from '../../src/backup/repository-destination.ts';
import { restoreBackup } from '../../src/backup/restore-backup.ts';
import { runBackup } from '../../src/backup/run-backup.ts';
import { snapshotSource } from '../../src/backup/snapshot-source.ts';
import { openFolder } from '../../src/destination/folder.ts';
import { createFile } from '../../src/env/io.ts';
import { BackupCoordinator, Lifecycle } from '../../src/index.ts';
import { directoryOf } from '../../src/operation/lifecycle.ts';
import { addKeys, rotateKeys, showKeys } from '../../src/repository/change-keys.ts';
import { Repository } from '../../src/repository/repository.ts';
import type { Unlockers } from '../../src/repository/sealing/key-slots.ts';
import { ensureStoreFile } from '../../src/snapshot/store/store-identity.ts';
import type { Flow } from './crash-matrix.ts';
import { DATA, type Stage } from './crash-subjects.ts';
import { type World, worldOn } from './crash-world.ts';

const REPOSITORY = '/disk/repository';
const KEY_FILES = ['/disk/first.key', '/disk/second.key'] as const;
const KEYS = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)] as const;

/** What opens the repository; undefined where it is in clear. */
const unlockersOf = (isSealed: boolean): Unlockers | undefined =>
  isSealed ? { identities: [], passphrases: [], keyFiles: [KEYS[0]] } : undefined;

const noJobs: ExecutorJobs = {
  createBackupJob: async () => {},
  updateBackupJob: async () => {},
  updateBackupJobProgress: async () => {},
  abandonBackupJob: async () => {},
  createBackupRecord: async () => {},
};

const destinationIn = ({ fs, environment: { clock } }: World) => openFolder(REPOSITORY, { fs, clock });

async function backUpLatest(world: World, isSealed: boolean): Promise<string> {
  const { environment } = world;
  const lifecycle = new Lifecycle({ dataDir: DATA, environment });
  const layout = await directoryOf(lifecycle).layout();
  const repository = await Repository.open(environment, await destinationIn(world), unlockersOf(isSealed));
  const { store_id: storeId } = await ensureStoreFile(environment, layout);
  const lineage = new Lineage(environment, layout, storeId);
  const { record } = await runBackup({
    source: snapshotSource({
      coordinator: new BackupCoordinator({ dataDir: DATA, lifecycle }),
      snapshot: 'latest',
      local: true,
    }),
    destination: repositoryDestination({
      store: repository.store(storeId),
      lineage,
      digests: await readDigestLedger(environment, layout),
      name: 'data',
      readBack: false,
      compress: true,
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
async function checkBackups(
  world: World,
  stage: Stage,
  place: string,
  keyFile: string | undefined,
): Promise<string[]> {
  const destination = await destinationIn(world);
  const repository = await Repository.open(
    world.environment,
    destination,
    unlockersOf(keyFile !== undefined),
  );
  const ids: string[] = [];
  for (const storeId of await repository.storeIds()) ids.push(...(await repository.store(storeId).ids()));
  for (const id of ids) {
    const into = `/disk/${place}/${id}`;
    const encryption = keyFile === undefined ? {} : { encryption: { keyFile } };
    await restoreBackup(id, { from: destination, into, environment: world.environment, ...encryption });
    assert.equal(
      await stage.subject.read(world, into),
      stage.snapshots.at(-1)!.state,
      `another state in ${id}`,
    );
  }
  return ids;
}

async function withRepository(stage: Stage, isSealed: boolean): Promise<World['fs']> {
  const disk = stage.disk.after('none');
  const world = worldOn(disk, 0);
  await world.fs.makeFolder(REPOSITORY);
  for (const [i, path] of KEY_FILES.entries()) {
    await createFile(world.fs, path, Buffer.from(`${KEYS[i]!.toString('hex')}\n`));
  }
  const wrappers = isSealed ? [{ kind: 'key-file' as const, key: KEYS[0] }] : undefined;
  await Repository.init(world.environment, await destinationIn(world), wrappers);
  return disk.after('none');
}

/** A repository is made, and the newest snapshot backed up into it twice. */
export async function backupFlow(stage: Stage, isSealed = false): Promise<Flow> {
  const before = await withRepository(stage, isSealed);
  const keyFile = isSealed ? KEY_FILES[0] : undefined;
  return {
    name: `${stage.subject.engine}: ${isSealed ? 'encrypted ' : ''}backup into a folder`,
    before,
    async run(world, reached) {
      const first = await backUpLatest(world, isSealed);
      reached(first);
      reached(`${first} ${await backUpLatest(world, isSealed)}`);
    },
    async recover({ environment }) {
      await new Lifecycle({ dataDir: DATA, environment }).recover();
    },
    async check(world, promise) {
      const ids = await checkBackups(world, stage, 'restored', keyFile);
      for (const id of promise.split(' ').filter((text) => text !== ''))
        assert.ok(ids.includes(id), `the backup ${id} was promised and is not there`);
      // The next run goes on, whatever was cut off.
      const next = await backUpLatest(world, isSealed);
      assert.equal(
        (await checkBackups(worldOn(world.fs.after('none'), 9), stage, 'again', keyFile)).at(-1),
        next,
      );
    },
  };
}

/** The keys of a repository with a backup are rotated, and then a second key file is let in. */
export async function keysFlow(stage: Stage): Promise<Flow> {
  const disk = await withRepository(stage, true);
  const id = await backUpLatest(worldOn(disk, 0), true);
  const before = disk.after('none');
  return {
    name: 'change of the keys of a repository',
    before,
    async run(world, reached) {
      const destination = await destinationIn(world);
      await rotateKeys(world.environment, destination, unlockersOf(true));
      reached('rotated');
      await addKeys(world.environment, destination, unlockersOf(true), [{ kind: 'key-file', key: KEYS[1] }]);
      reached('added');
    },
    recover: async () => undefined,
    async check(world, promise) {
      assert.deepEqual(await checkBackups(world, stage, 'restored', KEY_FILES[0]), [id]);
      const { generations } = await showKeys(await destinationIn(world));
      if (promise !== '') assert.equal(generations.length, 2, 'the rotation was promised');
      if (promise === 'added')
        assert.deepEqual(await checkBackups(world, stage, 'by the second', KEY_FILES[1]), [id]);
      const next = await backUpLatest(world, true);
      assert.equal((await checkBackups(world, stage, 'again', KEY_FILES[0])).at(-1), next);
    },
  };
}
