import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { openLsm, type Salvaged, salvageDatabase } from '../../src/index.ts';
import { stillpoint } from '../support/command.ts';
import { changeImage, mountedImage } from '../support/file-systems.ts';
import { testAsRoot } from '../support/needs.ts';
import { ENGINES, filesOf, type Piece, stateOf } from '../support/salvage-subjects.ts';
import { seeded } from '../support/seeded.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

const DAMAGES = perTier(3, 500);
const leveldb = ENGINES[0]!;

interface Subject {
  readonly dir: string;
  readonly pieces: readonly Piece[];
  /** What is in the database. */
  readonly present: ReadonlyMap<string, string>;
  /** All values that a key ever had. */
  readonly history: ReadonlyMap<string, ReadonlySet<string>>;
}

/** A database of several tables and a log, with keys that were written again and again and some that were deleted. */
async function databaseOf(root: string, seed: number, engine = leveldb): Promise<Subject> {
  const random = seeded(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const dir = join(root, 'data');
  const database = await engine.create(dir, seed);
  const present = new Map<string, string>();
  const history = new Map<string, Set<string>>();
  for (let i = 0; i < 4000; i++) {
    const key = `key${below(1500)}`;
    if (below(5) === 0) {
      await database.del(key);
      present.delete(key);
      continue;
    }
    const value = `${key} ${i} ${'x'.repeat(below(below(50) === 0 ? 9000 : 120))}`;
    await database.put(key, value);
    present.set(key, value);
    history.set(key, (history.get(key) ?? new Set()).add(value));
  }
  await database.close();
  return { dir, present, history, pieces: await engine.piecesOf(dir) };
}

/** LevelDB's own repair, in a process of its own: on some damage it ends the process. */
function repaired(dir: string): Map<string, string> {
  const script = `
    const { ClassicLevel } = require('classic-level');
    (async () => {
      await ClassicLevel.repair(process.argv[1]);
      const db = new ClassicLevel(process.argv[1]);
      const rows = [];
      for await (const row of db.iterator()) rows.push(row);
      console.log(JSON.stringify(rows));
    })();`;
  try {
    return new Map(
      JSON.parse(
        execFileSync(process.execPath, ['-e', script, dir], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
          maxBuffer: 1 << 28,
        }),
      ),
    );
  } catch {
    return new Map();
  }
}

const right = (rows: ReadonlyMap<string, string>, { present }: Subject): number =>
  [...present].filter(([key, value]) => rows.get(key) === value).length;

/** Whether the report says that this key may be missing. Repair takes rows from blocks whose checksum does not hold, too: right by chance. */
const isTold = (key: string, { lost, notes }: Salvaged): boolean =>
  notes.length > 0 ||
  lost.some(({ from, upTo }) => (from === null || key >= from.text!) && (upTo === null || key <= upTo.text!));

interface Damage {
  readonly path: string;
  readonly kind: string;
}

function damage(dir: string, below: (limit: number) => number): Damage {
  const names = filesOf(dir).filter((name) => statSync(join(dir, name)).size > 0);
  const name = names[below(names.length)]!;
  const path = join(dir, name);
  const bytes = readFileSync(path);
  // The file of a log is mostly empty.
  const used = name === 'lsm.wal' && below(2) === 0 ? 8 * 1024 : bytes.length;
  const at = below(used);
  const kind = ['flip', 'zeros', 'cut', 'gone', 'noise'][below(5)]!;
  switch (kind) {
    case 'flip':
      bytes[at]! ^= 1 << below(8);
      break;
    case 'zeros':
      bytes.fill(0, at, Math.min(at + 1 + below(4096), bytes.length));
      break;
    case 'noise':
      for (let i = at; i < Math.min(at + 600, bytes.length); i++) bytes[i] = below(256);
      break;
    case 'cut':
      writeFileSync(path, bytes.subarray(0, at));
      return { path: name, kind };
    default:
      rmSync(path);
      return { path: name, kind };
  }
  writeFileSync(path, bytes);
  return { path: name, kind };
}

