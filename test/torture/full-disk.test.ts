import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, type TestContext, test } from 'vitest';
import { StillpointError } from '../../src/errors.ts';
import { BackupCoordinator, Lifecycle, openLsm, Snapshots } from '../../src/index.ts';
import { lsmBackend, startServer } from '../../src/server/index.ts';
import { DirectoryExchange } from '../../src/snapshot/restore/directory-exchange.ts';
import { layoutOf } from '../../src/snapshot/store/layout.ts';
import { mountInMemory } from '../support/file-systems.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

// What makes room must not need any: with 0 bytes free, pruning, recovering and starting a server work.

const MiB = 1024 * 1024;
const BLOCK_BYTES = 4096;

async function smallDisk(context: TestContext): Promise<string> {
  const dir = join(await temporaryFolder(), 'data');
  mountInMemory(context, dir, 16 * MiB);
  return dir;
}

function fill(dir: string): void {
  const path = join(dir, '.lifecycle', 'filling');
  for (let bytes = 64 * 1024; bytes >= 1; bytes = Math.floor(bytes / 4)) {
    try {
      for (;;) appendFileSync(path, Buffer.alloc(bytes, 1));
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
  }
  expect(statfsSync(dir).bavail).toBe(0);
}

/** A run that a crash cut off: begun on record, and a partial folder. */
function leaveInterruptedRun(dir: string): string {
  const { records, backup } = layoutOf(dir);
  const [line = ''] = readFileSync(records, 'utf8').split('\n');
  const begun = JSON.parse(line);
  expect(begun.state.status).toBe('running');
  appendFileSync(records, `\n${JSON.stringify({ ...begun, id: 'cut-off' })}`);
  // To the end of a block: the next line needs another one.
  appendFileSync(records, ' '.repeat(BLOCK_BYTES - (statSync(records).size % BLOCK_BYTES)));
  mkdirSync(join(backup, '.partial-cut-off'));
  return 'cut-off';
}

async function withSnapshots(dir: string, count: number): Promise<string[]> {
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const names: string[] = [];
  for (let i = 0; i < count; i++) {
    writeFileSync(join(dir, 'a.bin'), Buffer.alloc(2 * MiB, i + 1));
    names.push((await backup.backup()).name);
  }
  return names;
}

test('with 0 bytes free, prune removes snapshots and gives their space back', async (context) => {
  const dir = await smallDisk(context);
  const names = await withSnapshots(dir, 3);
  const cutOff = leaveInterruptedRun(dir);
  fill(dir);
  const lifecycle = new Lifecycle({ dataDir: dir });
  const { removed } = await new Snapshots({ dataDir: dir, lifecycle }).prune({ keep: 1 });
  expect(removed.map(({ name }) => name)).toEqual(names.slice(0, 2));
  const { bavail, bsize } = statfsSync(dir);
  expect(bavail * bsize).toBeGreaterThan(3 * MiB);
  // What found no room is told all the same, and is on disk once there is some.
  const find = (runs: Awaited<ReturnType<Lifecycle['runs']>>) => runs.find(({ id }) => id === cutOff)?.state;
  expect(find(await lifecycle.runs())).toMatchObject({ status: 'failed', code: 'INTERRUPTED' });
  await new BackupCoordinator({ dataDir: dir, engine: 'files', lifecycle }).backup();
  expect(find(await new Lifecycle({ dataDir: dir }).runs())).toMatchObject({ code: 'INTERRUPTED' });
});

test('a snapshot that finds no room is on record as that, also for the next process', async (context) => {
  const dir = await smallDisk(context);
  await withSnapshots(dir, 1);
  // The line that begins the run fits into the last block of the record; the line that ends it does not.
  const { records } = layoutOf(dir);
  const begun = readFileSync(records, 'utf8').split('\n')[0]!;
  const roomBytes = BLOCK_BYTES - (statSync(records).size % BLOCK_BYTES);
  appendFileSync(records, ' '.repeat(roomBytes + BLOCK_BYTES - begun.length - 64));
  const backup = new BackupCoordinator({
    dataDir: dir,
    engine: 'files',
    checkpoint: async () => fill(dir),
  });
  await expect(backup.backup({ reuse: false })).rejects.toMatchObject({ code: 'NO_SPACE' });
  const [last] = (await new Snapshots({ dataDir: dir }).runs({ limit: 1 })).runs;
  expect(last?.state).toMatchObject({ status: 'failed', code: 'NO_SPACE' });
  const status = await new Snapshots({ dataDir: dir }).status();
  expect(status.notes).toContainEqual(expect.stringContaining('(NO_SPACE)'));
});

test('a snapshot that would leave the database no room is refused before its checkpoint', async (context) => {
  const dir = await smallDisk(context);
  const database = await openLsm(dir, { ...SMALL_LOG, memtableBytes: 64 * 1024 });
  for (let i = 0; i < 64; i++) await database.put(`key${i}`, randomBytes(64 * 1024));
  await database.checkpoint();
  await database.compact();
  let checkpoints = 0;
  const checkpoint = () => {
    checkpoints++;
    return database.hold();
  };
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'lsm', checkpoint });
  const filling = join(dir, '.filling');
  const leave = (bytes: number) => {
    const { bavail, bsize } = statfsSync(dir);
    writeFileSync(filling, Buffer.alloc(bavail * bsize - bytes, 1));
  };
  // It would fit, and the next write of the database would not.
  leave(4.5 * MiB);
  await expect(backup.backup()).rejects.toMatchObject({
    code: 'NO_SPACE',
    message: expect.stringMatching(
      /needs at least 4\.\d MiB and must leave 1\.\d MiB for the database, and /,
    ),
  });
  expect(checkpoints).toBe(0);
  await database.put('after', 'that');
  const { next } = await new Snapshots({ dataDir: dir }).status();
  expect(next).toMatchObject({ fits: false });
  rmSync(filling);
  const { name } = await backup.backup();
  // The next one shares all but the log, and is refused for no table of its own.
  leave(2 * MiB);
  expect((await backup.backup()).name).not.toBe(name);
  expect(checkpoints).toBe(2);
  await database.close();
});

