import { existsSync, mkdirSync, statSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { commandEnvironment } from '../../src/cli/environment.ts';
import { verifyAllOptions, verifyOptions } from '../../src/coordinator/snapshot-work.ts';
import { systemClock } from '../../src/env/clock.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { RateLimiter } from '../../src/env/rate-limiter.ts';
import type { RunControl } from '../../src/env/run-control.ts';
import {
  BackupCoordinator,
  openLsm,
  RestoreCoordinator,
  restoreSnapshot,
  Snapshots,
  verifyAllSnapshots,
  verifySnapshot,
} from '../../src/index.ts';
import { toJson } from '../../src/options/casing.ts';
import { restoreIntoOptions, restoreOptions } from '../../src/options/restore.ts';
import { snapshotOptions } from '../../src/options/snapshot.ts';
import { pruneOptions, verifyOptions as verifyBodyOptions } from '../../src/options/verify.ts';
import { leveldbBackend, lsmBackend } from '../../src/server/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import { stillpoint } from '../support/command.ts';
import { sealBlock } from '../support/leveldb-encoders.ts';
import { entry, resealAs, writeCraftedFolder } from '../support/leveldb-table.ts';
import { injected, untilFinished } from '../support/server.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier } from '../support/tier.ts';

// Every option that a face offers must do something there: `clone` once got lost on its way through HTTP. The names come from the
// schemas, so a new option without an experiment fails here.

const KiB = 1024;
const TABLES = {
  memtableBytes: 8 * KiB,
  walGeometry: { segmentBytes: 64 * KiB, segmentCount: 4 },
  compactAtTables: 100,
};

/** What a run did that can be seen from outside: in the folders, and where it meets the outside world. */
interface Seen {
  /** Limits in bytes per second that were set. */
  readonly limits: string;
  /** How often a run began to watch its host. */
  readonly ticks: number;
  readonly clones: number;
  /** How many tasks a run could have at once. */
  readonly concurrency: number;
  /** What went past the page cache. */
  readonly pastCache: string;
  /** Levels at which files were checked. */
  readonly levels: string;
  /** Files that were checked. */
  readonly checked: number;
  readonly snapshots: number;
  readonly archived: boolean;
  /** Whether the new snapshot shares a table with the one before, or with the database. */
  readonly isReused: boolean;
  readonly isLinked: boolean;
  readonly result: string;
}

let root: string;
let pristine: string;
const seen = {
  limits: [] as number[],
  ticks: 0,
  clones: 0,
  concurrency: 0,
  pastCache: '',
  levels: new Set<string>(),
  checked: 0,
};

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'stillpoint-test-'));
  pristine = join(root, 'data');
  const db = await openLsm(pristine, TABLES);
  for (let i = 0; i < 3; i++) await db.put(Buffer.from(`key ${i}`), Buffer.alloc(10 * KiB, i));
  await db.checkpoint();
  await db.close();

  const { start } = RateLimiter.prototype;
  vi.spyOn(RateLimiter.prototype, 'start').mockImplementation(function (this: RateLimiter, limit) {
    if (limit !== undefined) seen.limits.push(limit);
    start.call(this, limit);
  });
  const every = systemClock.every.bind(systemClock);
  vi.spyOn(systemClock, 'every').mockImplementation((ms, tick) => {
    if (new Error().stack?.includes('adaptiveThrottle')) seen.ticks++;
    return every(ms, tick);
  });
  const clone = nodeFileSystem.clone.bind(nodeFileSystem);
  vi.spyOn(nodeFileSystem, 'clone').mockImplementation((from, to) => {
    seen.clones++;
    return clone(from, to);
  });
  for (const { pool } of [systemEnvironment, commandEnvironment]) {
    const run = pool.run.bind(pool) as (...args: unknown[]) => Promise<unknown>;
    vi.spyOn(pool, 'run').mockImplementation(function (this: typeof pool, ...task: unknown[]) {
      const [name, args, control] = task as [string, { files: readonly { level: string }[] }, RunControl];
      seen.pastCache = `${control.pastCache} ${control.wantsMedium}`;
      // A run has a pool of its own, with its own concurrency.
      seen.concurrency = Math.min(seen.concurrency || this.concurrency, this.concurrency);
      if (name === 'checkFiles') {
        seen.checked += args.files.length;
        for (const { level } of args.files) seen.levels.add(level);
      }
      return run(...task) as never;
    });
  }
});
afterAll(async () => {
  vi.restoreAllMocks();
  await rm(root, { recursive: true });
});

/** A fresh copy of the data directory, with one snapshot. */
async function lsmFolder(): Promise<string> {
  const dataDir = join(await temporaryFolder(), 'data');
  await cp(pristine, dataDir, { recursive: true });
  await new BackupCoordinator({ dataDir }).backup();
  return dataDir;
}

