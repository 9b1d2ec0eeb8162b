import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { crc32 } from '../../src/format/crc32.ts';
import {
  BackupCoordinator,
  Lifecycle,
  RestoreCoordinator,
  restoreSnapshot,
  Snapshots,
  type StillpointError,
  verifySnapshot,
} from '../../src/index.ts';
import { openLsm } from '../../src/lsm-database/database.ts';
import { LEVELS } from '../../src/options/choices.ts';
import { chanceFrom } from '../support/chance.ts';
import {
  anywhere,
  DAMAGE_KINDS,
  type Damage,
  type Region,
  readFiles,
  Victim,
} from '../support/corruption.ts';
import { copyFixture, describeWithFixtures } from '../support/fixtures.ts';
import { plainDirectory, readTree, statsOf } from '../support/folders.ts';
import { inlineEnvironment as environment } from '../support/inline.ts';
import { LSM_REGIONS, lsmRegions } from '../support/lsm-regions.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// Whatever happens to a byte of a snapshot is found, and the right file is named.

const CASES = perTier(200, 20_000);
const SEGMENT_BYTES = 4096;

const coordinatorOf = (dataDir: string, engine: 'lsm' | 'files') =>
  new BackupCoordinator({ dataDir, engine, lifecycle: new Lifecycle({ dataDir, environment }) });

interface Subject {
  readonly dir: string;
  readonly location: string;
  readonly older?: string;
  readonly regions: readonly Region[];
}

/** A database of several tables, tombstones and live log entries, with one snapshot of it in mid-life and one at the end. */
async function lsmSubject(): Promise<Subject> {
  const dir = await temporaryFolder();
  const database = await openLsm(dir, {
    walGeometry: { segmentBytes: SEGMENT_BYTES, segmentCount: 4 },
    compactAtTables: 100,
  });
  const backup = new BackupCoordinator({
    dataDir: dir,
    checkpoint: () => database.hold(),
    lifecycle: new Lifecycle({ dataDir: dir, environment }),
  });
  const chance = chanceFrom(1);
  const write = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const key = `key ${Math.floor(chance() * 60)}`;
      if (chance() < 0.2) await database.delete(key);
      else await database.put(key, Buffer.alloc(Math.floor(chance() * 300), key));
    }
  };
  for (let table = 0; table < 2; table++) {
    await write(30);
    await database.checkpoint();
  }
  await write(10);
  const older = await backup.backup();
  await database.checkpoint();
  await write(25);
  const { location, report } = await backup.backup();
  await database.close();
  expect(report.counts).toMatchObject({ tables: 3, walEntries: 25 });
  return { dir, location, older: older.location, regions: lsmRegions(readFiles(location), SEGMENT_BYTES) };
}

async function fixtureSubject(name: string, segmentBytes: number): Promise<Subject> {
  const dir = await copyFixture(`lsm/${name}`);
  const { location } = await coordinatorOf(dir, 'lsm').backup();
  return { dir, location, regions: lsmRegions(readFiles(location), segmentBytes) };
}

async function filesSubject(): Promise<Subject> {
  const dir = await plainDirectory({
    'a.txt': 'first',
    empty: '',
    'deep/er/b.bin': Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff)),
    'deep/twin': 'first',
    'zeros.bin': Buffer.concat([Buffer.alloc(90_000), Buffer.from('end')]),
    'ünïcødé \u{1f600}\n': 'a name of its own',
  });
  const backup = coordinatorOf(dir, 'files');
  const older = await backup.backup();
  writeFileSync(join(dir, 'a.txt'), 'second');
  writeFileSync(join(dir, 'new'), 'later');
  const { location } = await backup.backup();
  const regions = [...readFiles(location)].map(([path, bytes]) => anywhere('content', path, bytes));
  return { dir, location, older: older.location, regions };
}

/** Fails unless the verdict on a damaged snapshot is right, down to the files that it names. */
async function expectFound(location: string, damage: Damage, level: (typeof LEVELS)[number]): Promise<void> {
  const report = await verifySnapshot(location, { level, environment });
  const errors = report.findings.filter(({ severity }) => severity === 'error');
  const named = new Set(errors.map(({ path }) => path));
  const told = `${damage.what}, level ${level}: ${JSON.stringify(errors)}`;
  expect(report.ok, told).toBe(false);
  expect(report.verdict, told).toBe('copy-damaged');
  expect(
    errors.every(({ verdict }) => verdict === 'copy-damaged'),
    told,
  ).toBe(true);
  expect(
    damage.named.filter((path) => !named.has(path)),
    `not named; ${told}`,
  ).toEqual([]);
  const allowed = [...damage.named, ...damage.besides];
  expect(
    [...named].filter((path) => !allowed.includes(path)),
    `named and innocent; ${told}`,
  ).toEqual([]);
}