test('a LevelDB is not refused for tables that it does not need any more', async (context) => {
  const dir = await smallDisk(context);
  const database = new ClassicLevel<string, Buffer>(dir, { valueEncoding: 'buffer' });
  await database.put('key', randomBytes(64 * 1024));
  await database.close();
  for (let i = 0; i < 10; i++) writeFileSync(join(dir, `9000${i}0.ldb`), randomBytes(MiB));
  expect((await new BackupCoordinator({ dataDir: dir }).backup()).totalBytes).toBeLessThan(MiB);
});

test('a lifecycle folder that is a mount of its own has the space that it has', async (context) => {
  const dir = await smallDisk(context);
  const database = await openLsm(dir, { ...SMALL_LOG, memtableBytes: 64 * 1024 });
  for (let i = 0; i < 96; i++) await database.put(`key${i}`, randomBytes(64 * 1024));
  await database.checkpoint();
  await database.close();
  mountInMemory(context, join(dir, '.lifecycle'), 32 * MiB);
  const { bavail, bsize } = statfsSync(dir);
  writeFileSync(join(dir, '.filling'), Buffer.alloc(bavail * bsize - MiB, 1));
  expect((await new Snapshots({ dataDir: dir }).status()).next).toMatchObject({ fits: true });
  expect((await new BackupCoordinator({ dataDir: dir }).backup()).totalBytes).toBeGreaterThan(5 * MiB);
});

test('with 0 bytes free, an attempt is on record, and what is pruned then is, too', async (context) => {
  const dir = await smallDisk(context);
  await withSnapshots(dir, 2);
  const { records } = layoutOf(dir);
  appendFileSync(records, ' '.repeat(BLOCK_BYTES - (statSync(records).size % BLOCK_BYTES)));
  fill(dir);
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  await expect(backup.backup({ reuse: false })).rejects.toMatchObject({ code: 'NO_SPACE' });
  await new Snapshots({ dataDir: dir }).prune({ keep: 1 });
  expect((await new Snapshots({ dataDir: dir }).runs({ limit: 2 })).runs).toMatchObject([
    { kind: 'prune', upkeep: { folders: 2, removed: 1 } },
    { kind: 'backup', state: { status: 'failed', code: 'NO_SPACE' } },
  ]);
});

