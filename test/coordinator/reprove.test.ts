import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  BackupCoordinator,
  Lifecycle,
  openLsm,
  type StartBackupOptions,
  verifyAllSnapshots,
  verifySnapshot,
} from '../../src/index.ts';
import { type Environment, systemEnvironment } from '../../src/snapshot/environment.ts';
import { readManifest } from '../../src/snapshot/store/manifest-file.ts';
import { plainDirectory, setOldTime } from '../support/folders.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { BUSY } from '../support/lsm-workload.ts';
import { rot } from '../support/rot.ts';
import { temporaryFolder } from '../support/temp.ts';

const TABLE = 'deep/er/b.bin';

async function sharing() {
  const dir = await plainDirectory();
  setOldTime(join(dir, TABLE));
  const plan = { items: [{ kind: 'immutable' as const, path: TABLE }] };
  const backup = new BackupCoordinator({
    dataDir: dir,
    engine: 'files',
    checkpoint: () => ({ plan, release() {} }),
  });
  return { dir, backup, first: await backup.backup() };
}

const provenAt = async (location: string) =>
  (await readManifest(systemEnvironment, location))?.entries[0]?.proven_at_ms;

test('with reprove a shared file is read again, and is proven now', async () => {
  const { backup, first } = await sharing();
  const carried = await backup.backup();
  expect(await provenAt(carried.location)).toBeGreaterThan(0);
  const reproven = await backup.backup({ reprove: true });
  expect([first.reusedBytes, reproven.reusedBytes]).toEqual([0, 300_000]);
  const told = [first, carried, reproven].map((result) => [result.carriedBytes, result.reprovenBytes]);
  expect(told).toEqual([
    [0, 0],
    [300_000, 0],
    [0, 300_000],
  ]);
  expect(await provenAt(reproven.location)).toBeUndefined();
  expect(reproven.report).toMatchObject({ ok: true, counts: { files: 1, bytes: 300_000 } });
});

test('damage since the last proof is found with reprove, and only with it', async () => {
  const { backup, first } = await sharing();
  rot(join(first.location, TABLE), 4711);
  const blind = await backup.backup();
  expect(blind.reusedBytes).toBe(300_000);
  await expect(backup.backup({ reprove: true })).rejects.toMatchObject({
    code: 'COPY_DAMAGED',
    path: TABLE,
    hint: expect.stringContaining('reuse: false'),
  });
  expect(await backup.latestLocation()).toBe(blind.location);
  // That is on record now: the next one, whoever asks for it, does not share the file.
  const whole = await backup.backup();
  expect([whole.copiedBytes, whole.reusedBytes]).toEqual([300_000, 0]);
  expect((await verifySnapshot(whole.location)).ok).toBe(true);
});

test('a file that verify found damaged is not shared any more', async () => {
  const { backup, first } = await sharing();
  rot(join(first.location, TABLE), 4711);
  expect((await verifySnapshot(first.location)).verdict).toBe('copy-damaged');
  const next = await backup.backup();
  expect([next.copiedBytes, next.reusedBytes]).toEqual([300_000, 0]);
  expect((await verifySnapshot(next.location)).ok).toBe(true);
  expect((await backup.backup()).reusedBytes).toBe(300_000);
});

test('a damaged file counts as damaged in all snapshots that share it', async () => {
  const { dir, backup, first } = await sharing();
  const second = await backup.backup();
  rot(join(first.location, TABLE), 4711);
  expect((await verifySnapshot(first.location)).verdict).toBe('copy-damaged');
  const { ok, totals, snapshots } = await verifyAllSnapshots(dir, { olderThanMs: 86_400_000 });
  expect([ok, totals.readFiles, snapshots.map(({ report }) => report.ok)]).toEqual([
    false,
    1,
    [false, false],
  ]);
  const third = await backup.backup();
  expect([third.copiedBytes, third.reusedBytes]).toEqual([300_000, 0]);
  expect((await verifySnapshot(second.location)).ok).toBe(false);
  expect((await verifySnapshot(third.location)).ok).toBe(true);
});

