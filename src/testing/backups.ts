import assert from 'node:assert/strict';
import { join } from 'node:path';
import { backUp } from '../backup/back-up.ts';
import { listBackups } from '../backup/list-backups.ts';
import { listJobs, listRecords } from '../backup/list-jobs.ts';
import { initRepository } from '../backup/repositories.ts';
import { restoreBackup } from '../backup/restore-backup.ts';
import { verifyBackup } from '../backup/verify-backup.ts';
import { BackupCoordinator } from '../coordinator/backup.ts';
import { bodyOf, type Destination, getSmall } from '../destination/destination.ts';
import { createFile, makeFolders } from '../env/io.ts';
import { nodeFileSystem as fs } from '../env/node-file-system.ts';
import { StillpointError } from '../errors.ts';
import { includes, rejectsWith } from './executor-stage.ts';
import { readBytes, withFolder } from './folders.ts';

export interface BackupsTestOptions {
  /** Makes one test: `test` of `node:test`, of Vitest, or any other function with these two arguments. */
  readonly test: (name: string, run: () => Promise<void>) => unknown;
  /** Makes an empty destination for one test. */
  readonly createDestination: () => Promise<Destination>;
  /** Names the driver in the names of the tests. */
  readonly name: string;
  /** Where jobs are kept, as in `backUp`. Default: in the data directory. */
  readonly jobs?: string;
}

const LIMIT_BYTES = 64 * 1024 * 1024;
/** In a pack of small files, whole, and over the border of a part. */
const FILES = {
  small: Buffer.from('small'),
  middle: Buffer.alloc(256 * 1024, 'middle '),
  large: Buffer.alloc(9 * 1024 * 1024 + 5, 'large '),
};

/**
 * Whole backups through a destination, in clear and encrypted, as tests, for whoever writes a driver: what goes there comes back, a
 * failure leaves no backup, and damage is found. Independent of a test runner.
 *
 * @example
 * import { test } from 'node:test';
 * import { testBackups } from 'stillpoint/testing';
 *
 * testBackups({ test, name: 'my driver', createDestination: async () => new MyDestination(await emptyPlace()) });
 */
export function testBackups(options: BackupsTestOptions): void {
  for (const form of ['in clear', 'encrypted'] as const) {
    const run: Run = (name, check) =>
      options.test(`backups with ${options.name}, ${form}: ${name}`, () =>
        withFolder(async (folder) => check(await stageOf(options, form, folder))),
      );
    testRoundTrips(run);
    testFailures(run);
    testDamage(run);
  }
}

interface Stage {
  readonly destination: Destination;
  readonly folder: string;
  readonly dataDir: string;
  /** What every call takes that opens the repository. */
  readonly sealing: { readonly encryption?: { readonly keyFile: string } };
  readonly jobs: { readonly jobs?: string };
  backUp(to?: Destination): ReturnType<typeof backUp>;
}

type Run = (name: string, check: (stage: Stage) => Promise<void>) => unknown;

async function stageOf(
  { createDestination, jobs }: BackupsTestOptions,
  form: string,
  folder: string,
): Promise<Stage> {
  const destination = await createDestination();
  const sealing = form === 'encrypted' ? { encryption: { keyFile: join(folder, 'key') } } : {};
  await initRepository(destination, sealing);
  const dataDir = join(folder, 'data');
  await makeFolders(fs, dataDir);
  for (const [name, content] of Object.entries(FILES)) await createFile(fs, join(dataDir, name), content);
  const coordinator = new BackupCoordinator({ dataDir, engine: 'files' });
  const about = { coordinator, ...sealing, ...(jobs !== undefined && { jobs }) };
  return {
    destination,
    folder,
    dataDir,
    sealing,
    jobs: jobs === undefined ? {} : { jobs },
    backUp: (to = destination) => backUp(dataDir, { to, ...about }),
  };
}

