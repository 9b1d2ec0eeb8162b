import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, type TestContext, test } from 'vitest';
import { filesEngine } from '../../src/engine/files/index.ts';
import { BackupCoordinator, verifyAllSnapshots } from '../../src/index.ts';
import { mountedImage } from '../support/file-systems.ts';
import { setOldTime } from '../support/folders.ts';
import { needsPrograms } from '../support/needs.ts';
import { temporaryFolder } from '../support/temp.ts';

// Invariant 16: a time of change that is younger than two seconds, or has no parts of a second, proves nothing.

const MiB = 1024 * 1024;
const DATABASE = 'database';
const SIZE = 4 * MiB;

/** Makes the file count as immutable, as a table of lsm or leveldb does. */
const holdTable = () => ({ plan: { items: [{ kind: 'immutable' as const, path: DATABASE }] }, release() {} });

const setTime = (path: string, time: Date) => utimesSync(path, time, time);

test.each([
  ['is young', () => new Date()],
  ['has no parts of a second', () => new Date(1_700_000_000_000)],
  ['is later than now', () => new Date(Date.now() + 3_600_123)],
])(
  'a table whose time %s is not shared with another one of the same inode, size and time (invariant 16)',
  async (_, at) => {
    const dir = await temporaryFolder();
    const table = join(dir, DATABASE);
    const backup = new BackupCoordinator({ dataDir: dir, engine: 'files', checkpoint: holdTable });
    const time = at();
    writeFileSync(table, Buffer.alloc(SIZE, 'old'));
    setTime(table, time);
    const { ino } = statSync(table);
    await backup.backup();

    const unchanged = await backup.backup();
    expect([unchanged.copiedBytes, unchanged.reusedBytes]).toEqual([0, SIZE]); // the bytes were compared

    writeFileSync(table, Buffer.alloc(SIZE, 'new'));
    setTime(table, time);
    expect(statSync(table)).toMatchObject({ ino, size: SIZE });
    const { location, copiedBytes } = await backup.backup();
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

/** Writes one generation after the other, in words of eight bytes, over the whole file, through a shared mapping or by plain writes. */
const WRITER = `
import mmap, os, struct, sys
path, how = sys.argv[1:]
file = os.open(path, os.O_RDWR)
size = os.fstat(file).st_size
view = mmap.mmap(file, size) if how == 'mapped' else None
print('writing', flush=True)
generation = 0
while True:
    generation += 1
    block = struct.pack('<Q', generation) * 8192
    for at in range(0, size, 65536):
        if view: view[at:at + 65536] = block
        else: os.pwrite(file, block, at)
`;

async function startWriter(context: TestContext, path: string, how: 'mapped' | 'plain') {
  needsPrograms(context, 'python3');
  writeFileSync(path, Buffer.alloc(SIZE));
  const child = spawn('python3', ['-c', WRITER, path, how], { stdio: ['ignore', 'pipe', 'inherit'] });
  const stop = async () => {
    const exited = once(child, 'exit');
    if (child.kill('SIGKILL')) await exited;
  };
  onTestFinished(stop);
  await once(child.stdout, 'data');
  return stop;
}

/** Whether the file had this content at some moment: one generation up to a place, and the one before from there. */
function isOneState(bytes: Buffer): boolean {
  const words = new BigUint64Array(new Uint8Array(bytes).buffer);
  const generation = words[0]!;
  const from = words.findIndex((word) => word !== generation);
  return from === -1 || words.subarray(from).every((word) => word === generation - 1n);
}

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
  const stop = await startWriter(context, join(dir, DATABASE), 'mapped');
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  await expectOneState(backup);
  await stop();
  const { location } = await backup.backup();
  const copy = readFileSync(join(location, DATABASE));
  expect(copy.equals(readFileSync(join(dir, DATABASE)))).toBe(true);
});

/** Inodes of 128 bytes have no room for parts of a second. */
async function wholeSeconds(context: TestContext): Promise<string> {
  const dir = await mountedImage(context, 'ext3', '-I', '128');
  writeFileSync(join(dir, 'probe'), '');
  expect(statSync(join(dir, 'probe'), { bigint: true }).mtimeNs % 1_000_000_000n).toBe(0n);
  return dir;
}

test('a file that is written to on a file system of whole seconds is not published torn', async (context) => {
  const dir = await wholeSeconds(context);
  await startWriter(context, join(dir, DATABASE), 'plain');
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
