import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { systemClock } from '../../src/env/clock.ts';
import {
  BackupCoordinator,
  Lifecycle,
  RestoreCoordinator,
  Snapshots,
  verifySnapshot,
} from '../../src/index.ts';
import type { Environment } from '../../src/snapshot/environment.ts';
import { plainDirectory } from '../support/folders.ts';
import { headsIn, openDatabase } from '../support/host-database.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { temporaryFolder } from '../support/temp.ts';

// A directory that lives on while the world around it changes: the clock, its place, its machine.

const coordinators = (dataDir: string, environment: Environment, engine: 'auto' | 'files' = 'auto') => {
  const lifecycle = new Lifecycle({ dataDir, environment });
  return {
    lifecycle,
    backup: new BackupCoordinator({ dataDir, lifecycle, engine }),
    restore: new RestoreCoordinator({ dataDir, lifecycle, engine }),
  };
};

test('a clock that is set back between snapshots and in the midst of one', async () => {
  const dir = await plainDirectory();
  let nowMs = 2_000_000_000_000;
  const clock = { ...systemClock, nowMs: () => nowMs };
  const { lifecycle, backup, restore } = coordinators(dir, { ...inlineEnvironment, clock }, 'files');
  const taken: string[] = [];
  const take = async (content: string, keep?: number) => {
    writeFileSync(join(dir, 'a.txt'), content);
    const { name } = await backup.backup(keep === undefined ? {} : { keep });
    taken.push(name);
    return name;
  };
  const newest = async () => {
    const { latest, snapshots } = await new Snapshots({ dataDir: dir }).list();
    return [latest, Math.max(...snapshots.map(({ sequence }) => sequence!))];
  };
  await take('first');
  nowMs -= 86_400_000;
  await take('a day earlier');
  expect(await newest()).toEqual([taken[1], 2]);
  backup.once('state', () => {
    nowMs -= 3_600_000;
  });
  await take('an hour earlier than when it began');
  expect(await newest()).toEqual([taken[2], 3]);
  nowMs = 0;
  await take('the year 1970');
  await take('the same second', 3);

  // What is kept are those that were taken last, and not those whose names are the highest.
  expect((await new Snapshots({ dataDir: dir }).list()).snapshots.map(({ name }) => name).sort()).toEqual(
    taken.slice(2).sort(),
  );
  expect(await newest()).toEqual([taken[4], 5]);
  for (const name of taken.slice(2)) {
    expect((await new Snapshots({ dataDir: dir, environment: inlineEnvironment }).verify(name)).ok).toBe(
      true,
    );
  }
  // Undo finds the last restore, whatever the clock said when.
  writeFileSync(join(dir, 'a.txt'), 'now');
  nowMs = 3_000_000_000_000;
  await restore.restore({ source: taken[2]! });
  nowMs = 1_000;
  await restore.restore({ source: taken[3]! });
  await restore.undo();
  expect(readFileSync(join(dir, 'a.txt'), 'utf8')).toBe('an hour earlier than when it began');
  const { pruned } = await backup.backup({ keep: 1 });
  expect(pruned).toEqual([taken[2], taken[3]]); // the newest stays: an older state was restored after it
  for (const { state } of await lifecycle.runs()) {
    expect(state.status).toBe('completed');
  }
});

test('a clock that stands before 1970 stands at its first moment', () => {
  vi.useFakeTimers({ now: -5_000 });
  onTestFinished(() => void vi.useRealTimers());
  expect(systemClock.nowMs()).toBe(0);
});

test.each(['lsm', 'leveldb'] as const)(
  '%s: moved to another place, and copied to another machine',
  async (engine) => {
    const root = await temporaryFolder();
    const here = join(root, 'here');
    const fill = async (dir: string, from: number, to: number) => {
      const database = await openDatabase(engine, dir);
      for (let number = from; number <= to; number++) {
        for (let writer = 0; writer < 4; writer++) await database.commit(writer, number);
      }
      await database.compact();
      await database.close();
    };
    const heads = (dir: string) => headsIn(engine, dir, join(root, 'read'));
    await fill(here, 1, 5);
    await coordinators(here, inlineEnvironment).backup.backup();
    await fill(here, 6, 9);
    await coordinators(here, inlineEnvironment).backup.backup();
    await coordinators(here, inlineEnvironment).restore.restore(); // leaves an undo folder
    await coordinators(here, inlineEnvironment).backup.backup();

    const moved = join(root, 'moved');
    renameSync(here, moved);
    // As a copy onto another machine is: other inodes, the same times, to the nanosecond.
    const copied = join(root, 'copied');
    execFileSync('cp', ['-a', moved, copied]);
    // As a restore from an archive often is: times cut to seconds, or new ones.
    const unpacked = join(root, 'unpacked');
    cpSync(moved, unpacked, { recursive: true });

    for (const dir of [moved, copied, unpacked]) {
      const { backup, restore } = coordinators(dir, inlineEnvironment);
      const { latest, snapshots } = await new Snapshots({ dataDir: dir }).list();
      expect(snapshots.map(({ name, problem }) => [name === latest, problem])).toEqual([
        [false, null],
        [false, null],
        [true, null],
      ]);
      for (const { location } of snapshots) {
        expect(location.startsWith(`${dir}/`)).toBe(true);
        expect((await verifySnapshot(location, { environment: inlineEnvironment })).findings).toEqual([]);
      }
      // Damage that came with the copy must not hide behind what was proven elsewhere.
      const first = await backup.backup();
      // In a copied folder no file is the one that was captured. What is shared there was verified above, and compared byte for byte.
      if (dir === moved) expect(first.reusedBytes).toBeGreaterThan(0);
      const again = await backup.backup();
      expect(again.reusedBytes).toBeGreaterThan(0);
      expect((await verifySnapshot(again.location, { environment: inlineEnvironment })).findings).toEqual([]);
      expect(await heads(again.location)).toEqual([9, 9, 9, 9]);

      await restore.restore({ source: snapshots[0]!.name });
      expect(await heads(dir)).toEqual([5, 5, 5, 5]);
      await restore.undo();
      expect(await heads(dir)).toEqual([9, 9, 9, 9]);
      await new Snapshots({ dataDir: dir, environment: inlineEnvironment }).restore('latest', {
        into: `${dir}-into`,
      });
      expect(await heads(`${dir}-into`)).toEqual([9, 9, 9, 9]);
      await fill(dir, 10, 11);
      await backup.backup();
      expect(existsSync(here)).toBe(false); // nothing remembers the old place
    }
  },
);
