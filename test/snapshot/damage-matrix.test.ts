import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Finding, Report } from '../../src/engine/report.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { crc32c } from '../../src/format/crc32c.ts';
import { parseFileName } from '../../src/format/leveldb/file-name.ts';
import { LogDecoder } from '../../src/format/leveldb/log.ts';
import { BackupCoordinator, Lifecycle, verifySnapshot } from '../../src/index.ts';
import { openLsm } from '../../src/lsm-database/database.ts';
import { chanceFrom } from '../support/chance.ts';
import { readFiles } from '../support/corruption.ts';
import { CORRUPTIONS, type Corruption, damageFile, MAKES_ANOTHER_STATE } from '../support/file-damage.ts';
import { type Unit, unitsOf } from '../support/file-units.ts';
import { fixFragments, fixLeveldbTable, fixLsmLog, fixLsmTable } from '../support/fix-checksums.ts';
import { plainDirectory } from '../support/folders.ts';
import { inlineEnvironment as environment } from '../support/inline.ts';
import { readAll } from '../support/leveldb.ts';
import { fill, writeFolder } from '../support/leveldb-folders.ts';
import { dumpLsm } from '../support/lsm.ts';
import { MANIFEST, sealed, textOf } from '../support/manifest-edits.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

/*
 * Every kind of damage to every kind of file of every engine, and to the copy as well as to the source: it is found, with the right
 * verdict, file and place, or it is proven that it does no harm. The long run asks for more of them.
 */

const CASES = perTier(120, 10_000);
const GEOMETRY = { segmentBytes: 2048, segmentCount: 4 };

interface Subject {
  readonly engine: 'lsm' | 'leveldb' | 'files';
  readonly location: string;
  readonly older: ReadonlyMap<string, Buffer>;
  /** What the engine itself reads in a folder; rejects when it refuses the folder. */
  read(dir: string): Promise<unknown>;
}

const backupOf = (dataDir: string, engine: Subject['engine']) =>
  new BackupCoordinator({ dataDir, engine, lifecycle: new Lifecycle({ dataDir, environment }) });

async function lsmSubject(): Promise<Subject> {
  const dir = await temporaryFolder();
  const database = await openLsm(dir, { walGeometry: GEOMETRY, compactAtTables: 100 });
  const backup = backupOf(dir, 'lsm');
  const write = async (from: number, count: number) => {
    for (let i = from; i < from + count; i++)
      await database.put(`key ${i % 25}`, Buffer.alloc((i * 37) % 300, `${i}`));
  };
  for (let table = 0; table < 2; table++) {
    await write(20 * table, 20);
    await database.checkpoint();
  }
  await write(40, 9);
  const older = readFiles((await backup.backup()).location);
  await database.checkpoint();
  await write(60, 14);
  await database.delete('key 3');
  const { location } = await backup.backup();
  await database.close();
  const read = async (folder: string) => {
    const opened = await openLsm(folder, { walGeometry: GEOMETRY });
    const pairs = await dumpLsm(opened);
    await opened.close();
    return pairs;
  };
  return { engine: 'lsm', location, older, read };
}

async function leveldbSubject(): Promise<Subject> {
  const dir = join(await temporaryFolder(), 'db');
  const backup = backupOf(dir, 'leveldb');
  await writeFolder(dir, (db) => fill(db, 250, 40), { compression: false });
  await writeFolder(dir, (db) => fill(db, 250, 60, 'more'), { compression: true });
  const older = readFiles((await backup.backup()).location);
  await writeFolder(dir, async (db) => {
    await fill(db, 40, 30, 'later');
    await db.del('key-00000007');
  });
  const { location } = await backup.backup();
  return { engine: 'leveldb', location, older, read: async (folder) => [...(await readAll(folder))] };
}

async function filesSubject(): Promise<Subject> {
  const dir = await plainDirectory({
    'a.txt': 'first',
    'b.txt': 'other',
    'deep/c.bin': Buffer.alloc(3000, 'abc'),
  });
  const backup = backupOf(dir, 'files');
  const older = readFiles((await backup.backup()).location);
  writeFileSync(join(dir, 'a.txt'), 'second');
  const { location } = await backup.backup();
  return { engine: 'files', location, older, read: async () => [] };
}

