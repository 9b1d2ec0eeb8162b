import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, onTestFinished, test } from 'vitest';
import { BackupCoordinator, type Hold, Lifecycle, openLsm, restoreSnapshot } from '../../src/index.ts';
import { type Environment, systemEnvironment } from '../../src/snapshot/environment.ts';
import { beforeTables } from '../support/slow-tables.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

// A hold is released when no write changes the snapshot any more, long before all of it is copied.

const KEYS = Array.from({ length: 100 }, (_, i) => `k${i}`);

interface Subject {
  readonly dir: string;
  put(key: string, value: string): Promise<unknown>;
  /** Writes a table, and removes those that it takes the place of. */
  compact(): Promise<void>;
  hold(): Promise<Partial<Hold>>;
  /** What a folder says under all keys. */
  read(dir: string): Promise<(string | undefined)[]>;
}

async function leveldb(): Promise<Subject> {
  const dir = join(await temporaryFolder(), 'data');
  const db = new ClassicLevel(dir);
  onTestFinished(() => db.close());
  return {
    dir,
    put: (key, value) => db.put(key, value, { sync: true }),
    compact: () => db.compactRange('', 'z'),
    hold: async () => ({}),
    async read(from) {
      const copy = new ClassicLevel(from);
      const values = await copy.getMany([...KEYS, 'later']);
      await copy.close();
      return values;
    },
  };
}

async function lsm(): Promise<Subject> {
  const dir = join(await temporaryFolder(), 'data');
  const db = await openLsm(dir, SMALL_LOG);
  onTestFinished(() => db.close());
  return {
    dir,
    put: (key, value) => db.put(key, value),
    async compact() {
      await db.checkpoint();
      await db.compact();
    },
    hold: () => db.hold(),
    async read(from) {
      const copy = await openLsm(from, { createIfMissing: false });
      const values = await Promise.all([...KEYS, 'later'].map((key) => copy.get(key)));
      await copy.close();
      return values.map((value) => value?.toString());
    },
  };
}

async function withTables(subject: Subject): Promise<void> {
  for (const key of KEYS) await subject.put(key, 'before');
  await subject.compact();
  await subject.put('k0', 'in the log');
}

const EXPECTED = ['in the log', ...Array(99).fill('before'), undefined];

/** A snapshot whose hold does `onRelease` once it is released, restored. */
async function take(subject: Subject, environment: Environment, onRelease: () => unknown) {
  const lifecycle = new Lifecycle({ dataDir: subject.dir, environment });
  const phases: string[] = [];
  const backup = new BackupCoordinator({
    dataDir: subject.dir,
    lifecycle,
    async checkpoint() {
      const hold = await subject.hold();
      const release = async () => {
        await hold.release?.();
        await onRelease();
      };
      return { ...hold, release };
    },
  });
  backup.on('state', (_, { phase }) => phases.push(phase!));
  const { location } = await backup.backup({ clone: 'never' });
  const into = join(await temporaryFolder(), 'restored');
  await restoreSnapshot(location, { into });
  return { values: await subject.read(into), phases: [...new Set(phases)] };
}

const tablesBelow = (dir: string): string[] =>
  readdirSync(dir, { recursive: true })
    .map(String)
    .filter((path) => /partial-.*\.(sst|ldb)$/.test(path));

test.each([
  ['leveldb', leveldb],
  ['lsm', lsm],
])(
  'no write and no compaction after the moment is in a snapshot of %s, and no table is copied before',
  async (_, make) => {
    const subject = await make();
    await withTables(subject);
    let atMoment: string[] | undefined;
    const { values, phases } = await take(subject, systemEnvironment, async () => {
      atMoment = tablesBelow(join(subject.dir, '.lifecycle'));
      await subject.put('later', 'x');
      for (const key of KEYS) await subject.put(key, 'after');
      await subject.compact();
    });
    expect(atMoment).toEqual([]);
    expect(values).toEqual(EXPECTED);
    expect(phases.indexOf('copy')).toBe(phases.indexOf('capture') + 1);
  },
);

test('a table that is removed or replaced once it is pinned is copied as it was', async () => {
  const subject = await leveldb();
  await withTables(subject);
  let times = 0;
  const environment = beforeTables(async () => {
    times++;
    for (const key of KEYS) await subject.put(key, 'after');
    const before = readdirSync(subject.dir).filter((name) => name.endsWith('.ldb'));
    await subject.compact();
    expect(before.filter((name) => existsSync(join(subject.dir, name)))).toEqual([]);
  });
  expect((await take(subject, environment, () => undefined)).values).toEqual(EXPECTED);
  expect(times).toBe(1);
});

test('where hard links are impossible the moment is after the last byte', async () => {
  const subject = await leveldb();
  await withTables(subject);
  const { fs } = systemEnvironment;
  const link = () => Promise.reject(Object.assign(new Error('no links here'), { code: 'EPERM' }));
  const moments: string[][] = [];
  const { values } = await take(subject, { ...systemEnvironment, fs: { ...fs, link } }, async () => {
    moments.push(tablesBelow(join(subject.dir, '.lifecycle')));
    await subject.put('later', 'x');
  });
  expect(moments).toEqual([[expect.any(String)]]);
  expect(values).toEqual(EXPECTED);
});

test('a file that cannot be pinned ends the run', async () => {
  const subject = await lsm();
  await withTables(subject);
  const { fs } = systemEnvironment;
  const link = () => Promise.reject(Object.assign(new Error('of the test'), { code: 'EIO' }));
  const taken = take(subject, { ...systemEnvironment, fs: { ...fs, link } }, () => undefined);
  await expect(taken).rejects.toMatchObject({ code: 'IO_ERROR' });
});

test('a run whose release rejects fails, and leaves nothing', async () => {
  const subject = await lsm();
  await withTables(subject);
  const taken = take(subject, systemEnvironment, () => Promise.reject(new RangeError('of the test')));
  await expect(taken).rejects.toMatchObject({
    code: 'HOOK_FAILED',
    message: expect.stringContaining('release'),
  });
  expect(tablesBelow(join(subject.dir, '.lifecycle'))).toEqual([]);
});
