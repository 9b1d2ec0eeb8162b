import { expect, test } from 'vitest';
import {
  BackupCoordinator,
  deleteSnapshot,
  Lifecycle,
  listSnapshots,
  pruneSnapshots,
  RestoreCoordinator,
  restoreSnapshot,
  showSnapshot,
  verifyAll,
  verifySnapshot,
} from '../../src/index.ts';
import { plainDirectory } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

// A misspelt `dryRun` once removed the snapshots that it should only have named.

test('an option that there is not is refused by every operation, and nothing is done', async () => {
  const { dir } = await somewhere();
  const calls: Record<string, (options: object) => Promise<unknown>> = {
    listSnapshots: (options) => listSnapshots(dir, options),
    showSnapshot: (options) => showSnapshot('latest', { dataDir: dir, ...options }),
    verifySnapshot: (options) => verifySnapshot(dir, options),
    verifyAll: (options) => verifyAll(dir, options),
    restoreSnapshot: (options) =>
      restoreSnapshot('latest', { dataDir: dir, into: `${dir}-into`, ...options }),
    pruneSnapshots: (options) => pruneSnapshots(dir, { keep: 1, ...options }),
    deleteSnapshot: (options) => deleteSnapshot(dir, 'latest', options),
  };
  const before = await listSnapshots(dir);
  expect(before.snapshots).toHaveLength(3);
  for (const [name, call] of Object.entries(calls)) {
    await expect(call({ dryrun: true }), name).rejects.toThrow(`${name}: there is no option "dryrun"`);
  }
  expect(await listSnapshots(dir)).toEqual(before);
});

test('nor do those that are made take one', async () => {
  const dataDir = await temporaryFolder();
  for (const Made of [BackupCoordinator, RestoreCoordinator, Lifecycle])
    expect(() => new Made({ dataDir, enviroment: {} } as { dataDir: string })).toThrow('"enviroment"');
});

async function somewhere(): Promise<{ dir: string }> {
  const dir = await plainDirectory();
  const coordinator = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  for (let i = 0; i < 3; i++) await coordinator.backup();
  return { dir };
}