const kindOf = (engine: Subject['engine'], path: string): string => {
  if (path === MANIFEST) return MANIFEST;
  if (engine === 'files') return 'file';
  if (engine === 'leveldb') return parseFileName(path)?.kind ?? path;
  return path.startsWith('sst/') ? 'table' : path;
};

function fixOf(engine: Subject['engine'], kind: string): ((bytes: Buffer) => void) | undefined {
  if (engine === 'lsm') {
    if (kind === 'table') return fixLsmTable;
    if (kind === 'lsm.wal') return (bytes) => fixLsmLog(bytes, GEOMETRY);
    return (bytes) => void bytes.writeUInt32LE(crc32(bytes.subarray(0, 20)), 20);
  }
  if (kind === 'table') return fixLeveldbTable;
  return kind === 'log' || kind === 'manifest' ? (bytes) => fixFragments(bytes, 0) : undefined;
}

/** - `harmless`, `another state`: the engine itself reads the same, or something else, and has no complaint either. */
type Outcome = 'found' | 'warned' | 'harmless' | 'another state';
const tally = new Map<string, Map<Outcome, number>>();
const count = (row: string, outcome: Outcome): void => {
  const counts = tally.get(row) ?? new Map<Outcome, number>();
  tally.set(row, counts.set(outcome, (counts.get(outcome) ?? 0) + 1));
};

class Matrix {
  readonly #subject: Subject;
  readonly #healthy: ReadonlyMap<string, Buffer>;
  readonly #chance: () => number;
  #content: unknown;

  constructor(subject: Subject, seed: number) {
    this.#subject = subject;
    this.#healthy = readFiles(subject.location);
    this.#chance = chanceFrom(seed);
  }