/** Fails unless both ways of restoring refuse a damaged snapshot and leave everything as it was. */
async function expectRefused({ dir, location }: Subject, { what }: Damage): Promise<void> {
  const outside = await temporaryFolder();
  const refusal = { code: 'RESTORE_INTEGRITY_MISMATCH' };
  const into = join(outside, 'new');
  await expect(restoreSnapshot(location, { into, environment }), what).rejects.toMatchObject(refusal);
  expect(readdirSync(outside), what).toEqual([]);

  const state = () => [
    readTree(dir),
    statsOf(
      dir,
      readdirSync(dir).filter((name) => name !== '.lifecycle'),
    ),
    readFileSync(join(dir, '.lifecycle/backup/latest')),
  ];
  const before = state();
  const calls: string[] = [];
  const lifecycle = new Lifecycle({ dataDir: dir, environment });
  lifecycle.onMode((mode) => calls.push(mode));
  const restore = new RestoreCoordinator({ dataDir: dir, lifecycle, close: () => void calls.push('close') });
  await expect(restore.restore({ source: location }), what).rejects.toMatchObject(refusal);
  expect(state(), what).toEqual(before);
  expect(calls, what).toEqual([]);
  expect(existsSync(join(dir, '.lifecycle/restore-backup')), what).toBe(false);
  const staged = join(dir, '.lifecycle/restore');
  expect(existsSync(staged) ? readdirSync(staged) : [], what).toEqual([]);
}

/** One restore in so many is tried as well. */
const RESTORE_EVERY = 16;
const tally = { cases: 0, harmless: 0, refused: 0, kinds: new Map<string, number>() };

async function damageOf(subject: Subject, cases: number, seed: number): Promise<string[]> {
  const outside = await temporaryFolder();
  execFileSync('mkfifo', [join(outside, 'fifo')]);
  const { location, regions, older } = subject;
  const victim = new Victim(location, { regions, outside, seed, ...(older && { older }) });
  const hit = new Set<string>();
  for (let done = 0; done < cases; ) {
    const damage = victim.damage();
    if (damage === undefined) {
      tally.harmless++;
      continue;
    }
    await expectFound(location, damage, victim.below(4) > 0 ? 'full' : LEVELS[victim.below(3)]!);
    if (done % RESTORE_EVERY === 0) {
      await expectRefused(subject, damage);
      tally.refused++;
    }
    victim.undo();
    if (damage.region !== undefined) hit.add(damage.region);
    tally.kinds.set(damage.kind, (tally.kinds.get(damage.kind) ?? 0) + 1);
    tally.cases++;
    done++;
  }
  // What was undone is whole again: so each case stood for itself.
  expect(readFiles(location)).toEqual(victim.healthy);
  expect(await verifySnapshot(location, { environment })).toMatchObject({ ok: true, findings: [] });
  expect([...hit].sort()).toEqual(victim.regionNames.sort());
  return [...hit].sort();
}