async function look(work: (dataDir: string) => Promise<unknown>, place = lsmFolder): Promise<Seen> {
  const dataDir = await place();
  const { latest: first, snapshots: before } = await new Snapshots({ dataDir }).list();
  const table = (folder = '') =>
    statSync(join(folder, 'sst/1.sst'), { throwIfNoEntry: false })?.ino ?? `none in ${folder}`;
  const previous = table(before.find(({ name }) => name === first)?.location);
  const live = table(dataDir);
  Object.assign(seen, {
    ...{ limits: [], ticks: 0, clones: 0, concurrency: 0, pastCache: '' },
    ...{ levels: new Set(), checked: 0 },
  });
  const result = await work(dataDir).catch((error) => error.code);
  const { snapshots } = await new Snapshots({ dataDir }).list();
  const newest = table(snapshots.find(({ name }) => name !== first)?.location);
  const { levels, limits } = seen;
  return {
    ...seen,
    limits: limits.join(),
    levels: [...levels].join(),
    snapshots: snapshots.length,
    archived: existsSync(join(dataDir, '.lifecycle/archive')),
    isReused: newest === previous,
    isLinked: newest === live,
    result: JSON.stringify(result),
  };
}

interface Experiment {
  readonly value: unknown;
  /** What must differ from a run without the option. */
  readonly changes: keyof Seen;
  /** Options of both runs. */
  readonly with?: Readonly<Record<string, unknown>>;
  /** A data directory of its own; default: an lsm database with one snapshot. */
  readonly place?: () => Promise<string>;
}

/** A LevelDB with a block in a compression that nobody knows. */
async function unreadableFolder(): Promise<string> {
  const dir = join(await temporaryFolder(), 'data');
  mkdirSync(dir);
  const table = {
    blocks: [[entry('a', 1, 1, 'value')], [entry('b', 2, 1, 'value')]],
    seal: (content: Buffer, index: number) => (index === 1 ? resealAs(content, 9) : sealBlock(content)),
  };
  await writeCraftedFolder(dir, { table });
  return dir;
}

const COPY_ALL = { reuse: false };
const THROTTLE: Readonly<Record<string, Experiment>> = {
  maxBytesPerSecond: { value: 2 ** 30, changes: 'limits' },
  background: { value: true, changes: 'ticks' },
  pace: { value: 'quiet', changes: 'pastCache' },
  medium: { value: true, changes: 'pastCache' },
  concurrency: { value: 1, changes: 'concurrency' },
};
const SNAPSHOT: Readonly<Record<string, Experiment>> = {
  ...THROTTLE,
  pace: { value: 'quiet', changes: 'pastCache', with: COPY_ALL },
  medium: { value: true, changes: 'pastCache', with: COPY_ALL },
  concurrency: { value: 1, changes: 'concurrency', with: { ...COPY_ALL, pace: 'fast' } },
  mode: { value: 'link', changes: 'isLinked', with: COPY_ALL },
  clone: { value: 'auto', changes: 'clones', with: COPY_ALL },
  reuse: { value: false, changes: 'isReused' },
  reprove: { value: true, changes: 'checked' },
  allowUnread: { value: true, changes: 'snapshots', place: unreadableFolder },
  level: { value: 'files', changes: 'levels', with: COPY_ALL },
  keep: { value: 1, changes: 'snapshots' },
};
/** A server's own snapshots are quiet. */
const SERVER_SNAPSHOT = {
  ...SNAPSHOT,
  pace: { value: 'fast', changes: 'pastCache', with: COPY_ALL },
} as const;
const VERIFY: Readonly<Record<string, Experiment>> = {
  ...THROTTLE,
  level: { value: 'files', changes: 'levels' },
  engine: { value: 'leveldb', changes: 'result' },
};
const VERIFY_ALL: Readonly<Record<string, Experiment>> = {
  ...THROTTLE,
  level: { value: 'files', changes: 'levels' },
  maxBytes: { value: 1, changes: 'checked' },
  olderThanMs: { value: 3_600_000, changes: 'checked' },
};
const RESTORE: Readonly<Record<string, Experiment>> = {
  ...THROTTLE,
  level: { value: 'files', changes: 'levels' },
  clone: { value: 'auto', changes: 'clones' },
  rewriteManifest: { value: true, changes: 'result' }, // of lsm: refused
};
const RESTORE_INTO = {
  ...RESTORE,
  files: { value: ['sst'], changes: 'result' }, // of a database: refused
} as const;
const PRUNE: Readonly<Record<string, Experiment>> = {
  keep: { value: 1, changes: 'snapshots' },
  dryRun: { value: true, changes: 'snapshots', with: { keep: 1 } },
  expected: { value: [], changes: 'snapshots', with: { keep: 1 } },
};

