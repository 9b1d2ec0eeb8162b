import { appendFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import type { FileCheck } from '../../src/engine/engine.ts';
import { partsEngine } from '../../src/engine/parts/index.ts';
import { BackupCoordinator, RestoreCoordinator, restoreSnapshot, verifySnapshot } from '../../src/index.ts';
import { temporaryFolder } from '../support/temp.ts';
import { numbersOf, startTyingWriter } from '../support/tied-parts.ts';
import { perTier } from '../support/tier.ts';

test('parts tied together by a writer: each snapshot is exactly what is promised of their common instant', async () => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  const writer = await startTyingWriter(dir);
  let held: number | undefined;
  const backups = new BackupCoordinator({
    dataDir: dir,
    async checkpoint() {
      if (held === undefined) return;
      held = await writer.pause();
      return { release: () => writer.go() };
    },
  });
  let apart = 0;
  for (let i = 0; i < perTier(1, 300); i++) {
    if (i % 2 === 1) await writer.replaceSettings();
    const run = backups.backup({ keep: 3 });
    // Once while it runs, at no particular moment: the plain file must be of one moment with every part, or all is planned again.
    const replaced = i % 3 === 0 ? writer.replaceSettings() : undefined;
    const { location, engine, report } = await run;
    await replaced;
    expect([engine, report.verdict]).toEqual(['parts', 'faithful']);
    const { parts, settings } = await numbersOf(location, join(root, 'copy'));
    // Captured in the order a, m, z, and written in the order z, m, a: what an earlier part has, a later one has too.
    expect(parts).toEqual([...parts].sort((a, b) => a - b));
    if (parts[0]! < parts.at(-1)!) apart++;
    // Every part has what was written before these settings, and none what was written after the next ones.
    const next = writer.settings[writer.settings.indexOf(settings) + 1] ?? Number.POSITIVE_INFINITY;
    expect(parts[0]).toBeGreaterThanOrEqual(settings);
    expect(parts.at(-1)).toBeLessThanOrEqual(next);
  }
  console.info(`${apart} snapshots with parts of different instants`);
  for (let i = 0; i < perTier(1, 30); i++) {
    held = 0;
    const { location } = await backups.backup({ keep: 3 });
    const { parts } = await numbersOf(location, join(root, 'copy'));
    expect(parts).toEqual([held, held, held]); // with a hold on all writes, one instant
  }
  await writer.stop();
});

/** A folder as games, nodes and browsers have it: databases, and files whose names look as if they belonged to one. */
async function world(database: string): Promise<{ dir: string; db: ClassicLevel }> {
  const dir = join(await temporaryFolder(), 'world');
  mkdirSync(join(dir, 'rocks'), { recursive: true });
  const db = new ClassicLevel(join(dir, database));
  await db.open();
  for (let i = 0; i < 200; i++) await db.put(`key${i}`, 'value'.repeat(20));
  await db.compactRange('a', 'z');
  await db.put('last', 'in the log');
  writeFileSync(join(dir, 'level.dat'), 'level');
  writeFileSync(join(dir, '20261127.log'), 'a text that is no log of a database');
  for (const name of ['CURRENT', 'OPTIONS-000003', 'MANIFEST-000001'])
    writeFileSync(join(dir, 'rocks', name), name);
  return { dir, db };
}

const OTHERS = [
  '20261127.log',
  'level.dat',
  'rocks/CURRENT',
  'rocks/MANIFEST-000001',
  'rocks/OPTIONS-000003',
];