test.for(['verify', 'verify all', 'a restore'] as const)(
  'with 0 bytes free, damage that %s finds stays known',
  async (how, context) => {
    const dir = await smallDisk(context);
    const [damaged = '', good] = await withSnapshots(dir, 2);
    const store = new Snapshots({ dataDir: dir });
    const path = join(layoutOf(dir).backup, damaged, 'a.bin');
    fill(dir);
    const bytes = readFileSync(path);
    bytes[MiB]! ^= 1;
    writeFileSync(path, bytes, { flag: 'r+' });
    const into = join(await temporaryFolder(), 'into');
    if (how === 'verify') expect(await store.verify(damaged)).toMatchObject({ verdict: 'copy-damaged' });
    else if (how === 'verify all') expect(await store.verifyAll()).toMatchObject({ ok: false, warnings: [] });
    else await expect(store.restore(damaged, { into })).rejects.toThrow();
    const list = await new Snapshots({ dataDir: dir }).list();
    expect(list.latestGood).toBe(good);
    expect(list.snapshots.find(({ name }) => name === damaged)?.state).toBe('damaged');
  },
);

test('damage that cannot be put on record is told', async (context) => {
  const dir = await smallDisk(context);
  const [damaged = ''] = await withSnapshots(dir, 1);
  const { lifecycle, backup } = layoutOf(dir);
  rmSync(join(lifecycle, 'reserve-proofs'));
  fill(dir);
  rmSync(join(backup, damaged, 'a.bin'));
  fill(dir);
  const { findings } = await new Snapshots({ dataDir: dir }).verify(damaged);
  expect(findings.map(({ code }) => code)).toEqual(['FILE_MISSING', 'LEDGER_NOT_WRITTEN']);
});

test('with 0 bytes free, recover ends what was interrupted', async (context) => {
  const dir = await smallDisk(context);
  await withSnapshots(dir, 1);
  const cutOff = leaveInterruptedRun(dir);
  fill(dir);
  const lifecycle = new Lifecycle({ dataDir: dir });
  expect(await lifecycle.recover()).toMatchObject({ restore: null, interrupted: [cutOff] });
  expect((await lifecycle.runs()).find(({ id }) => id === cutOff)?.state.code).toBe('INTERRUPTED');
});

test.for([1, 2, 3])(
  'with 0 bytes free, recover ends a restore that died at rename %i',
  async (at, context) => {
    const dir = await smallDisk(context);
    await withSnapshots(dir, 1);
    writeFileSync(join(dir, 'b.bin'), 'old');
    const layout = layoutOf(dir);
    const from = join(layout.restore, 'run', 'data');
    mkdirSync(from, { recursive: true });
    writeFileSync(join(from, 'a.bin'), 'new');
    let moves = 0;
    const { fs } = inlineEnvironment;
    const dying: typeof fs = {
      ...fs,
      async rename(old, name) {
        if (!old.endsWith('.tmp') && ++moves === at) throw new StillpointError('INTERNAL', 'dead');
        return fs.rename(old, name);
      },
    };
    const undo = join(layout.undo, 'ts-1');
    const exchange = await DirectoryExchange.begin(dying, layout, { id: 'run', from, undo, keep: [] });
    await expect(exchange.forward()).rejects.toThrow('dead');
    fill(dir);
    expect((await new Lifecycle({ dataDir: dir }).recover()).restore).toBe('new');
    expect(readdirSync(dir).sort()).toEqual(['.lifecycle', 'a.bin']);
    expect(readFileSync(join(dir, 'a.bin'), 'utf8')).toBe('new');
    expect(readdirSync(undo).sort()).toEqual(['a.bin', 'b.bin']);
  },
);

test('with 0 bytes free, a server starts, serves reads, and can be asked to make room', async (context) => {
  const dir = await smallDisk(context);
  const database = await openLsm(dir);
  await database.put('key', 'value');
  await database.close();
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'lsm' });
  const [first] = [await backup.backup(), await backup.backup({ reuse: false })];
  leaveInterruptedRun(dir);
  fill(dir);
  const server = await startServer({ dataDir: dir, backend: lsmBackend(), port: 0 });
  try {
    expect((await fetch(`${server.url}/api/admin/health`)).status).toBe(200);
    const reply = await fetch(`${server.url}/api/admin/backups/${first.name}`, { method: 'DELETE' });
    expect(reply.status).toBe(200);
    expect(existsSync(first.location)).toBe(false);
  } finally {
    rmSync(join(dir, '.lifecycle', 'filling'));
    await server.close();
  }
});