/** Whether the bytes are the same in both folders. */
function unchangedIn(dir: string, pristine: string) {
  const read = (folder: string) => {
    const files = new Map<string, Buffer>();
    for (const path of filesOf(folder)) files.set(path, readFileSync(join(folder, path)));
    return files;
  };
  const [now, before] = [read(dir), read(pristine)];
  return (path: string, from: number, to: number) =>
    now.get(path)?.subarray(from, to).equals(before.get(path)!.subarray(from, to)) === true;
}

const bytesOf = (dir: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(dir, { recursive: true, encoding: 'utf8' })
      .filter((name) => statSync(join(dir, name)).isFile())
      .map((name) => [
        name,
        createHash('sha256')
          .update(readFileSync(join(dir, name)))
          .digest('hex'),
      ]),
  );

test.each(ENGINES)(
  '$name: every row whose block is whole is there, nothing is invented, and what is missing is told',
  async (engine) => {
    const root = await temporaryFolder();
    const random = seeded(20261126);
    const below = (limit: number) => Math.floor(random() * limit);
    let subject = await databaseOf(root, 1, engine);
    let incomplete = 0;
    let ours = 0;
    let theirs = 0;
    let doubtfulRows = 0;
    let withDoubtful = 0;
    const fewer: string[] = [];
    for (let round = 0; round < DAMAGES; round++) {
      if (round % 20 === 19) {
        rmSync(subject.dir, { recursive: true });
        subject = await databaseOf(root, round, engine);
      }
      const [damaged, forRepair, into, aside] = ['damaged', 'repaired', 'salvaged', 'doubtful'].map((name) =>
        join(root, name),
      ) as [string, string, string, string];
      for (const folder of [damaged, forRepair, into, aside])
        rmSync(folder, { recursive: true, force: true });
      cpSync(subject.dir, damaged, { recursive: true });
      const damages = Array.from({ length: 1 + below(3) }, () => damage(damaged, below));
      const what = `round ${round}: ${damages.map(({ path, kind }) => `${path} ${kind}`).join(', ')}`;
      if (engine.name === 'leveldb') cpSync(damaged, forRepair, { recursive: true });
      const before = bytesOf(damaged);
      const salvaged = await salvageDatabase(damaged, { into, doubtful: aside, engine: engine.name });
      expect(bytesOf(damaged), `${what}: the source is as it was`).toEqual(before);
      const rows = await engine.contentOf(into);
      expect(rows.size).toBe(salvaged.entries);
      for (const [key, value] of rows) {
        if (!subject.history.get(key)?.has(value)) throw new Error(`${what}: ${key} never had ${value}`);
      }
      const doubtful = await engine.contentOf(aside);
      expect(doubtful.size).toBe(salvaged.doubtful!.entries);
      for (const [key, value] of doubtful) expect(rows.get(key), `${what}: ${key}`).not.toBe(value);
      doubtfulRows += doubtful.size;
      const whole = stateOf(subject.pieces, unchangedIn(damaged, subject.dir));
      for (const [key, value] of whole) {
        if (subject.present.get(key) !== value || rows.get(key) === value) continue;
        throw new Error(`${what}: the block of ${key} is whole, and its value is not there`);
      }
      // A log that was cut behind a whole record looks like one that ends there.
      const isUnknowable = damages.some(
        ({ path, kind }) =>
          (kind === 'cut' && /\.log$/.test(path)) || (kind === 'gone' && engine.isUntold(path)),
      );
      const isSame = rows.size === subject.present.size && right(rows, subject) === rows.size;
      if (salvaged.complete && !isUnknowable) expect(isSame, `${what}: complete`).toBe(true);
      if (!salvaged.complete) incomplete++;
      for (const [key, value] of subject.present) {
        if (rows.get(key) === value || isUnknowable || isTold(key, salvaged)) continue;
        throw new Error(`${what}: ${key} is missing, and nothing said so`);
      }
      ours += right(rows, subject);
      const best = right(new Map([...rows, ...doubtful]), subject);
      withDoubtful += best;
      if (engine.name !== 'leveldb') continue;
      const byRepair = right(repaired(forRepair), subject);
      theirs += byRepair;
      if (byRepair > best) fewer.push(`${what}: ${byRepair} and ${best}`);
    }
    console.log(
      `${engine.name}: ${DAMAGES} damages, ${incomplete} told as incomplete: ${ours} right rows, with ${doubtfulRows} doubtful ones ${withDoubtful}; by repair ${theirs}, and more in ${fewer.length}: ${fewer.join('; ')}`,
    );
    expect(incomplete).toBeGreaterThan(DAMAGES / 4);
    expect(ours).toBeGreaterThan(theirs);
    expect(fewer, 'where repair has rows that neither folder has').toEqual([]);
    expect(readdirSync(root).filter((name) => name.startsWith('.'))).toEqual([]);
  },
);

