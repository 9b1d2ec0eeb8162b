import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { blockingFileSystem } from '../../src/env/blocking-file-system.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import { BackupCoordinator, openLsm, verifyAllSnapshots, verifySnapshot } from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { TASKS } from '../../src/snapshot/tasks/tasks.ts';
import { entriesBelow } from '../support/folders.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

// A file that the system would not let anybody read is unread. Neither it nor what depends on it is called damaged, or proven.

/** Every file comes from the device itself, but for one that the system refuses to open. */
function environmentWithout(refused: string | undefined, code: string) {
  const fs: FileSystem = {
    ...blockingFileSystem,
    async open(path, how) {
      if (path === refused) throw Object.assign(new Error(code), { code });
      const file = await blockingFileSystem.open(path, how);
      return Object.defineProperty({ ...file }, 'isPastCache', { value: true });
    },
  };
  return { ...systemEnvironment, fs, pool: inlinePool(TASKS, fs) };
}

const FILL: Readonly<Record<string, (dir: string) => Promise<unknown>>> = {
  async lsm(dir) {
    const database = await openLsm(dir, SMALL_LOG);
    await database.put('key', 'value');
    await database.checkpoint();
    await database.close();
  },
  async leveldb(dir) {
    const database = new ClassicLevel(dir);
    await database.put('key', 'value');
    await database.compactRange('a', 'z'); // into a table
    await database.close();
  },
};

test.each([
  ['lsm', 'EACCES'],
  ['leveldb', 'EMFILE'],
] as const)(
  '%s: whatever file cannot be read (%s), the snapshot is unread, and not proven of the medium',
  async (engine, code) => {
    const dataDir = join(await temporaryFolder(), 'data');
    await FILL[engine]!(dataDir);
    const { location } = await new BackupCoordinator({ dataDir }).backup();
    const reports = async (refused?: string) => {
      const options = { environment: environmentWithout(refused, code), medium: true };
      const { snapshots } = await verifyAllSnapshots(dataDir, options);
      return [await verifySnapshot(location, options), ...snapshots.map(({ report }) => report)];
    };
    const proven = { verdict: 'faithful', medium: true, findings: [] };
    expect(await reports()).toMatchObject([proven, proven]);

    expect(readdirSync(location).length).toBeGreaterThan(2);
    for (const { parentPath, name } of entriesBelow(location).filter((entry) => entry.isFile())) {
      if (name === 'snapshot.manifest') continue;
      const file = join(parentPath, name);
      const findings = [{ path: relative(location, file), code: 'FILE_UNREADABLE', verdict: 'unread' }];
      const unread = { ok: false, verdict: 'unread', medium: false, findings };
      expect(await reports(file), file).toMatchObject([unread, unread]);
    }
  },
);