function testRoundTrips(test: Run): void {
  test('a backup comes back as it was, with its job and its record', async (stage) => {
    const { destination: from, folder, dataDir, sealing, jobs } = stage;
    const { backupId, jobId } = await stage.backUp();
    const into = join(folder, 'restored');
    await restoreBackup('latest', { from, into, ...sealing });
    for (const [name, content] of Object.entries(FILES))
      assert.ok(content.equals(await readBytes(join(into, name))), name);
    const [job] = (await listJobs(dataDir, jobs)).jobs;
    includes(job, { id: jobId, kind: 'backup', status: 'succeeded', backupRecordId: backupId });
    const { records } = await listRecords(dataDir, jobs);
    assert.deepEqual(
      records.map(({ id, state }) => ({ id, state })),
      [{ id: backupId, state: 'present' }],
    );
  });

  test('a second backup sends only what is new, and a listing has both in their order', async (stage) => {
    const first = await stage.backUp();
    await createFile(fs, join(stage.dataDir, 'later'), Buffer.alloc(300_000, 'later '));
    const second = await stage.backUp();
    assert.ok(second.uploadedBytes < 400_000, `${second.uploadedBytes} bytes were sent`);
    const [store] = (await listBackups({ from: stage.destination, ...stage.sealing })).stores;
    assert.deepEqual(
      store?.backups.map(({ backupId }) => backupId),
      [first.backupId, second.backupId],
    );
  });

  test('the manifest comes last', async (stage) => {
    const keys: string[] = [];
    await stage.backUp({
      ...boundTo(stage.destination),
      put(key, body, options) {
        if (/\/(objects|backups)\//.test(key)) keys.push(key);
        return stage.destination.put(key, body, options);
      },
    });
    assert.match(keys.at(-1) ?? '', /\/manifest$/);
    assert.equal(keys.filter((key) => key.endsWith('/manifest')).length, 1);
  });
}

function testFailures(test: Run): void {
  for (const [what, pattern] of [
    ['an object', /\/objects\//],
    ['the manifest', /\/manifest$/],
  ] as const) {
    test(`where ${what} cannot be stored there is no backup, and the next one goes well`, async (stage) => {
      const { destination, dataDir, sealing, jobs } = stage;
      const full: Destination = {
        ...boundTo(destination),
        async put(key, body, options) {
          if (pattern.test(key)) throw new StillpointError('DESTINATION_NO_SPACE', 'full');
          return destination.put(key, body, options);
        },
      };
      await rejectsWith(stage.backUp(full), { message: /full/ });
      includes((await listJobs(dataDir, jobs)).jobs[0], { status: 'failed', error: /full/ });
      assert.deepEqual((await listRecords(dataDir, jobs)).records, []);
      const { backupId } = await stage.backUp();
      const { stores } = await listBackups({ from: destination, ...sealing });
      assert.deepEqual(
        stores.flatMap(({ backups }) => backups.map((one) => one.backupId)),
        [backupId],
      );
    });
  }
}

function testDamage(test: Run): void {
  test('a byte that changed is found, and nothing is restored', async (stage) => {
    const { destination: from, folder, sealing } = stage;
    await stage.backUp();
    const key = await keyLike(from, /\/objects\//);
    const content = (await getSmall(from, key, LIMIT_BYTES))!;
    content[content.byteLength >> 1]! ^= 1;
    await from.put(key, bodyOf(content), {});
    includes(await verifyBackup('latest', { from, ...sealing }), { ok: false, verdict: 'copy-damaged' });
    const into = join(folder, 'restored');
    await assert.rejects(restoreBackup('latest', { from, into, ...sealing }));
    assert.equal(await fs.inspect(into), undefined);
  });

  test('a missing object and a missing manifest are told apart', async (stage) => {
    const { destination: from, sealing } = stage;
    await stage.backUp();
    await from.delete([await keyLike(from, /\/objects\//)]);
    includes(await verifyBackup('latest', { from, level: 'manifest', ...sealing }), {
      verdict: 'copy-damaged',
    });
    await from.delete([await keyLike(from, /\/manifest$/)]);
    await rejectsWith(verifyBackup('latest', { from, ...sealing }), { code: 'NOT_FOUND' });
  });
}

async function keyLike(destination: Destination, pattern: RegExp): Promise<string> {
  for await (const { key } of destination.list('stores/')) if (pattern.test(key)) return key;
  return assert.fail(`no key like ${pattern}`);
}

/** The same destination, whose verbs can be replaced one by one. */
const boundTo = (inner: Destination): Destination => ({
  url: inner.url,
  put: (...args) => inner.put(...args),
  get: (...args) => inner.get(...args),
  head: (...args) => inner.head(...args),
  list: (...args) => inner.list(...args),
  delete: (...args) => inner.delete(...args),
  abortStale: (...args) => inner.abortStale(...args),
  probe: () => inner.probe(),
});