test.each(ENGINES)('$name: a whole database is salvaged whole', async (engine) => {
  const root = await temporaryFolder();
  const subject = await databaseOf(root, 7, engine);
  const into = join(root, 'deep/er/salvaged');
  const salvaged = await salvageDatabase(subject.dir, { into });
  expect(salvaged).toMatchObject({
    complete: true,
    engine: engine.name,
    lost: [],
    notes: [],
    sourceProblem: null,
    entries: subject.present.size,
    report: { ok: true },
  });
  expect(await engine.contentOf(into)).toEqual(subject.present);
  expect(stateOf(subject.pieces, () => true)).toEqual(subject.present); // what the tests above compare with
});

test('a table that a compaction left unfinished is no loss', async () => {
  const root = await temporaryFolder();
  const subject = await databaseOf(root, 7);
  const table = filesOf(subject.dir).find((name) => name.endsWith('.ldb'))!;
  writeFileSync(join(subject.dir, '999999.ldb'), readFileSync(join(subject.dir, table)).subarray(0, 500));
  writeFileSync(join(subject.dir, '999998.ldb'), '');
  const into = join(root, 'new');
  expect(await salvageDatabase(subject.dir, { into })).toMatchObject({ complete: true, lost: [], notes: [] });
  expect(await leveldb.contentOf(into)).toEqual(subject.present);
});

test('a small log takes what was in the database in several batches', async () => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  const database = await openLsm(dir, { walGeometry: { segmentBytes: 16 * 1024, segmentCount: 4 } });
  const large = 'x'.repeat(40_000);
  await database.put('large', large);
  for (let i = 0; i < 3000; i++) await database.put(`key${i}`, `value ${i}`.padEnd(100));
  await database.close();
  const into = join(root, 'salvaged');
  expect(await salvageDatabase(dir, { into })).toMatchObject({ complete: true, entries: 3001 });
  const salvaged = await openLsm(into);
  expect((await salvaged.get('large'))?.toString()).toBe(large);
  await salvaged.close();
});