describe('damage of any kind is found, with the file named (invariants 1, 6)', {
  timeout: 120_000 + CASES * 20,
}, () => {
  test('in a database of our own, in every part of every file', async () => {
    const hit = await damageOf(await lsmSubject(), Math.ceil(CASES * 0.6), 1);
    expect(hit).toEqual(LSM_REGIONS);
  });

  test('in plain files', async () => {
    const hit = await damageOf(await filesSubject(), Math.ceil(CASES * 0.4), 2);
    expect(hit).toEqual(['content', 'manifest']);
  });

  describeWithFixtures('lsm', 'in databases that the original engine wrote', () => {
    test('in every part of every file', async () => {
      const small = await damageOf(await fixtureSubject('small', 262_144), Math.max(60, CASES * 0.03), 3);
      const wrapped = await damageOf(await fixtureSubject('wrapped', 1024), Math.ceil(CASES * 0.2), 4);
      expect([small, wrapped]).toEqual([LSM_REGIONS, LSM_REGIONS]);
    });
  });

  test('a manifest of an older snapshot, its seal intact, is at odds with the files', async () => {
    const { location, older } = await filesSubject();
    writeFileSync(join(location, 'snapshot.manifest'), readFileSync(join(older!, 'snapshot.manifest')));
    const { findings, verdict } = await verifySnapshot(location, { environment });
    expect([verdict, ...findings.map(({ path, code }) => `${path} ${code}`)]).toEqual([
      'copy-damaged',
      'a.txt FILE_SIZE',
      'new FILE_EXTRA',
    ]);
  });

  // Parts that carry their own CRC-32 weigh the same in that of the file, whatever they say.
  test('files of another time with the very same size and CRC-32 are told apart', async () => {
    const states = ['first', 'other'].map(async (value, i) => {
      const dir = await temporaryFolder();
      const walGeometry = { segmentBytes: SEGMENT_BYTES, segmentCount: 2 };
      const clock = { ...environment.clock, nowMs: () => i };
      const database = await openLsm(dir, { walGeometry, clock });
      for (const key of ['a', 'b']) await database.put(key, value);
      await database.checkpoint();
      await database.put('c', value);
      await database.close();
      return (await coordinatorOf(dir, 'lsm').backup()).location;
    });
    const [here, there] = (await Promise.all(states)) as [string, string];
    for (const path of ['checkpoint.meta', 'lsm.wal', 'sst/1.sst']) {
      const [healthy, other] = [readFileSync(join(here, path)), readFileSync(join(there, path))];
      expect([other.length, crc32(other), other.equals(healthy)]).toEqual([
        healthy.length,
        crc32(healthy),
        false,
      ]);
      writeFileSync(join(here, path), other);
      for (const level of LEVELS) {
        const report = await verifySnapshot(here, { level, environment });
        expect(report).toMatchObject({ ok: false, findings: [{ path, code: 'FILE_CRC' }] });
      }
      const into = join(await temporaryFolder(), 'new');
      await expect(restoreSnapshot(here, { into, environment })).rejects.toMatchObject({
        code: 'RESTORE_INTEGRITY_MISMATCH',
      });
      writeFileSync(join(here, path), healthy);
    }
    expect((await verifySnapshot(here, { environment })).ok).toBe(true);
  });

  test('enough cases of each kind were tried', () => {
    const { cases, harmless, refused, kinds } = tally;
    console.log(
      `${cases} cases of damage, all found; ${refused} of them refused by both ways of restoring; ` +
        `${harmless} made no difference and do not count`,
    );
    expect(cases).toBeGreaterThanOrEqual(CASES);
    expect(refused).toBeGreaterThanOrEqual(CASES / RESTORE_EVERY);
    expect([...kinds.keys()].sort()).toEqual([...DAMAGE_KINDS].sort());
  });
});

