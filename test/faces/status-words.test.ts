import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { BackupCoordinator, Lifecycle, openLsm, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { lsmBackend } from '../../src/server/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { setPin } from '../../src/snapshot/store/snapshot-pins.ts';
import { plainDirectory } from '../support/folders.ts';
import { injected } from '../support/server.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

const writers = {
  async lsm(dir: string, value: string) {
    const db = await openLsm(dir, SMALL_LOG);
    await db.put('key', value);
    await db.close();
  },
  async leveldb(dir: string, value: string) {
    const db = new ClassicLevel(dir);
    await db.put('key', value);
    await db.close();
  },
};

test.for(['lsm', 'leveldb'] as const)(
  'that %s may lack writes after a restore is said only where one may have come between',
  async (engine) => {
    const dir = join(await temporaryFolder(), 'data');
    const write = (value: string) => writers[engine](dir, value);
    const backup = new BackupCoordinator({ dataDir: dir });
    const restores = new RestoreCoordinator({ dataDir: dir });
    const take = () => backup.backup({ reuse: false });
    const back = async (source: string) => {
      await restores.restore({ source });
      const { putBackFrom, notes } = await new Snapshots({ dataDir: dir }).status();
      expect(notes.some((note) => note.includes('may hold writes that it lacks'))).toBe(putBackFrom !== null);
      return putBackFrom;
    };
    await write('first');
    const first = await take();
    const same = await take();
    expect(await back(first.name)).toBeNull();
    await write('second');
    const second = await take();
    expect(await back(same.name)).toBe(same.location);
    // As many writes, and not the same ones: the database went back between.
    await write('another second');
    await take();
    expect(await back(second.name)).toBe(second.location);
  },
);

test('a snapshot has one age: when it was taken, however long its proof took', async () => {
  const dataDir = await plainDirectory();
  let aheadMs = 0;
  const clock = { ...systemEnvironment.clock, nowMs: () => Date.now() + aheadMs };
  const environment = { ...systemEnvironment, clock };
  const lifecycle = new Lifecycle({ dataDir, environment });
  const backup = new BackupCoordinator({ dataDir, engine: 'files', lifecycle });
  const probe = async () => {
    aheadMs += 3_600_000;
  };
  await backup.backup({ probe });
  const { lastSuccessAtMs, newestGood } = await new Snapshots({ dataDir, lifecycle }).status();
  expect(lastSuccessAtMs).toBe(newestGood!.createdAtMs);
});

test('the list says of each snapshot whether it would be deleted, and why not', async () => {
  const { rpc, dataDir } = await injected();
  await rpc('PUT', '/kv/a', '1');
  const backup = new BackupCoordinator({ dataDir, engine: 'lsm' });
  const taken: string[] = [];
  for (const level of ['full', 'full', 'full', 'open'] as const)
    taken.push((await backup.backup({ level, reuse: false })).name);
  const pin = { name: taken[1]!, run: 'run', expires_at_ms: Date.now() + 3_600_000 };
  await setPin(systemEnvironment, layoutOf(dataDir), pin);
  const { snapshots } = (await rpc('GET', '/api/admin/backups')).json;
  const refused = snapshots.map((one: { delete_refused: string | null }) => one.delete_refused);
  expect(refused).toEqual([
    null,
    `${taken[1]} is pinned: somebody is about to fetch it. Wait until that is done; a pin ends by itself.`,
    expect.stringMatching(`^${taken[2]} is the newest proven snapshot and stays. Take another`),
    expect.stringMatching(`^\`latest\` names ${taken[3]}, so it stays. Take another`),
  ]);
  const own = new Snapshots({ dataDir });
  expect((await own.list()).snapshots.map(({ deleteRefused }) => deleteRefused)).toEqual(refused);
  const answers = [];
  for (const name of taken) {
    const { status, json } = await rpc('DELETE', `/api/admin/backups/${name}`);
    answers.push(
      status === 200 ? null : `${json.error.message.replace('conflict: ', '')}. ${json.error.hint}`,
    );
  }
  expect(answers).toEqual(refused);
});

test('a database that found no room and takes no more writes is told, with what to do', async () => {
  let isFull = false;
  const { fs } = systemEnvironment;
  const full: typeof fs = {
    ...fs,
    async open(path, how) {
      const file = await fs.open(path, how);
      const write: typeof file.write = async (bytes, position) => {
        if (isFull) throw Object.assign(new Error('write'), { code: 'ENOSPC', path });
        return file.write(bytes, position);
      };
      return { ...file, path: file.path, write };
    },
  };
  const { rpc, dataDir } = await injected({ backend: lsmBackend({ ...SMALL_LOG, fs: full }) });
  const status = async () => (await rpc('GET', '/api/admin/status')).json;
  expect((await rpc('PUT', '/kv/a', '1')).status).toBe(200);
  expect(await status()).toMatchObject({ overall_status: 'ok', database_failure: null });
  isFull = true;
  expect((await rpc('PUT', '/kv/a', '2')).status).toBe(507);
  isFull = false;
  expect((await rpc('PUT', '/kv/a', '3')).status).toBe(507);
  expect(await status()).toMatchObject({
    overall_status: 'degraded',
    database_failure: {
      code: 'NO_SPACE',
      message: `the database in ${dataDir} takes no more writes: ${join(dataDir, 'lsm.wal')} lies on a disk that is full`,
      hint: 'Free space on that disk, then open the database again: restart the program that has it open. Every acknowledged write is kept.',
    },
  });
});

test('a disk of the database without room is told, with what to do', async () => {
  const dataDir = await plainDirectory();
  let freeBytes = 2 ** 30;
  const fs = { ...systemEnvironment.fs, freeBytes: async () => freeBytes };
  const lifecycle = new Lifecycle({ dataDir, environment: { ...systemEnvironment, fs } });
  await new BackupCoordinator({ dataDir, engine: 'files', lifecycle }).backup();
  const notes = async () => (await new Snapshots({ dataDir, lifecycle }).status()).notes.join();
  expect(await notes()).toBe('');
  freeBytes = 2048;
  expect(await notes()).toMatch(
    /^the disk of the database is full \(2\.0 KiB left\): free space there, and restart/,
  );
});