  async run(cases: number): Promise<void> {
    const { location } = this.#subject;
    this.#content = await this.#read();
    const paths = [...this.#healthy.keys()];
    const kinds = [...new Set(paths.map((path) => kindOf(this.#subject.engine, path)))];
    for (let turn = 0, done = 0; done < cases; turn++) {
      // Kinds and corruptions take turns: a kind with few files, or a corruption that is seldom possible, is not left out.
      const kind = kinds[turn % kinds.length]!;
      const how = CORRUPTIONS[Math.floor(turn / kinds.length) % CORRUPTIONS.length]!;
      const same = paths.filter((path) => kindOf(this.#subject.engine, path) === kind);
      const path = same[this.#below(same.length)]!;
      if (await this.#damage(path, kind, how)) done++;
      else expect(turn, 'something can be damaged').toBeLessThan(10 * cases + 1000);
    }
    expect(readFiles(location)).toEqual(this.#healthy);
    expect(await verifySnapshot(location, { environment })).toMatchObject({ ok: true, findings: [] });
  }

  #below = (limit: number): number => Math.floor(this.#chance() * limit);

  async #damage(path: string, kind: string, how: Corruption): Promise<boolean> {
    const { engine, location, older } = this.#subject;
    const healthy = this.#healthy.get(path)!;
    const others = [...this.#healthy].filter(
      ([other]) => other !== path && kindOf(engine, other) === kindOf(engine, path),
    );
    const damaged = damageFile(healthy, how, {
      below: this.#below,
      older: older.get(path),
      others: others.map(([, bytes]) => bytes),
      fix: fixOf(engine, kind),
    });
    if (damaged === undefined) return false;
    const what = `${engine}: ${how}, ${path}, byte ${damaged.at} of ${healthy.byteLength}`;
    const place = join(location, path);
    try {
      writeFileSync(place, damaged.bytes);
      this.#expectCopyDamaged(await verifySnapshot(location, { environment }), path, how, what);
      count(`${engine}  ${kind}  ${how}  copy`, 'found');
      if (path === MANIFEST || engine === 'files') return true;
      this.#sealWith(path, damaged.bytes);
      const report = await verifySnapshot(location, { environment });
      count(`${engine}  ${kind}  ${how}  source`, await this.#judgeSource(report, path, how, damaged, what));
      return true;
    } finally {
      writeFileSync(place, healthy);
      writeFileSync(join(location, MANIFEST), this.#healthy.get(MANIFEST)!);
    }
  }

  #expectCopyDamaged(report: Report, path: string, how: Corruption, what: string): void {
    const errors = report.findings.filter(({ severity }) => severity === 'error');
    const told = `${what}: ${JSON.stringify(report.findings)}`;
    expect(report.ok, told).toBe(false);
    expect(report.verdict, told).toBe('copy-damaged');
    const blamed = errors.filter(({ verdict }) => verdict === 'copy-damaged').map((finding) => finding.path);
    // An older manifest is sealed and whole: it is at odds with the files that changed since.
    if (path === MANIFEST && how === 'stale copy') return;
    expect([...new Set(blamed)], told).toEqual([path]);
  }

  /** As if the bytes had been damaged before they were read: the manifest agrees with them. */
  #sealWith(path: string, bytes: Buffer): void {
    const manifest = JSON.parse(this.#healthy.get(MANIFEST)!.toString());
    const entry = manifest.entries.find((one: { path: string }) => one.path === path);
    Object.assign(entry, { size: bytes.byteLength, crc32: crc32(bytes), crc32c: crc32c(bytes) });
    writeFileSync(join(this.#subject.location, MANIFEST), textOf(sealed(manifest)));
  }

  async #judgeSource(
    report: Report,
    path: string,
    how: Corruption,
    { bytes, at }: { bytes: Buffer; at: number },
    what: string,
  ): Promise<Outcome> {
    const told = `${what}: ${JSON.stringify(report.findings)}`;
    expect(report.verdict, told).not.toBe('copy-damaged');
    for (const { path: named, offset } of report.findings) {
      const size = named === path ? bytes.byteLength : (this.#healthy.get(named)?.byteLength ?? 0);
      expect(offset ?? 0, told).toBeLessThanOrEqual(size);
    }
    if (!report.ok) {
      expect(report.verdict, told).toBe('source-damaged');
      // A whole file that says something else may contradict others, which are then named.
      const named = report.findings
        .filter(({ severity }) => severity === 'error')
        .map((finding) => finding.path);
      if (!MAKES_ANOTHER_STATE.includes(how)) {
        expect(named, told).toContain(path);
        this.#expectPlace(report.findings, path, how, at, told);
      }
      return 'found';
    }
    if (report.findings.length > 0) return 'warned';
    const content = await this.#read();
    if (JSON.stringify(content) === JSON.stringify(this.#content)) return 'harmless';
    const isAtEnd = how === 'cut' && endsWithRecord(bytes);
    expect(
      MAKES_ANOTHER_STATE.includes(how) || isAtEnd,
      `not found, and the content is another one; ${told}`,
    ).toBe(true);
    return 'another state';
  }

  /** The finding's offset and the damage lie in the same part of the file. */
  #expectPlace(findings: readonly Finding[], path: string, how: Corruption, at: number, told: string): void {
    if (how !== 'flip') return;
    const { engine } = this.#subject;
    const units = unitsOf(engine, path, this.#healthy.get(path)!, GEOMETRY.segmentBytes);
    const within = (offset: number) => (unit: Unit) => unit.from <= offset && offset < unit.to;
    const hit = units.filter(within(at));
    if (hit.some(({ name }) => name === 'whole')) return; // the file's name says it all
    // Of an lsm table only the blocks have checksums of their own; for all else the one over the whole table speaks.
    const isUnderOne = kindOf(engine, path) === 'table' && engine === 'lsm' && hit[0]?.name !== 'block';
    if (isUnderOne) return;
    const isNamed = findings.some(
      (finding) =>
        finding.path === path && finding.offset !== null && hit.some((unit) => within(finding.offset!)(unit)),
    );
    expect(isNamed, `no place in ${JSON.stringify(hit)}; ${told}`).toBe(true);
  }

  /** What the engine reads in a folder of its own, with the snapshot's files as they now are. */
  async #read(): Promise<unknown> {
    const into = join(await temporaryFolder(), 'copy');
    cpSync(this.#subject.location, into, { recursive: true });
    return this.#subject.read(into);
  }
}

/** Nothing in a log says that more came behind its last whole record. */
function endsWithRecord(bytes: Buffer): boolean {
  const decoder = new LogDecoder();
  let end = 0;
  for (const item of [...decoder.push(bytes), ...decoder.finish()])
    if (item.kind === 'record') end = item.end;
  return end === bytes.byteLength;
}

/** What lies beside the snapshots is no part of any: losing it may cost time, and never a snapshot. */
async function damageBeside(
  engine: 'lsm' | 'leveldb',
  subject: () => Promise<Subject>,
  cases: number,
): Promise<void> {
  const { location } = await subject();
  const backups = dirname(location);
  const dataDir = dirname(dirname(backups));
  const chance = chanceFrom(11);
  const below = (limit: number) => Math.floor(chance() * limit);
  const files = ['latest', 'records.jsonl', join('proofs', `${basename(location)}.json`)];
  for (let turn = 0; turn < cases; turn++) {
    const path = files[turn % files.length]!;
    const healthy = readFileSync(join(backups, path));
    const how = CORRUPTIONS[Math.floor(turn / files.length) % CORRUPTIONS.length]!;
    const damaged = damageFile(healthy, how, { below, older: undefined, others: [], fix: undefined });
    if (damaged === undefined) continue;
    const what = `${engine}: ${how}, ${path}, byte ${damaged.at}: ${damaged.bytes.subarray(damaged.at, damaged.at + 20)}`;
    const latest = readFileSync(join(backups, 'latest'));
    writeFileSync(join(backups, path), damaged.bytes);
    const taken = await backupOf(dataDir, engine)
      .backup()
      .catch((error: unknown) => ({ error }));
    expect(taken, what).toMatchObject({ report: { ok: true, verdict: 'faithful', findings: [] } });
    if (!('location' in taken)) continue;
    expect(await verifySnapshot(taken.location, { environment }), what).toMatchObject({
      ok: true,
      findings: [],
    });
    expect(readFileSync(join(backups, 'latest'), 'utf8'), what).toBe(`${basename(taken.location)}\n`);
    rmSync(taken.location, { recursive: true });
    writeFileSync(join(backups, path), healthy);
    writeFileSync(join(backups, 'latest'), latest);
    count(`${engine}  ${basename(path)}  ${how}  beside`, 'harmless');
  }
}

describe('damage of every kind in every file (invariant 6)', { timeout: 60_000 + CASES * 600 }, () => {
  test.each([
    ['lsm', lsmSubject, 0.45],
    ['leveldb', leveldbSubject, 0.45],
    ['files', filesSubject, 0.1],
  ] as const)('of %s is found, or does no harm', async (_, subject, share) => {
    await new Matrix(await subject(), 7).run(Math.ceil(CASES * share));
  });

  test.each([
    ['lsm', lsmSubject],
    ['leveldb', leveldbSubject],
  ] as const)('and what stands beside the snapshots of %s costs none', async (engine, subject) => {
    await damageBeside(engine, subject, Math.ceil(CASES / 15));
  });

  test('and each kind was hit in each way', () => {
    const rows = [...tally].sort(([a], [b]) => (a < b ? -1 : 1));
    const cells = ['found', 'warned', 'harmless', 'another state'] as const;
    for (const [row, counts] of rows) {
      console.log(row.padEnd(62), ...cells.map((cell) => `${cell} ${counts.get(cell) ?? 0}`.padEnd(14)));
    }
    const hit = (cell: string) => rows.filter(([row]) => row.startsWith(cell)).length;
    for (const cell of [
      'lsm  table',
      'lsm  lsm.wal',
      'lsm  checkpoint.meta',
      'leveldb  table',
      'leveldb  log',
    ])
      expect(hit(cell), cell).toBeGreaterThanOrEqual(12);
    for (const cell of ['leveldb  manifest', 'leveldb  CURRENT', 'files  file', 'lsm  snapshot.manifest'])
      expect(hit(cell), cell).toBeGreaterThanOrEqual(5);
  });
});