describe('damage of the live database', () => {
  const leftIn = (dir: string) => readdirSync(join(dir, '.lifecycle/backup')).sort();

  /** Flips a bit of a file of the database and takes a snapshot; the file is whole again afterwards. */
  async function snapshotOfFlipped(backup: BackupCoordinator, dir: string, path: string, at: number) {
    const healthy = readFileSync(join(dir, path));
    const bytes = Buffer.from(healthy);
    bytes[at]! ^= 0x04;
    writeFileSync(join(dir, path), bytes);
    const failure = await backup.backup().then(
      () => undefined,
      (error: StillpointError) => error,
    );
    writeFileSync(join(dir, path), healthy);
    return failure;
  }

  test('fails the snapshot, names file and offset, and leaves the newest proven one alone', async () => {
    const { dir, regions, location } = await lsmSubject();
    const backup = coordinatorOf(dir, 'lsm');
    const before = [leftIn(dir), readFileSync(join(dir, '.lifecycle/backup/latest'))];
    const chance = chanceFrom(5);
    const parts = [
      'table, header',
      'table, blocks',
      'table, index',
      'table, filter',
      'table, footer',
      'log, live',
    ];
    for (const region of regions.filter(({ name }) => parts.includes(name))) {
      for (let round = 0; round < 2; round++) {
        const at = region.offset(chance);
        const what = `${region.path}, byte ${at}, ${region.name}`;
        const failure = await snapshotOfFlipped(backup, dir, region.path, at);
        expect(failure, what).toMatchObject({ code: 'SOURCE_DAMAGED', path: region.path });
        const findings = failure!.data!.findings as { path: string; offset: number | null }[];
        expect(failure!.data!.verdict, what).toBe('source-damaged');
        expect(new Set(findings.map(({ path }) => path)), what).toEqual(new Set([region.path]));
        expect(
          findings.some(({ offset }) => offset !== null),
          `${what}: ${failure!.message}`,
        ).toBe(true);
      }
    }
    expect([leftIn(dir), readFileSync(join(dir, '.lifecycle/backup/latest'))]).toEqual(before);
    expect((await verifySnapshot(location, { environment })).ok).toBe(true);
    expect(await backup.backup()).toMatchObject({ report: { ok: true, verdict: 'faithful' } });
  });

  test('is found too while the database is open and holds its state', async () => {
    const dir = await temporaryFolder();
    const database = await openLsm(dir, { walGeometry: { segmentBytes: SEGMENT_BYTES, segmentCount: 4 } });
    for (let i = 0; i < 40; i++) await database.put(`key ${i}`, 'value');
    await database.checkpoint();
    const lifecycle = new Lifecycle({ dataDir: dir, environment });
    const checkpoint = () => database.hold();
    const backup = new BackupCoordinator({ dataDir: dir, checkpoint, lifecycle });
    const { name } = await backup.backup();
    const failure = await snapshotOfFlipped(backup, dir, 'sst/1.sst', 100);
    expect(failure).toMatchObject({ code: 'SOURCE_DAMAGED', path: 'sst/1.sst' });
    expect(failure!.data!.findings).toContainEqual(
      expect.objectContaining({ code: 'LSM_TABLE_BLOCK_CHECKSUM', offset: 32, verdict: 'source-damaged' }),
    );
    expect((await new Snapshots({ dataDir: dir }).list()).latest).toBe(name);
    expect(database.stats().holds).toBe(0);
    await database.close();
  });
});

describe('no false alarm', () => {
  const SNAPSHOTS = 50;

  test(`${SNAPSHOTS} healthy snapshots of all sorts hold at every level`, async () => {
    const chance = chanceFrom(6);
    const below = (limit: number) => Math.floor(chance() * limit);
    let verified = 0;
    const expectHealthy = async (backup: BackupCoordinator, options: { mode?: 'copy' | 'link' }) => {
      const { location } = await backup.backup(options);
      for (const level of LEVELS) {
        const { ok, verdict, findings } = await verifySnapshot(location, { level, environment });
        expect({ ok, verdict, findings }, `seed 6, ${verified}, ${level}`).toEqual({
          ok: true,
          verdict: 'faithful',
          findings: [],
        });
      }
      verified++;
    };
    while (verified < SNAPSHOTS / 2) {
      const dir = await plainDirectory({
        first: 'there is always one',
        ...Object.fromEntries(
          Array.from({ length: below(12) }, (_, i) => [
            ['', 'folder/', 'deep/er/', 'deep/.lifecycle/'][below(4)]! +
              ['ä', 'b c', '.d', 'é\n'][below(4)]! +
              i,
            below(2) === 0 ? Buffer.alloc(below(200_000)) : Buffer.alloc(below(9000), `${i} of ${verified}`),
          ]),
        ),
      });
      await mkdir(join(dir, 'nothing in it'));
      await expectHealthy(coordinatorOf(dir, 'files'), {});
    }
    while (verified < SNAPSHOTS) {
      const dir = await temporaryFolder();
      const walGeometry = { segmentBytes: 512 + below(5000), segmentCount: 1 + below(6) };
      const database = await openLsm(dir, {
        walGeometry,
        memtableBytes: 2000,
        compactAtTables: 2 + below(4),
      });
      const checkpoint = () => database.hold();
      const lifecycle = new Lifecycle({ dataDir: dir, environment });
      for (const hold of [true, below(2) === 0]) {
        const backup = new BackupCoordinator({ dataDir: dir, lifecycle, ...(hold && { checkpoint }) });
        for (let i = below(60); i > 0; i--) {
          if (below(5) === 0) await database.delete(`key ${below(30)}`);
          else await database.put(`key ${below(30)}`, Buffer.alloc(below(120), 'v'));
        }
        if (below(3) === 0) await database.checkpoint();
        await expectHealthy(backup, { mode: below(2) === 0 ? 'copy' : 'link' });
      }
      await database.close();
    }
    expect(verified).toBeGreaterThanOrEqual(SNAPSHOTS);
  });
});