test('says which keys are lost with a block, and which with a table that is gone', async () => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  const database = new ClassicLevel(dir, { compression: false });
  await database.open();
  for (let i = 0; i < 300; i++)
    await database.put(`key${String(i).padStart(4, '0')}`, `value ${i} ${'v'.repeat(500)}`);
  await database.compactRange('a', 'z');
  await database.close();
  const table = readdirSync(dir).find((name) => name.endsWith('.ldb'))!;
  const bytes = readFileSync(join(dir, table));
  bytes[bytes.indexOf('value 100 ') + 100]! ^= 1;
  writeFileSync(join(dir, table), bytes);
  const salvaged: Salvaged = await salvageDatabase(dir, { into: join(root, 'a') });
  expect(salvaged).toMatchObject({ complete: false, lostTotal: 1 });
  const [lost] = salvaged.lost;
  expect(lost).toMatchObject({
    path: table,
    what: expect.stringContaining('checksum'),
    upTo: { text: expect.stringMatching(/^key01/) },
  });
  const rows = await leveldb.contentOf(join(root, 'a'));
  expect(rows.size).toBeGreaterThan(290);
  expect(rows.has('key0100')).toBe(false);

  const doubtful = join(root, 'doubtful');
  const args = ['salvage', dir, '--into', join(root, 'c'), '--doubtful', doubtful];
  const { code, stdout } = await stillpoint(args);
  expect([code, stdout]).toEqual([
    3,
    expect.stringMatching(/^\d+ doubtful entries in .*doubtful: read where/m),
  ]);
  expect(await leveldb.contentOf(join(root, 'c'))).toEqual(rows); // as without it
  const aside = await leveldb.contentOf(doubtful);
  expect(aside.size + rows.size).toBe(300);
  expect(aside.get('key0100')).not.toBe(`value 100 ${'v'.repeat(500)}`);
  expect(aside.get('key0101')).toBe(`value 101 ${'v'.repeat(500)}`);
  const nested = salvageDatabase(dir, { into: join(root, 'd'), doubtful: join(root, 'd/doubtful') });
  await expect(nested).rejects.toMatchObject({ code: 'INVALID_REQUEST' });

  rmSync(join(dir, table));
  const without = await salvageDatabase(dir, { into: join(root, 'b') });
  expect(without).toMatchObject({
    entries: 0,
    lost: [{ path: table, from: { text: 'key0000' }, upTo: { text: 'key0299' } }],
  });
});

test('refuses what is no database, and a place that is taken, and leaves nothing behind', async () => {
  const root = await temporaryFolder();
  const { dir } = await databaseOf(root, 3);
  const taken = join(root, 'taken');
  mkdirSync(taken);
  writeFileSync(join(taken, 'file'), '');
  await expect(salvageDatabase(dir, { into: taken })).rejects.toMatchObject({ code: 'TARGET_NOT_EMPTY' });
  for (const inside of [join(dir, 'inside'), join(root, '.lifecycle/backup/new')]) {
    await expect(salvageDatabase(dir, { into: inside })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  }
  await expect(salvageDatabase(join(root, 'none'), { into: join(root, 'x') })).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
  mkdirSync(join(root, 'files'));
  writeFileSync(join(root, 'files/file'), '');
  await expect(salvageDatabase(join(root, 'files'), { into: join(root, 'x') })).rejects.toMatchObject({
    code: 'ENGINE_MISMATCH',
  });
  const cancelled = salvageDatabase(dir, { into: join(root, 'x'), signal: AbortSignal.abort() });
  await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(existsSync(join(root, 'x'))).toBe(false);
  expect(readdirSync(root).sort()).toEqual(['data', 'files', 'taken']);
});

test('finds the blocks behind a damaged one, when the index is gone, too', async () => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  const database = new ClassicLevel(dir, { compression: true });
  await database.open();
  for (let i = 0; i < 2000; i++)
    await database.put(`key${String(i).padStart(4, '0')}`, `value ${i} ${seeded(i)()}`);
  await database.compactRange('a', 'z');
  await database.close();
  const pieces = (await leveldb.piecesOf(dir)).filter(({ path }) => path.endsWith('.ldb'));
  expect(pieces.length).toBeGreaterThan(10);
  const path = join(dir, pieces[0]!.path);
  const bytes = readFileSync(path);
  for (const damaged of [0, 4, 5]) bytes[pieces[damaged]!.stretches[0]![0] + 10]! ^= 1;
  bytes.fill(0, bytes.length - 48);
  writeFileSync(path, bytes);
  const salvaged = await salvageDatabase(dir, { into: join(root, 'new') });
  const whole = pieces.filter((_, i) => ![0, 4, 5].includes(i)).flatMap(({ versions }) => versions);
  expect([...(await leveldb.contentOf(join(root, 'new'))).keys()].sort()).toEqual(
    whole.map(({ key }) => key).sort(),
  );
  expect(salvaged).toMatchObject({ complete: false, sourceProblem: expect.stringContaining('magic') });
});

