import { linkSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { blockingFileSystem } from '../../src/env/blocking-file-system.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { BackupCoordinator, Lifecycle, Snapshots } from '../../src/index.ts';
import type { Environment } from '../../src/snapshot/environment.ts';
import { plainDirectory } from '../support/folders.ts';
import { inlineEnvironment } from '../support/inline.ts';

/** An environment that counts its calls of the file system. */
function counting(): { environment: Environment; calls: () => number } {
  let count = 0;
  const fs: FileSystem = new Proxy(blockingFileSystem, {
    get(target, name: keyof FileSystem) {
      count++;
      return target[name];
    },
  });
  const calls = () => {
    const made = count;
    count = 0;
    return made;
  };
  return { environment: { ...inlineEnvironment, fs }, calls };
}

/** What listing, one more snapshot, and pruning to ten cost in calls, with so many snapshots in the folder. */
async function costs(count: number): Promise<{ list: number; take: number; prune: number }> {
  const dir = await plainDirectory({ 'a.txt': 'first' });
  const { environment, calls } = counting();
  const backup = new BackupCoordinator({
    dataDir: dir,
    engine: 'files',
    lifecycle: new Lifecycle({ dataDir: dir, environment }),
  });
  const first = await backup.backup();
  const folder = join(dir, '.lifecycle/backup');
  // That snapshot again and again, under older names.
  const seconds = Number(first.name.slice(3).split('-')[0]);
  for (let i = 1; i < count; i++) {
    const copy = join(folder, `ts-${seconds - i}`);
    mkdirSync(copy);
    for (const name of readdirSync(first.location)) linkSync(join(first.location, name), join(copy, name));
  }
  calls();
  const { latest, snapshots } = await new Snapshots({ dataDir: dir, environment }).list();
  expect([latest, snapshots.length]).toEqual([first.name, count]);
  const list = calls();
  const { name } = await backup.backup();
  const take = calls();
  const { removed, kept } = await new Snapshots({ dataDir: dir, environment }).prune({ keep: 10 });
  const prune = calls();
  expect([removed.length, kept.length]).toEqual([count - 9, 10]);
  expect(kept.map((snapshot) => snapshot.name)).toContain(name);
  expect(readdirSync(folder).filter((entry) => entry.startsWith('ts-'))).toHaveLength(10);
  expect((await new Snapshots({ dataDir: dir, environment }).verify('latest')).ok).toBe(true);
  return { list, take, prune };
}

test('a thousand snapshots in one folder cost ten times what a hundred do, and one more costs the same', async () => {
  const [few, many] = [await costs(100), await costs(1000)];
  expect(many.list).toBeLessThan(11 * few.list);
  expect(many.prune).toBeLessThan(13 * few.prune);
  expect(many.take).toBeLessThan(2 * few.take);
});
