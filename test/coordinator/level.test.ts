import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import {
  BackupCoordinator,
  probeWithClassicLevel,
  RestoreCoordinator,
  restoreSnapshot,
  snapshotClassicLevel,
  verifySnapshot,
} from '../../src/index.ts';
import { startScript } from '../support/process.ts';
import { makeSmallLsm } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

const SMALL = { writeBufferSize: 64 * 1024, maxFileSize: 64 * 1024 };

/** Overwrites, deletes and enough bytes for flushes and compactions. */
async function fill(db: ClassicLevel, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i++) {
    await db.batch([
      { type: 'put', key: 'head', value: String(i) },
      { type: 'put', key: `k:${i}`, value: `${i} `.repeat(50) },
      { type: 'del', key: `k:${i - 1_000}` },
    ]);
  }
}

async function contentOf(dir: string): Promise<[string, string][]> {
  const db = new ClassicLevel(dir);
  try {
    return await db.iterator().all();
  } finally {
    await db.close();
  }
}

test.each(['copy', 'link'] as const)(
  'an open LevelDB is captured in mode %s with every acknowledged write, and changes nothing in the snapshot (invariants 3, 5)',
  async (mode) => {
    const root = await temporaryFolder();
    const db = new ClassicLevel(join(root, 'data'), SMALL);
    await fill(db, 0, 3_000);
    const before = await db.iterator().all();
    const snapshot = await snapshotClassicLevel(db, { mode, probe: probeWithClassicLevel({ count: true }) });
    expect(snapshot).toMatchObject({ engine: 'leveldb', report: { verdict: 'faithful' } });
    expect(snapshot.report.counts.tables).toBeGreaterThan(0);
    await fill(db, 3_000, 4_000);
    const after = await db.iterator().all();
    const into = join(root, 'restored');
    await restoreSnapshot(snapshot.location, { into });
    expect(await contentOf(into)).toEqual(before);
    // The engine, writing and compacting on, changed nothing in the snapshot (invariant 3); nor we in its folder.
    expect(await verifySnapshot(snapshot.location)).toMatchObject({ ok: true });
    await db.close();
    expect(await contentOf(join(root, 'data'))).toEqual(after);
  },
);

test('tables that stand in the last snapshot are shared with it, and carry its proof', async () => {
  const root = await temporaryFolder();
  const db = new ClassicLevel(join(root, 'data'), SMALL);
  await fill(db, 0, 3_000);
  await db.compactRange('', '~'); // afterwards nothing goes on by itself
  const first = await snapshotClassicLevel(db);
  const second = await snapshotClassicLevel(db);
  expect(second.reusedBytes).toBeGreaterThan(10_000);
  expect(second.copiedBytes + second.reusedBytes).toBe(first.copiedBytes);
  expect(second.report.counts).toEqual(first.report.counts);
  expect((await verifySnapshot(second.location)).ok).toBe(true);
  await db.close();
});

test('a LevelDB is restored in place, and the restore is undone', async () => {
  const dir = join(await temporaryFolder(), 'data');
  let db = new ClassicLevel(dir, SMALL);
  await fill(db, 0, 1_000);
  const { name } = await snapshotClassicLevel(db);
  await fill(db, 1_000, 1_500);
  const restore = new RestoreCoordinator({
    dataDir: dir,
    close: () => db.close(),
    open: async () => {
      db = new ClassicLevel(dir, SMALL);
      await db.open();
    },
  });
  await restore.restore({ source: name });
  expect(await db.get('head')).toBe('999');
  await restore.undo();
  expect(await db.get('head')).toBe('1499');
  await db.close();
});

test('a restore into the folder of an open database is refused from another process', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const db = new ClassicLevel(dir, SMALL);
  await fill(db, 0, 100);
  await snapshotClassicLevel(db);
  const child = startScript(
    `import { RestoreCoordinator } from 'stillpoint';
     const outcome = await new RestoreCoordinator({ dataDir: process.argv[2] }).restore().catch((error) => error);
     process.stdout.write(outcome.code);`,
    [dir],
  );
  const [code] = await new Promise<[Buffer]>((resolve) =>
    child.stdout.once('data', (chunk) => resolve([chunk])),
  );
  expect(code.toString()).toBe('CONFLICT');
  expect(await db.get('head')).toBe('99');
  await db.close();
});

test('a folder with the files of two engines is refused until one is chosen', async () => {
  const dir = join(await temporaryFolder(), 'data');
  await makeSmallLsm(dir);
  const db = new ClassicLevel(dir);
  await db.put('a', 'b');
  await expect(new BackupCoordinator({ dataDir: dir }).backup()).rejects.toMatchObject({
    code: 'ENGINE_MISMATCH',
  });
  expect((await snapshotClassicLevel(db)).engine).toBe('leveldb');
  await db.close();
});

test('a database that is still opening is waited for', async () => {
  const db = new ClassicLevel(join(await temporaryFolder(), 'data'));
  expect((await snapshotClassicLevel(db)).report.verdict).toBe('faithful');
  await db.close();
});

test('an argument that is no open LevelDB is a TypeError', async () => {
  await expect(snapshotClassicLevel({} as never)).rejects.toThrow(TypeError);
  const db = new ClassicLevel(join(await temporaryFolder(), 'data'));
  await db.close();
  await expect(snapshotClassicLevel(db)).rejects.toThrow(/open/);
  expect(() => new BackupCoordinator({ dataDir: '' })).toThrow(TypeError);
});
