import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { BackupCoordinator } from '../coordinator/backup.ts';
import { restoreSnapshot, verifySnapshot } from '../coordinator/snapshot-by-path.ts';
import { type CaptureItem, type Engine, LIFECYCLE } from '../engine/engine.ts';
import { ENGINE_NAMES, engineByName } from '../engine/index.ts';
import { pause } from '../env/clock.ts';
import { createFile, makeFolders } from '../env/io.ts';
import { nodeFileSystem as fs } from '../env/node-file-system.ts';
import { copyFiles, fingerprint, readBytes, withFolder } from './folders.ts';
import { readOnly } from './read-only.ts';
import { captureSlowly, type Pins, pinsIn, planOf } from './slow-capture.ts';
import type { Subject, TestDatabase } from './subject.ts';

/** How often a capture under writes is tried, each time with a larger database. */
const TIMES = 3;
/** Writes in one step of a slow capture: enough to grow files, few enough to be quick. */
const BETWEEN = 7;
/** Between two writes beside a capture: else a slow machine captures what grows faster than it reads. */
const SLOWLY_MS = 2;

/** What the engine says of a data directory, and what is captured of it. */
export function testCaptures(subject: Subject): void {
  const { test, engine, supports } = subject;

  test('detects its own data directory and no other', () =>
    withDatabase(subject, async (database, dir, folder) => {
      await writeMany(database, subject.writes);
      await database.close();
      assert.equal(await engine.detect(fs, dir), supports.detect);
      for (const name of ENGINE_NAMES) {
        const isOurs = name !== engine.name && (await engineByName(name).detect(fs, dir));
        assert.equal(isOurs, false, `the engine ${name} takes the folder for its own`);
      }
      const other = join(folder, 'other');
      await fs.makeFolder(other);
      assert.equal(await engine.detect(fs, other), false, 'an empty folder');
      await createFile(fs, join(other, 'notes.txt'), Buffer.from('nothing of a database'));
      assert.equal(await engine.detect(fs, other), false, 'a folder with other files');
    }));

  test('lists regular files, each once, and nothing in the lifecycle folder', () =>
    withDatabase(subject, async (database, dir) => {
      await writeMany(database, subject.writes);
      await database.close();
      const paths = await engine.listFiles(fs, dir);
      assert.ok(paths.length > 0, 'no file at all');
      assert.equal(new Set(paths).size, paths.length, 'a path is listed twice');
      for (const path of paths) {
        assert.ok(isRelative(path), `${path} is not a relative path`);
        assert.equal((await fs.inspect(join(dir, path)))?.kind, 'file', path);
      }
      const inside = join(dir, LIFECYCLE, 'backup', 'ts-1');
      await makeFolders(fs, inside);
      await copyFiles(dir, inside, paths);
      assert.deepEqual(new Set(await engine.listFiles(fs, dir)), new Set(paths), 'snapshots are no data');
    }));

  test('a plan names existing files once, opens no lock, and changes nothing', () =>
    withDatabase(subject, async (database, dir, folder) => {
      await writeMany(database, subject.writes);
      await database.close();
      const before = await fingerprint(dir);
      const opened = new Set<string>();
      const watched = readOnly(opened);
      const pins = await newPins(folder);
      const plan = await planOf(engine, dir, pins, watched);
      const known = new Set(await engine.listFiles(watched, dir));
      assert.equal(new Set(plan.items.map(({ path }) => path)).size, plan.items.length, 'planned twice');
      for (const item of plan.items) await checkItem(engine, dir, item, known);
      assert.equal(await plan.confirm?.(), undefined, 'nobody writes, and the plan is not confirmed');
      await plan.dispose?.();
      if (supports.detect) assert.equal(await engine.detect(watched, dir), true);
      const { lockFile } = engine;
      if (lockFile !== undefined) {
        assert.ok(!opened.has(join(dir, lockFile)), `${lockFile} was opened: closing it releases the lock`);
        assert.ok(!known.has(lockFile), `${lockFile} is listed`);
      }
      assert.deepEqual(await fingerprint(dir), before);
    }));

  if (engine.hasImmutableFiles)
    test('what a plan calls immutable never changes', () =>
      withDatabase(subject, async (database, dir, folder) => {
        await writeMany(database, subject.writes);
        const pins = await newPins(folder);
        const plan = await planOf(database.engine ?? engine, dir, pins);
        const hashes = new Map<string, string>();
        for (const { kind, path } of plan.items) {
          if (kind !== 'immutable' || !(await pinned(dir, path, pins))) continue;
          hashes.set(path, hashOf(await readBytes(pins.place(path))));
        }
        await plan.dispose?.();
        assert.ok(hashes.size > 0, `no immutable file after ${subject.writes} writes: raise \`writes\``);
        await writeMany(database, subject.writes, subject.writes + 1);
        await database.close();
        for (const [path, hash] of hashes)
          assert.equal(hashOf(await readBytes(pins.place(path))), hash, path);
      }));

  if (supports.planUnderWrites)
    test('a plan carried out while the database writes between its steps is one state', () =>
      withDatabase(subject, async (database, dir, folder) => {
        let written = 0;
        for (let time = 1; time <= TIMES; time++) {
          written = await writeMany(database, subject.writes, written + 1);
          const acknowledged = written;
          const copy = join(folder, `copy-${time}`);
          await captureSlowly(database.engine ?? engine, dir, copy, async () => {
            if (written < acknowledged + 40 * BETWEEN)
              written = await writeMany(database, BETWEEN, written + 1);
          });
          checkPrefix(await subject.readCopy(copy), acknowledged, written);
        }
        await database.close();
      }));

  test('snapshots under writes are states that the database passed through', () =>
    withDatabase(subject, async (database, dir, folder) => {
      const writer = startWriter(database);
      try {
        const backups = new BackupCoordinator({
          dataDir: dir,
          engine: database.engine ?? engine,
          ...(database.checkpoint && { checkpoint: database.checkpoint }),
        });
        for (let time = 1; time <= TIMES; time++) {
          await writer.reaches(time * subject.writes);
          const acknowledged = writer.acknowledged();
          const { id, location } = await backups.startBackup();
          const { report } = await backups.finished(id);
          const latest = writer.acknowledged() + 1;
          assert.deepEqual([report.ok, report.engine], [true, engine.name]);
          const restored = join(folder, `restored-${time}`);
          await restoreSnapshot(location, { into: restored });
          checkPrefix(await subject.readCopy(restored), acknowledged, latest);
        }
      } finally {
        await writer.stop();
      }
      await database.close();
    }));

  test('verifying a database in use raises no false alarm', () =>
    withDatabase(subject, async (database, dir) => {
      await writeMany(database, subject.writes);
      const writer = startWriter(database, subject.writes + 1);
      try {
        for (let time = 1; time <= TIMES; time++) {
          await writer.reaches(subject.writes + time * BETWEEN);
          const { ok, findings } = await verifySnapshot(dir, { engine: engine.name });
          assert.ok(ok, JSON.stringify(findings.filter(({ severity }) => severity === 'error')));
        }
      } finally {
        await writer.stop();
      }
      await database.close();
    }));
}