type Options = Readonly<Record<string, unknown>>;

interface Face {
  /** Names of the options that it offers. */
  readonly offers: readonly string[];
  readonly experiments: Readonly<Record<string, Experiment>>;
  run(dataDir: string, options: Options): Promise<unknown>;
}

/** On one processor there is nothing to limit. */
const isSingle = systemEnvironment.pool.concurrency === 1;
const HOST_ONLY = new Set(['signal', 'onProgress', 'probe', 'kind', 'environment', 'into', 'source']);
const offered = (fields: object, ...without: string[]) =>
  Object.keys(fields).filter(
    (name) => !HOST_ONLY.has(name) && !without.includes(name) && !(name === 'concurrency' && isSingle),
  );

/** Flags for options, written out: a flag that is gone fails here. */
const FLAGS: Readonly<Record<string, (value: unknown) => string[]>> = {
  reuse: () => ['--full'],
  reprove: () => ['--reprove'],
  rewriteManifest: () => ['--rewrite-manifest'],
  allowUnread: () => ['--allow-unread'],
  dryRun: () => ['--dry-run'],
  olderThanMs: () => ['--older-than', '1h'],
  maxBytesPerSecond: (value) => ['--max-bytes-per-second', String(value)],
  maxBytes: (value) => ['--max-bytes', String(value)],
  files: (value) => (value as string[]).flatMap((path) => ['--file', path]),
};
const flagsFor = (options: Options): string[] =>
  Object.entries(options).flatMap(([name, value]) => FLAGS[name]?.(value) ?? [`--${name}`, String(value)]);
const command = async (...args: string[]) => {
  const { json } = await stillpoint([...args, '--json']);
  return json.error?.code ?? { engine: json.engine, ok: json.ok };
};

async function overHttp(dataDir: string, url: string, options: Options): Promise<unknown> {
  const isLsm = existsSync(join(dataDir, 'checkpoint.meta'));
  const backend = isLsm ? lsmBackend(TABLES) : leveldbBackend();
  const { rpc, app } = await injected({ dataDir, backend });
  const { json, status } = await rpc('POST', url, toJson(options));
  if (status !== 200) return json.error.code;
  const ended =
    json.handle === undefined
      ? json
      : await untilFinished(async () => (await rpc('GET', `${url}/${json.handle}`)).json);
  await app.close();
  return ended.state?.status ?? ended.ok;
}

const latest = (dataDir: string) => join(dataDir, '.lifecycle/backup/latest');
const target = (dataDir: string) => join(dataDir, '../restored');
const engineOf = ({ engine, ok }: { engine: string; ok: boolean }) => ({ engine, ok });