test('parts: a database that is open and the files around it are one snapshot; what is damaged is named by its part', async () => {
  const { dir, db } = await world('db');
  const backups = new BackupCoordinator({ dataDir: dir });
  const first = await backups.backup();
  const files = JSON.parse(readFileSync(join(first.location, 'snapshot.manifest'), 'utf8')).entries.map(
    ({ path }: { path: string }) => path,
  );
  expect(files.filter((path: string) => !path.startsWith('db/'))).toEqual(OTHERS);
  expect(files).not.toContain('db/LOCK');
  expect(first).toMatchObject({
    engine: 'parts',
    report: { ok: true, counts: { tables: 1, walLastLsn: '201' } },
  });
  const second = await backups.backup(); // plain files and tables that are unchanged are shared
  expect(second.reusedBytes).toBeGreaterThan(first.totalBytes / 2);
  expect(await verifySnapshot(dir)).toMatchObject({ engine: 'parts', ok: true });

  const into = join(dir, '..', 'one');
  await restoreSnapshot(second.location, { into, files: ['level.dat'] });
  expect(readdirSync(into)).toEqual(['level.dat']);
  const cut = restoreSnapshot(second.location, { into: `${into}2`, files: ['db/CURRENT'] });
  await expect(cut).rejects.toMatchObject({ code: 'INVALID_REQUEST' });

  // Bytes of a plain file say nothing; those of a table must be what its engine wrote.
  appendFileSync(join(dir, '20261127.log'), 'more');
  await backups.backup();
  await db.close();
  const table = readdirSync(join(dir, 'db')).find((name) => name.endsWith('.ldb'))!;
  const bytes = readFileSync(join(dir, 'db', table));
  bytes[10]! ^= 1;
  writeFileSync(join(dir, 'db', table), bytes);
  await expect(backups.backup()).rejects.toMatchObject({ code: 'SOURCE_DAMAGED', path: `db/${table}` });

  const files2 = new BackupCoordinator({ dataDir: dir, engine: 'files' }); // bytes alone, as they are
  expect(await files2.backup()).toMatchObject({ engine: 'files' });
  rmSync(join(dir, 'db'), { recursive: true });
  await expect(new BackupCoordinator({ dataDir: dir, engine: 'parts' }).backup()).rejects.toMatchObject({
    code: 'ENGINE_MISMATCH',
  });
});

test('parts: a database whose own folder holds other files is captured whole on request, restored in place, and brought back', async () => {
  const { dir, db } = await world('');
  mkdirSync(join(dir, 'ancient'));
  writeFileSync(join(dir, 'ancient', 'bodies.0000.cdat'), 'bodies');
  const byDefault = await new BackupCoordinator({ dataDir: dir }).backup();
  expect(byDefault).toMatchObject({ engine: 'leveldb', leftOut: ['ancient', 'level.dat', 'rocks'] });
  await db.close();
  rmSync(join(dir, '20261127.log')); // at this root it has the name of a log of the database
  const { name } = await new BackupCoordinator({ dataDir: dir, engine: 'parts' }).backup();
  const ancient = join(dir, 'ancient', 'bodies.0000.cdat');
  writeFileSync(ancient, 'changed');
  const hooks = { close: async () => {}, open: async () => {} };
  const restores = new RestoreCoordinator({ dataDir: dir, ...hooks });
  await restores.restore({ source: name });
  expect(readFileSync(ancient, 'utf8')).toBe('bodies');
  await restores.undo();
  expect(readFileSync(ancient, 'utf8')).toBe('changed');
  await db.open();
  expect(await db.get('last')).toBe('in the log');
  await db.close();
});

test('parts: what was read as a plain file is no proof of a database, and a database that is gone is a setback', () => {
  const check: FileCheck = { sizeBytes: 1, crc32: 1, findings: [], counts: {} };
  const paths = ['db/000005.ldb', 'db/CURRENT', 'db/MANIFEST-000004', 'level.dat'];
  const checks = new Map(paths.map((path) => [path, check]));
  const { findings } = partsEngine.checkConsistency(checks, { level: 'full', live: false });
  const unread = findings.filter(({ verdict }) => verdict === 'unread').map(({ path }) => path);
  expect(unread).toEqual(paths.slice(0, 3));
  const content = { kind: 'manifest', lastSequence: '7' };
  const facts = new Map<string, unknown>(paths.map((path) => [path, undefined]));
  facts.set('db/MANIFEST-000004', { by: 'leveldb', facts: { content, deferred: [] } });
  const { positionOf, setbackOf } = partsEngine.history!;
  const before = positionOf(facts);
  expect(setbackOf(before, before)).toBeUndefined();
  expect(setbackOf([], before)).toBe('the database in db is gone');
});
