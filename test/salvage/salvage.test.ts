import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { openLsm, type Salvaged, salvageDatabase } from '../../src/index.ts';
import { seeded } from '../support/seeded.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

const DAMAGES = perTier(40, 1000);

interface Subject {
  readonly dir: string;
  /** What is in the database. */
  readonly present: ReadonlyMap<string, string>;
  /** All values that a key ever had. */
  readonly history: ReadonlyMap<string, ReadonlySet<string>>;
}

/** A database of several tables and a log, with keys that were written again and again and some that were deleted. */
async function databaseOf(root: string, seed: number): Promise<Subject> {
  const random = seeded(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const dir = join(root, 'data');
  const database = new ClassicLevel(dir, { compression: seed % 2 === 0, writeBufferSize: 64 * 1024 });
  await database.open();
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
  return { dir, present, history };
}

async function contentOf(dir: string): Promise<Map<string, string>> {
  const database = new ClassicLevel(dir, { createIfMissing: false });
  await database.open();
  const rows = new Map<string, string>();
  for await (const [key, value] of database.iterator()) rows.set(key, value);
  await database.close();
  return rows;
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

function damage(dir: string, below: (limit: number) => number): string {
  const names = readdirSync(dir).filter(
    (name) => !/^(LOCK|LOG)/.test(name) && statSync(join(dir, name)).size > 0,
  );
  const name = names[below(names.length)]!;
  const path = join(dir, name);
  const bytes = readFileSync(path);
  const at = below(bytes.length);
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
      return `${name} cut at ${at}`;
    default:
      rmSync(path);
      return `${name} gone`;
  }
  writeFileSync(path, bytes);
  return `${name} ${kind} at ${at}`;
}

const filesOf = (dir: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(dir).map((name) => [name, readFileSync(join(dir, name)).toString('base64')]),
  );

test('what is whole is there, nothing is invented, and what is missing is told; more right rows than LevelDB repairs', async () => {
  const root = await temporaryFolder();
  const random = seeded(20261126);
  const below = (limit: number) => Math.floor(random() * limit);
  let subject = await databaseOf(root, 1);
  let incomplete = 0;
  let ours = 0;
  let theirs = 0;
  for (let round = 0; round < DAMAGES; round++) {
    if (round % 20 === 19) {
      rmSync(subject.dir, { recursive: true });
      subject = await databaseOf(root, round);
    }
    const [damaged, forRepair, into] = ['damaged', 'repaired', 'salvaged'].map((name) =>
      join(root, name),
    ) as [string, string, string];
    for (const folder of [damaged, forRepair, into]) rmSync(folder, { recursive: true, force: true });
    cpSync(subject.dir, damaged, { recursive: true });
    const what = Array.from({ length: 1 + below(3) }, () => damage(damaged, below)).join(', ');
    cpSync(damaged, forRepair, { recursive: true });
    const before = filesOf(damaged);
    const salvaged = await salvageDatabase(damaged, { into });
    expect(filesOf(damaged), `round ${round}: ${what}: the source is as it was`).toEqual(before);
    const rows = await contentOf(into);
    expect(rows.size).toBe(salvaged.entries);
    for (const [key, value] of rows) {
      if (!subject.history.get(key)?.has(value))
        throw new Error(`round ${round}: ${what}: ${key} never had ${value}`);
    }
    // A log that was cut behind a whole record looks like one that ends there.
    const isUnknowable = /\.log cut/.test(what);
    const isSame = rows.size === subject.present.size && right(rows, subject) === rows.size;
    if (salvaged.complete && !isUnknowable) expect(isSame, `round ${round}: ${what}: complete`).toBe(true);
    if (!salvaged.complete) incomplete++;
    for (const [key, value] of subject.present) {
      if (rows.get(key) === value || isUnknowable) continue;
      expect(isTold(key, salvaged), `round ${round}: ${what}: ${key} is missing, and nothing said so`).toBe(
        true,
      );
    }
    const byRepair = repaired(forRepair);
    ours += right(rows, subject);
    theirs += right(byRepair, subject);
  }
  expect(incomplete).toBeGreaterThan(DAMAGES / 3);
  expect(ours).toBeGreaterThan(theirs);
  expect(readdirSync(root).filter((name) => name.includes('salvage-'))).toEqual([]);
});

test('a whole database is salvaged whole', async () => {
  const root = await temporaryFolder();
  const subject = await databaseOf(root, 7);
  const into = join(root, 'deep/er/salvaged');
  const salvaged = await salvageDatabase(subject.dir, { into });
  expect(salvaged).toMatchObject({
    complete: true,
    lost: [],
    notes: [],
    entries: subject.present.size,
    report: { ok: true },
  });
  expect(await contentOf(into)).toEqual(subject.present);
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
  const rows = await contentOf(join(root, 'a'));
  expect(rows.size).toBeGreaterThan(290);
  expect(rows.has('key0100')).toBe(false);

  rmSync(join(dir, table));
  const without = await salvageDatabase(dir, { into: join(root, 'b') });
  expect(without).toMatchObject({
    entries: 0,
    lost: [{ path: table, from: { text: 'key0000' }, upTo: { text: 'key0299' } }],
  });
});

test('refuses what is no LevelDB, and a place that is taken, and leaves nothing behind', async () => {
  const root = await temporaryFolder();
  const { dir } = await databaseOf(root, 3);
  const taken = join(root, 'taken');
  mkdirSync(taken);
  writeFileSync(join(taken, 'file'), '');
  await expect(salvageDatabase(dir, { into: taken })).rejects.toMatchObject({ code: 'TARGET_NOT_EMPTY' });
  await expect(salvageDatabase(dir, { into: join(dir, 'inside') })).rejects.toMatchObject({
    code: 'INVALID_REQUEST',
  });
  await expect(salvageDatabase(join(root, 'none'), { into: join(root, 'x') })).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
  const lsm = await openLsm(join(root, 'lsm'));
  await lsm.close();
  await expect(salvageDatabase(join(root, 'lsm'), { into: join(root, 'x') })).rejects.toMatchObject({
    code: 'ENGINE_MISMATCH',
  });
  const cancelled = salvageDatabase(dir, { into: join(root, 'x'), signal: AbortSignal.abort() });
  await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' });
  expect(existsSync(join(root, 'x'))).toBe(false);
  expect(readdirSync(root).sort()).toEqual(['data', 'lsm', 'taken']);
});