test('a shared file that is written to while a snapshot is taken is read again, or has no proof', async () => {
  const { dir, first } = await sharing();
  const file = join(first.location, TABLE);
  const plan = { items: [{ kind: 'immutable' as const, path: TABLE }] };
  const backup = ({ afterSharing, probe }: { afterSharing?: () => void; probe?: () => void } = {}) => {
    const { fs } = systemEnvironment;
    const link: typeof fs.link = async (from, to) => {
      await fs.link(from, to);
      if (from === file) afterSharing?.();
    };
    const environment = { ...systemEnvironment, fs: { ...fs, link } };
    const lifecycle = new Lifecycle({ dataDir: dir, environment });
    return new BackupCoordinator({
      ...{ dataDir: dir, engine: 'files', lifecycle },
      checkpoint: () => ({ plan, release() {} }),
    }).backup({ ...(probe && { probe: async () => probe() }) });
  };
  // After it was shared, before the proof looks at it: read again, and found.
  let isShared = false;
  const afterSharing = () => {
    isShared = true;
    writeFileSync(file, Buffer.alloc(300_000, 1));
  };
  await expect(backup({ afterSharing })).rejects.toMatchObject({ code: 'COPY_DAMAGED', path: TABLE });
  expect(isShared).toBe(true);
  // After the proof, before it is on record: nobody takes the new bytes for proven.
  const whole = await backup();
  const other = join(whole.location, TABLE);
  await backup({ probe: () => writeFileSync(other, Buffer.alloc(300_000, 2)) });
  const next = await backup();
  expect([next.copiedBytes, next.reusedBytes]).toEqual([300_000, 0]);
  expect((await verifySnapshot(next.location)).ok).toBe(true);
});

test('a file that is written to while it is verified gets no proof', async () => {
  const { backup, first } = await sharing();
  const file = join(first.location, TABLE);
  const { pool } = inlineEnvironment;
  const environment: Environment = {
    ...inlineEnvironment,
    pool: {
      ...pool,
      async run(name, args, control): Promise<never> {
        const result = await pool.run(name, args, control);
        if (name === 'checkFiles') writeFileSync(file, Buffer.alloc(300_000, 1)); // read, and not on record yet
        return result as never;
      },
    },
  };
  expect((await verifySnapshot(first.location, { environment })).ok).toBe(true);
  const next = await backup.backup();
  expect([next.copiedBytes, next.reusedBytes]).toEqual([300_000, 0]);
  expect((await verifySnapshot(next.location)).ok).toBe(true);
});

test('with reprove a file that is linked once more is read again', async () => {
  const dir = join(await temporaryFolder(), 'data');
  const database = await openLsm(dir, BUSY);
  await database.put('a', 'b');
  await database.checkpoint();
  for (const name of readdirSync(join(dir, 'sst'))) setOldTime(join(dir, 'sst', name));
  const backup = new BackupCoordinator({ dataDir: dir, checkpoint: () => database.hold() });
  const tableProof = async (options: StartBackupOptions) => {
    const { location, linkedBytes } = await backup.backup({ mode: 'link', ...options });
    expect(linkedBytes).toBeGreaterThan(0);
    const manifest = await readManifest(systemEnvironment, location);
    return manifest?.entries.find(({ path }) => path.startsWith('sst/'))?.proven_at_ms;
  };
  expect(await tableProof({})).toBeUndefined();
  expect(await tableProof({})).toBeGreaterThan(0);
  expect(await tableProof({ reprove: true })).toBeUndefined();
  await database.close();
});

test('a copy after a link has files of its own', async () => {
  const dir = await temporaryFolder();
  const db = await openLsm(dir, BUSY);
  for (let i = 0; i < 500; i++) await db.put(`key ${i}`, 'v'.repeat(100));
  await db.checkpoint();
  await db.close();
  const backup = new BackupCoordinator({ dataDir: dir });
  expect((await backup.backup({ mode: 'link' })).linkedBytes).toBeGreaterThan(0);
  const { location, reusedBytes } = await backup.backup({ mode: 'copy' });
  const tables = readdirSync(join(dir, 'sst'));
  expect([tables.length > 0, reusedBytes]).toEqual([true, 0]);
  for (const name of tables)
    expect(statSync(join(location, 'sst', name)).ino).not.toBe(statSync(join(dir, 'sst', name)).ino);
});