test.for(ENGINES)(
  '$name: what the disk cannot read any more is lost, and nothing else',
  async (engine, context) => {
    const disk = await mountedImage(context, 'btrfs', '-m', 'single'); // it does not hand out bytes whose checksum is wrong
    const dir = join(disk, 'data');
    const database = await engine.create(dir, 1);
    const MARK = 'spoilt'.repeat(20);
    for (let i = 0; i < 400; i++)
      await database.put(`key${i}`, i % 50 === 7 ? MARK : `value ${i} ${'v'.repeat(3000)}`);
    await database.close();
    const again = await engine.create(dir, 1); // what it finds in its log goes into a table, and this into the log
    await again.put('last', `${MARK}${'v'.repeat(8000)}`); // larger than what btrfs keeps beside its own data
    await again.close();
    // Opening it would empty the log.
    const copy = join(await temporaryFolder(), 'copy');
    cpSync(dir, copy, { recursive: true });
    const before = await engine.contentOf(copy);
    changeImage(disk, (bytes) => {
      for (let at = bytes.indexOf(MARK); at !== -1; at = bytes.indexOf(MARK, at + 1)) bytes[at]! ^= 1;
    });
    const unreadable = filesOf(dir).filter((path) => {
      try {
        readFileSync(join(dir, path));
        return false;
      } catch {
        return true;
      }
    });
    expect(unreadable.some((path) => /\.(log|wal)$/.test(path))).toBe(true);
    expect(unreadable.length).toBeGreaterThan(1);
    const into = join(await temporaryFolder(), 'new');
    const salvaged = await salvageDatabase(dir, { into, engine: engine.name });
    expect(salvaged).toMatchObject({ complete: false, sourceProblem: expect.stringMatching(/EIO|I\/O/) });
    for (const path of unreadable) {
      if (await engine.isSpare(dir, path)) continue;
      const isTold = salvaged.lost.some((lost) => lost.path === path && lost.what.includes('EIO'));
      expect(isTold, path).toBe(true);
    }
    const rows = await engine.contentOf(into);
    for (const [key, value] of rows) expect(before.get(key)).toBe(value);
    // Each of nine marks takes the rows of a page or two with it, and in a log of LevelDB those of 32 KiB.
    expect(rows.size).toBeGreaterThan(360);
    expect([rows.has('key57'), rows.has('last')]).toEqual([false, false]);
  },
);

test('does not follow links, and says so', async () => {
  const root = await temporaryFolder();
  const { dir } = await databaseOf(root, 5);
  const table = filesOf(dir).find((name) => name.endsWith('.ldb'))!;
  renameSync(join(dir, table), join(root, 'elsewhere'));
  symlinkSync(join(root, 'elsewhere'), join(dir, table));
  rmSync(join(dir, 'CURRENT'));
  symlinkSync(join(root, 'elsewhere'), join(dir, 'CURRENT'));
  const { lost } = await salvageDatabase(dir, { into: join(root, 'new'), engine: 'leveldb' });
  for (const path of [table, 'CURRENT'])
    expect(lost).toContainEqual(expect.objectContaining({ path, what: expect.stringContaining('link') }));
});

testAsRoot('what root salvages belongs to the owner of the folder it stands in (needs root)', async () => {
  const root = await temporaryFolder();
  chownSync(root, 1234, 1234);
  for (const engine of ENGINES) {
    const { dir } = await databaseOf(root, 5, engine);
    const into = join(root, engine.name);
    await salvageDatabase(dir, { into });
    for (const name of ['', ...readdirSync(into, { recursive: true, encoding: 'utf8' })])
      expect(statSync(join(into, name)).uid, name).toBe(1234);
    rmSync(dir, { recursive: true });
  }
});