/** A new database in a folder of its own; `use` closes it. */
export const withDatabase = (
  { createDatabase }: Subject,
  use: (database: TestDatabase, dir: string, folder: string) => Promise<void>,
): Promise<void> =>
  withFolder(async (folder) => {
    const dir = join(folder, 'data');
    await fs.makeFolder(dir);
    const database = await createDatabase(dir);
    let isClosed = false;
    const close = async () => {
      if (!isClosed) await database.close();
      isClosed = true;
    };
    const { engine, checkpoint } = database;
    const write = (n: number) => database.write(n);
    try {
      await use({ write, close, ...(engine && { engine }), ...(checkpoint && { checkpoint }) }, dir, folder);
    } finally {
      await close();
    }
  });

/** Resolves to the number of the last write. */
export async function writeMany(database: TestDatabase, count: number, first = 1): Promise<number> {
  for (let n = first; n < first + count; n++) await database.write(n);
  return first + count - 1;
}

interface Writer {
  acknowledged(): number;
  /** Resolves once write `n` is acknowledged; rejects when writing has failed. */
  reaches(n: number): Promise<void>;
  stop(): Promise<void>;
}

/** Writes as fast as it can up to the number that is waited for, and slowly behind it. */
function startWriter(database: TestDatabase, first = 1): Writer {
  let last = first - 1;
  let wanted = 0;
  let isStopped = false;
  let reached = () => {};
  const run = async () => {
    while (!isStopped) {
      await database.write(last + 1);
      last++;
      if (last < wanted) continue;
      reached();
      await pause(SLOWLY_MS);
    }
  };
  const ended = run();
  ended.catch(() => {}); // `reaches` and `stop` tell
  return {
    acknowledged: () => last,
    reaches(n) {
      wanted = n;
      return Promise.race([new Promise<void>((done) => (reached = done)), ended]);
    },
    async stop() {
      isStopped = true;
      await ended;
    },
  };
}

/** All writes up to some number, and none behind it: at least what was acknowledged before, at most what was begun. */
function checkPrefix(numbers: readonly number[], atLeast: number, atMost: number): void {
  const sorted = [...numbers].sort((a, b) => a - b);
  for (const [i, n] of sorted.entries())
    assert.equal(n, i + 1, `the copy lacks write ${i + 1} and has later ones`);
  assert.ok(
    sorted.length >= atLeast,
    `the copy ends with write ${sorted.length}; ${atLeast} was acknowledged`,
  );
  assert.ok(sorted.length <= atMost, `the copy has write ${sorted.length}; ${atMost} was the last to begin`);
}

async function checkItem(
  engine: Engine,
  dir: string,
  item: CaptureItem,
  known: ReadonlySet<string>,
): Promise<void> {
  const { path } = item;
  assert.ok(isRelative(path), `${path} is not a relative path`);
  if (item.kind === 'bytes') return;
  const stat = await fs.inspect(join(dir, path));
  assert.equal(stat?.kind, 'file', `${path} does not exist`);
  assert.ok(known.has(path), `${path} is planned and not listed`);
  if (item.kind === 'immutable') {
    assert.ok(engine.hasImmutableFiles, `${path} is immutable; the engine says that no file is`);
    if (item.sizeBytes !== undefined) assert.equal(item.sizeBytes, stat!.sizeBytes, `the size of ${path}`);
    return;
  }
  for (const { offset, length } of item.extents)
    assert.ok(
      offset >= 0 && length > 0 && offset + length <= Math.min(item.sizeBytes, stat!.sizeBytes),
      `an extent of ${path} lies outside of it`,
    );
}

/** Of a file below the folder; it need not exist: a finding may name what is missing. */
export const isRelative = (path: string): boolean =>
  path.split('/').every((part) => part !== '' && part !== '.' && part !== '..') && !path.includes('\\');

async function newPins(folder: string): Promise<Pins> {
  const pins = pinsIn(join(folder, 'pins'));
  await fs.makeFolder(pins.folder);
  return pins;
}

/** False when the file was deleted since it was planned. */
async function pinned(dir: string, path: string, pins: Pins): Promise<boolean> {
  if ((await fs.inspect(pins.place(path))) !== undefined) return true;
  await makeFolders(fs, dirname(pins.place(path)));
  return fs.link(join(dir, path), pins.place(path)).then(
    () => true,
    () => false,
  );
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