const FACES: Readonly<Record<string, Face>> = {
  startBackup: {
    offers: offered(snapshotOptions.fields),
    experiments: SNAPSHOT,
    run: async (dataDir, options) => void (await new BackupCoordinator({ dataDir }).backup(options)),
  },
  'POST backup': {
    offers: offered(snapshotOptions.fields),
    experiments: SERVER_SNAPSHOT,
    run: (dataDir, options) => overHttp(dataDir, '/api/admin/backup', options),
  },
  'stillpoint snapshot': {
    offers: offered(snapshotOptions.fields, 'background'),
    experiments: SNAPSHOT,
    run: (dataDir, options) => command('snapshot', dataDir, ...flagsFor(options)),
  },
  verifySnapshot: {
    offers: offered(verifyOptions.fields),
    experiments: VERIFY,
    run: async (dataDir, options) => engineOf(await verifySnapshot(latest(dataDir), options)),
  },
  'Snapshots.verify': {
    offers: offered(verifyOptions.fields),
    experiments: VERIFY,
    run: async (dataDir, options) => engineOf(await new Snapshots({ dataDir }).verify('latest', options)),
  },
  'POST backup/{id}/verify': {
    offers: offered(verifyBodyOptions.fields),
    experiments: VERIFY,
    async run(dataDir, options) {
      const { id } = await new Snapshots({ dataDir }).get('latest');
      return overHttp(dataDir, `/api/admin/backup/${id}/verify`, options);
    },
  },
  'stillpoint verify': {
    offers: offered(verifyOptions.fields, 'background'),
    experiments: VERIFY,
    run: (dataDir, options) => command('verify', latest(dataDir), ...flagsFor(options)),
  },
  verifyAllSnapshots: {
    offers: offered(verifyAllOptions.fields),
    experiments: VERIFY_ALL,
    run: async (dataDir, options) => void (await verifyAllSnapshots(dataDir, options)),
  },
  'Snapshots.verifyAll': {
    offers: offered(verifyAllOptions.fields),
    experiments: VERIFY_ALL,
    run: async (dataDir, options) => void (await new Snapshots({ dataDir }).verifyAll(options)),
  },
  'stillpoint verify --all': {
    offers: offered(verifyAllOptions.fields, 'background'),
    experiments: VERIFY_ALL,
    run: (dataDir, options) => command('verify', dataDir, '--all', ...flagsFor(options)),
  },
  restoreSnapshot: {
    offers: offered(restoreIntoOptions.fields),
    experiments: RESTORE_INTO,
    run: async (dataDir, options) =>
      void (await restoreSnapshot(latest(dataDir), { into: target(dataDir), ...options })),
  },
  'Snapshots.restore': {
    offers: offered(restoreIntoOptions.fields),
    experiments: RESTORE_INTO,
    run: async (dataDir, options) =>
      void (await new Snapshots({ dataDir }).restore('latest', { into: target(dataDir), ...options })),
  },
  'stillpoint restore --into': {
    offers: offered(restoreIntoOptions.fields, 'background'),
    experiments: RESTORE_INTO,
    run: (dataDir, options) =>
      command('restore', latest(dataDir), '--into', target(dataDir), ...flagsFor(options)),
  },
  startRestore: {
    offers: offered(restoreOptions.fields),
    experiments: RESTORE,
    run: async (dataDir, options) => void (await new RestoreCoordinator({ dataDir }).restore(options)),
  },
  'POST restore': {
    offers: offered(restoreOptions.fields),
    experiments: RESTORE,
    run: (dataDir, options) => overHttp(dataDir, '/api/admin/restore', options),
  },
  'stillpoint restore --in-place': {
    offers: offered(restoreOptions.fields, 'background'),
    experiments: RESTORE,
    run: (dataDir, options) => command('restore', latest(dataDir), '--in-place', ...flagsFor(options)),
  },
  'Snapshots.prune': {
    offers: offered(pruneOptions.fields),
    experiments: PRUNE,
    async run(dataDir, options) {
      await new BackupCoordinator({ dataDir }).backup();
      await new Snapshots({ dataDir }).prune({ keep: 5, ...options });
    },
  },
  'stillpoint prune': {
    offers: offered(pruneOptions.fields, 'expected'),
    experiments: PRUNE,
    async run(dataDir, options) {
      await new BackupCoordinator({ dataDir }).backup();
      return command('prune', dataDir, ...flagsFor({ keep: 5, ...options }));
    },
  },
};

/** These hand the same options on to the same function as another face. */
const SAME = perTier(['Snapshots.restore', 'Snapshots.verifyAll', 'Snapshots.verify'], []);

describe.each(Object.entries(FACES).filter(([name]) => !SAME.includes(name)))(
  '%s:',
  (_, { offers, experiments, run }) => {
    const without = new Map<string, Promise<Seen>>();

    test.each(offers)('%s has an effect', async (name) => {
      const experiment = experiments[name];
      expect(experiment, `an experiment for ${name}`).toBeDefined();
      const { value, changes, with: both = {}, place } = experiment!;
      const key = JSON.stringify([both, place?.name]);
      const base = without.get(key) ?? look((dataDir) => run(dataDir, both), place);
      without.set(key, base);
      const unchanged = (await base)[changes];
      const changed = await look((dataDir) => run(dataDir, { ...both, [name]: value }), place);
      expect(changed[changes]).not.toEqual(unchanged);
    });
  },
);

describe('what only the library takes has an effect:', () => {
  test('kind', async () => {
    const { archived } = await look((dataDir) =>
      new BackupCoordinator({ dataDir }).backup({ kind: 'archive' }),
    );
    expect(archived).toBe(true);
  });

  test('probe', async () => {
    const probe = vi.fn(async () => undefined);
    await look((dataDir) => new BackupCoordinator({ dataDir }).backup({ probe }));
    expect(probe).toHaveBeenCalledOnce();
  });

  test.each<[string, (dataDir: string, signal: AbortSignal) => Promise<unknown>]>([
    ['startBackup', (dataDir, signal) => new BackupCoordinator({ dataDir }).backup({ signal })],
    ['startRestore', (dataDir, signal) => new RestoreCoordinator({ dataDir }).restore({ signal })],
    ['verifySnapshot', (dataDir, signal) => verifySnapshot(latest(dataDir), { signal })],
    ['Snapshots.verify', (dataDir, signal) => new Snapshots({ dataDir }).verify('latest', { signal })],
    ['Snapshots.verifyAll', (dataDir, signal) => new Snapshots({ dataDir }).verifyAll({ signal })],
    [
      'Snapshots.restore',
      (dataDir, signal) => new Snapshots({ dataDir }).restore('latest', { into: target(dataDir), signal }),
    ],
  ])('signal of %s', async (_, run) => {
    expect((await look((dataDir) => run(dataDir, AbortSignal.abort()))).result).toBe('"CANCELLED"');
  });
});
