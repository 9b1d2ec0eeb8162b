import { readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { filesEngine } from '../../src/engine/files/index.ts';
import { BackupCoordinator, verifyAllSnapshots } from '../../src/index.ts';
import { wholeSeconds } from '../support/file-systems.ts';
import { isOneState, startFileWriter } from '../support/file-writer.ts';
import { setOldTime } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

// Invariant 16: a time of change that is younger than two seconds, or has no parts of a second, proves nothing.

const MiB = 1024 * 1024;
const DATABASE = 'database';
const SIZE = 4 * MiB;

/** Makes the file count as immutable, as a table of lsm or leveldb does. */
const holdTable = () => ({ plan: { items: [{ kind: 'immutable' as const, path: DATABASE }] }, release() {} });

const setTime = (path: string, time: Date) => utimesSync(path, time, time);

/** A time is no witness for two seconds. */
const YOUNG_MS = 1_900;

/** A table that is replaced by one of the same inode, size and time. Resolves to the snapshot after that. */
async function changeBehindItsTime(time: Date): Promise<{ location: string; copiedBytes: number }> {
  const dir = await temporaryFolder();
  const table = join(dir, DATABASE);
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files', checkpoint: holdTable });
  writeFileSync(table, Buffer.alloc(SIZE, 'old'));
  setTime(table, time);
  const { ino } = statSync(table);
  await backup.backup();

  const unchanged = await backup.backup();
  expect([unchanged.copiedBytes, unchanged.reusedBytes]).toEqual([0, SIZE]); // the bytes were compared

  writeFileSync(table, Buffer.alloc(SIZE, 'new'));
  setTime(table, time);
  expect(statSync(table)).toMatchObject({ ino, size: SIZE });
  return backup.backup();
}

test.each([
  ['is young', () => new Date()],
  ['has no parts of a second', () => new Date(1_700_000_000_000)],
  ['is later than now', () => new Date(Date.now() + 3_600_123)],
])(
  'a table whose time %s is not shared with another one of the same inode, size and time (invariant 16)',
  async (name, at) => {
    let taken: Awaited<ReturnType<typeof changeBehindItsTime>>;
    let time: Date;
    do {
      time = at();
      taken = await changeBehindItsTime(time);
    } while (name === 'is young' && Date.now() - time.getTime() > YOUNG_MS); // a slow machine: once more
    const { location, copiedBytes } = taken;
    expect(copiedBytes).toBe(SIZE);
    expect(readFileSync(join(location, DATABASE)).equals(Buffer.alloc(SIZE, 'new'))).toBe(true);
  },
);

test('a table that is only linked keeps its proof if its time is trustworthy, and is read again if not', async () => {
  const dir = await temporaryFolder();
  const table = join(dir, DATABASE);
  writeFileSync(table, Buffer.alloc(SIZE, 'old'));
  const engine = { ...filesEngine, hasImmutableFiles: true };
  const defaults = { mode: 'link' } as const;
  const backup = new BackupCoordinator({ dataDir: dir, engine, checkpoint: holdTable, defaults });
  setTime(table, new Date());
  await backup.backup();
  expect((await backup.backup()).carriedBytes).toBe(0);
  setOldTime(table);
  await backup.backup(); // this one sees another time
  expect((await backup.backup()).carriedBytes).toBe(SIZE);
});

/** Takes snapshots; each is refused or holds one state. */
async function expectOneState(backup: BackupCoordinator): Promise<void> {
  for (let i = 0; i < 5; i++) {
    try {
      const { location } = await backup.backup();
      expect(isOneState(readFileSync(join(location, DATABASE)))).toBe(true);
    } catch (error) {
      expect(error).toMatchObject({ code: 'SOURCE_CHANGING' });
    }
  }
}

test('a file that is written through a shared mapping is not published torn', async (context) => {
  const dir = await temporaryFolder();
  const stop = await startFileWriter(context, join(dir, DATABASE), 'mapped', { sizeBytes: SIZE });
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  await expectOneState(backup);
  await stop();
  const { location } = await backup.backup();
  const copy = readFileSync(join(location, DATABASE));
  expect(copy.equals(readFileSync(join(dir, DATABASE)))).toBe(true);
});

test('a file that is written to on a file system of whole seconds is not published torn', async (context) => {
  const dir = await wholeSeconds(context);
  await startFileWriter(context, join(dir, DATABASE), 'plain', { sizeBytes: SIZE });
  await expectOneState(new BackupCoordinator({ dataDir: dir, engine: 'files' }));
});

test('on a file system of whole seconds the proof of a copy is not believed', async (context) => {
  const dir = await wholeSeconds(context);
  writeFileSync(join(dir, DATABASE), Buffer.alloc(SIZE));
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const { location } = await backup.backup();
  const copy = join(location, DATABASE);
  const { mtime } = statSync(copy);
  writeFileSync(copy, Buffer.alloc(SIZE, 1));
  setTime(copy, mtime);
  const { ok } = await verifyAllSnapshots(join(dir, '.lifecycle/backup'), { olderThanMs: 3_600_000 });
  expect(ok).toBe(false);
});
