import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { inspect } from 'node:util';
import { ClassicLevel } from 'classic-level';
import { beforeAll, describe, expect, test } from 'vitest';
import type { OperationOptions, VerifyOptions } from '../src/coordinator/snapshots.ts';
import { filesEngine } from '../src/engine/files/index.ts';
import type { LsmOptions } from '../src/index.ts';
import {
  BackupCoordinator,
  type BackupCoordinatorOptions,
  createLeveldbEngine,
  deleteSnapshot,
  Lifecycle,
  type LifecycleOptions,
  listSnapshots,
  openLsm,
  openWithClassicLevel,
  pruneSnapshots,
  RestoreCoordinator,
  type RestoreCoordinatorOptions,
  restoreSnapshot,
  type SnapshotLevelOptions,
  type StartBackupOptions,
  type StartRestoreOptions,
  showSnapshot,
  snapshotLevel,
  verifyAll,
  verifySnapshot,
} from '../src/index.ts';
import type { BackgroundOptions, ThrottleOptions } from '../src/operation/throttle.ts';
import { type ServerLimits, type ServerOptions, startServer } from '../src/server/index.ts';
import { systemEnvironment } from '../src/snapshot/environment.ts';
import { entriesBelow, plainDirectory, readTree, writeTree } from './support/folders.ts';
import { smallLsm } from './support/server.ts';
import { temporaryFolder } from './support/temp.ts';

// A misspelt `dryRun` once removed the snapshots that it should only have named; `plainHttp: 'false'` once served plain HTTP, and
// of `allowedSources: '/srv/allowed'` every letter was a folder, `/` among them.

/** For each option that there is, what is not of its type. One without an entry does not compile. */
type Wrong<Options> = { readonly [Name in keyof Options]-?: readonly unknown[] };

const notBoolean = ['false', 0, null, {}];
const notText = [5, '', null, ['a']];
const notPath = [...notText, 'a\0b', true];
const notPaths = ['/srv/allowed', 5, null, {}, [''], [5], [null], new Array(1)];
const notCount = ['1', 0, -1, 1.5, Number.NaN, null, {}];
const notFunction = [5, 'x', null, {}];
const notOneOf = ['x', 5, null, ['full'], 'toString'];
const notOptions = [5, 'x', null, [], () => {}];
const notLifecycle = [5, null, {}, { dataDir: '.' }, Lifecycle];
const notSignal = [5, null, {}, new AbortController()];
const notEngine = ['oracle', 5, null, {}, ['lsm'], { ...filesEngine, name: 'oracle' }];
const notClock = [5, null, {}, { nowMs: 5 }];
const notFileSystem = [5, null, {}, { open: () => {} }];
const notEnvironment = [
  5,
  null,
  {},
  [],
  { ...systemEnvironment, fs: {} },
  { ...systemEnvironment, newId: 'x' },
];

const background: Wrong<BackgroundOptions> = { maxEventLoopDelayMs: notCount, isBusy: notFunction };
const throttle: Wrong<ThrottleOptions> = {
  maxBytesPerSecond: [...notCount, 65_535],
  background: ['yes', 1, null, [], ...nested(background), { maxDelay: 5 }],
  concurrency: notCount,
};
const common: Wrong<OperationOptions> = {
  environment: notEnvironment,
  lifecycle: notLifecycle,
  signal: notSignal,
  onProgress: notFunction,
};
const backup: Wrong<StartBackupOptions> = {
  ...throttle,
  mode: notOneOf,
  level: notOneOf,
  clone: notOneOf,
  reuse: notBoolean,
  reprove: notBoolean,
  keep: notCount,
  kind: notOneOf,
  probe: notFunction,
  signal: notSignal,
};
const { kind: _, ...level } = { ...backup, gate: notBoolean } satisfies Wrong<
  SnapshotLevelOptions & StartBackupOptions
>;
const { signal: __, ...served } = { ...backup };
const verify: Wrong<VerifyOptions> = {
  ...common,
  ...throttle,
  dataDir: notPath,
  level: notOneOf,
  engine: notOneOf,
};
const lsm: Wrong<LsmOptions> = {
  createIfMissing: notBoolean,
  walGeometry: [5, null, {}, { segmentBytes: 64 * 1024 }, { segmentBytes: '65536', segmentCount: 4 }],
  memtableBytes: notCount,
  compactAtTables: notCount,
  blockCacheBytes: ['1', -1, 1.5, null],
  verifyTablesOnOpen: notBoolean,
  fs: notFileSystem,
  locks: [5, null, {}],
  clock: notClock,
};
const limits: Wrong<ServerLimits> = {
  bodyBytes: notCount,
  adminBodyBytes: notCount,
  headerBytes: notCount,
  connections: notCount,
  requests: notCount,
  adminRequests: notCount,
  followers: notCount,
  headerTimeoutMs: notCount,
  requestTimeoutMs: notCount,
  replyTimeoutMs: notCount,
  idleTimeoutMs: notCount,
  shutdownMs: notCount,
};
const server: Wrong<ServerOptions> = {
  dataDir: notPath,
  backend: [5, null, {}, lsm, { engine: 'oracle', open: () => {} }, { engine: 'lsm', open: 5 }],
  host: notText,
  port: ['80', -1, 1.5, 70_000, null],
  apiKey: notText,
  tls: [
    5,
    null,
    {},
    [],
    { keyFile: 'k' },
    { keyFile: 'k', certFile: 5 },
    { keyFile: 'k', certFile: 'c', ca: 'c' },
  ],
  plainHttp: notBoolean,
  createDataDir: notBoolean,
  allowedSources: notPaths,
  backup: [
    ...notOptions,
    { levle: 'full' },
    { kind: 'backup' },
    { signal: AbortSignal.abort() },
    ...nested(served),
  ],
  audit: [5, 'x', null, {}, { write: () => {} }, new WritableStream()],
  log: [5, 'x', null, {}, { write: () => {} }],
  limits: [...notOptions, { toString: 5 }, { __proto__: null, constructor: 5 }, ...nested(limits)],
  lifecycle: notLifecycle,
  environment: notEnvironment,
};

/** Each wrong option alone in an object: what is inside of options is checked as they are. */
function nested(wrong: Readonly<Record<string, readonly unknown[]>>): object[] {
  return Object.entries(wrong).flatMap(([name, values]) => values.map((value) => ({ [name]: value })));
}

interface Subject {
  readonly wrong: Readonly<Record<string, readonly unknown[]>>;
  /** Calls it with good arguments and these options. */
  call(options: object): unknown;
}

let root: string;
let dir: string;
let db: ClassicLevel;

const untyped = (options: object) => options as never;

const SUBJECTS: Readonly<Record<string, Subject>> = {
  Lifecycle: {
    wrong: { dataDir: notPath, environment: notEnvironment } satisfies Wrong<LifecycleOptions>,
    call: (options) => new Lifecycle({ dataDir: dir, ...options }),
  },
  BackupCoordinator: {
    wrong: {
      dataDir: notPath,
      engine: notEngine,
      checkpoint: notFunction,
      checkpointTimeoutMs: notCount,
      lifecycle: notLifecycle,
      defaults: [...notOptions, ...nested(backup)],
    } satisfies Wrong<BackupCoordinatorOptions>,
    call: (options) => new BackupCoordinator({ dataDir: dir, ...options }),
  },
  startBackup: {
    wrong: backup,
    call: (options) => new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup(untyped(options)),
  },
  RestoreCoordinator: {
    wrong: {
      dataDir: notPath,
      engine: notEngine,
      close: notFunction,
      open: notFunction,
      hookTimeoutMs: notCount,
      lifecycle: notLifecycle,
      allowedSources: notPaths,
    } satisfies Wrong<RestoreCoordinatorOptions>,
    call: (options) => new RestoreCoordinator({ dataDir: dir, ...options }),
  },
  startRestore: {
    wrong: { ...throttle, source: notText, clone: notOneOf } satisfies Wrong<StartRestoreOptions>,
    call: (options) => new RestoreCoordinator({ dataDir: dir, engine: 'files' }).restore(untyped(options)),
  },
  snapshotLevel: { wrong: level, call: (options) => snapshotLevel(db, untyped(options)) },
  listSnapshots: { wrong: common, call: (options) => listSnapshots(dir, untyped(options)) },
  showSnapshot: {
    wrong: { ...common, dataDir: notPath },
    call: (options) => showSnapshot('latest', { dataDir: dir, ...options }),
  },
  verifySnapshot: {
    wrong: verify,
    call: (options) => verifySnapshot('latest', { dataDir: dir, ...options }),
  },
  verifyAll: {
    wrong: {
      ...common,
      ...throttle,
      level: notOneOf,
      maxBytes: notCount,
      olderThanMs: ['1', -1, Number.NaN, Number.POSITIVE_INFINITY, null],
    },
    call: (options) => verifyAll(dir, untyped(options)),
  },
  restoreSnapshot: {
    wrong: { ...common, ...throttle, dataDir: notPath, into: notPath, level: notOneOf, clone: notOneOf },
    call: (options) => restoreSnapshot('latest', { dataDir: dir, into: join(root, 'new'), ...options }),
  },
  pruneSnapshots: {
    wrong: { ...common, keep: notCount, dryRun: notBoolean },
    call: (options) => pruneSnapshots(dir, { keep: 1, ...options }),
  },
  deleteSnapshot: {
    wrong: common,
    call: async (options) =>
      deleteSnapshot(dir, (await listSnapshots(dir)).snapshots[0]!.name, untyped(options)),
  },
  openLsm: { wrong: lsm, call: (options) => openLsm(join(root, 'new'), untyped(options)) },
  createLeveldbEngine: {
    wrong: { database: [5, null, {}], windowRounds: ['1', -1, 1.5, null] },
    call: (options) => createLeveldbEngine(untyped(options)),
  },
  openWithClassicLevel: {
    wrong: { count: notBoolean, sample: ['1', -1, 1.5, null] },
    call: (options) => openWithClassicLevel(untyped(options)),
  },
  startServer: {
    wrong: server,
    call: (options) => startServer({ dataDir: join(root, 'new'), ...options }),
  },
};

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'stillpoint-test-'));
  dir = join(root, 'data');
  writeTree(dir, { 'a.txt': 'first', 'b/c.txt': 'second' });
  const coordinator = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  for (let i = 0; i < 3; i++) await coordinator.backup();
  db = new ClassicLevel(join(root, 'level'));
  await db.put('a', '1');
  return async () => {
    await db.close();
    await rm(root, { recursive: true });
  };
});

const onDisk = () => ({ names: entriesBelow(root).length, files: readTree(root, []) });

/** What calling it came to; whatever was opened against expectation is closed again. */
async function refusal(call: () => unknown): Promise<unknown> {
  try {
    const made = (await call()) as { close?: () => unknown } | undefined;
    await made?.close?.();
    return 'accepted';
  } catch (error) {
    return error;
  }
}

describe.each(Object.entries(SUBJECTS))('%s', (what, { wrong, call }) => {
  test('a value of the wrong type is a TypeError that names the option, and nothing is done', async () => {
    const before = onDisk();
    for (const [option, values] of Object.entries(wrong)) {
      for (const value of values) {
        const error = await refusal(() => call({ [option]: value }));
        const about = `${what}({ ${option}: ${inspect(value)} })`;
        expect(error, about).toBeInstanceOf(TypeError);
        expect((error as TypeError).message, about).toMatch(new RegExp(`^${what}: ${option}\\b`));
      }
    }
    expect(onDisk()).toEqual(before);
  });

  test('an option that there is not is refused, and nothing is done', async () => {
    const before = onDisk();
    for (const name of ['dryrun', 'toString', 'constructor']) {
      const error = await refusal(() => call({ [name]: true }));
      expect(error).toBeInstanceOf(TypeError);
      expect((error as TypeError).message).toBe(`${what}: there is no option "${name}"`);
    }
    expect(onDisk()).toEqual(before);
  });
});

test('what is no object of options is refused', async () => {
  const coordinator = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const restores = new RestoreCoordinator({ dataDir: dir, engine: 'files' });
  const calls: Readonly<Record<string, (options: never) => unknown>> = {
    Lifecycle: (options) => new Lifecycle(options),
    BackupCoordinator: (options) => new BackupCoordinator(options),
    startBackup: (options) => coordinator.backup(options),
    RestoreCoordinator: (options) => new RestoreCoordinator(options),
    startRestore: (options) => restores.restore(options),
    snapshotLevel: (options) => snapshotLevel(db, options),
    listSnapshots: (options) => listSnapshots(dir, options),
    showSnapshot: (options) => showSnapshot(dir, options),
    verifySnapshot: (options) => verifySnapshot(dir, options),
    verifyAll: (options) => verifyAll(dir, options),
    restoreSnapshot: (options) => restoreSnapshot(dir, options),
    pruneSnapshots: (options) => pruneSnapshots(dir, options),
    deleteSnapshot: (options) => deleteSnapshot(dir, 'latest', options),
    openLsm: (options) => openLsm(dir, options),
    createLeveldbEngine: (options) => createLeveldbEngine(options),
    openWithClassicLevel: (options) => openWithClassicLevel(options),
    startServer: (options) => startServer(options),
  };
  expect(Object.keys(calls)).toEqual(Object.keys(SUBJECTS));
  for (const [what, call] of Object.entries(calls)) {
    for (const value of notOptions) {
      const error = await refusal(() => call(value as never));
      expect(error, what).toEqual(new TypeError(`${what}: options must be an object`));
    }
  }
});

test('nor is what is given beside the options taken for something else', async () => {
  const calls: readonly [string, (value: never) => unknown][] = [
    ['snapshotLevel: database', (value) => snapshotLevel(value)],
    ['listSnapshots: dataDir', (value) => listSnapshots(value)],
    ['showSnapshot: snapshot', (value) => showSnapshot(value)],
    ['verifySnapshot: path', (value) => verifySnapshot(value)],
    ['verifyAll: dir', (value) => verifyAll(value)],
    ['restoreSnapshot: snapshot', (value) => restoreSnapshot(value, { into: join(root, 'new') })],
    ['pruneSnapshots: dataDir', (value) => pruneSnapshots(value, { keep: 1 })],
    ['deleteSnapshot: dataDir', (value) => deleteSnapshot(value, 'latest')],
    ['deleteSnapshot: snapshot', (value) => deleteSnapshot(dir, value)],
    ['openLsm: dir', (value) => openLsm(value)],
  ];
  for (const [name, call] of calls) {
    for (const value of notText) {
      const error = await refusal(() => call(value as never));
      expect(error, `${name} ${inspect(value)}`).toBeInstanceOf(TypeError);
      expect((error as TypeError).message).toMatch(new RegExp(`^${name} must be`));
    }
  }
});

test.each<[Partial<Record<keyof ServerOptions, unknown>>, string]>([
  [{ backup: { levle: 'full' } }, 'startServer: backup: there is no option "levle"'],
  [{ backup: { level: 'x' } }, 'startServer: backup.level must be one of files, open, full'],
  [{ backup: { background: { isBusy: 5 } } }, 'startServer: backup.background.isBusy must be a function'],
  [{ limits: { bodyBytes: '5' } }, 'startServer: limits.bodyBytes must be a whole number, 1 or more'],
  [{ environment: {} }, 'startServer: environment.fs must be a file system'],
])('an option inside of options is named with its place: %j', async (options, message) => {
  await expect(startServer({ dataDir: join(root, 'new'), ...(options as object) })).rejects.toThrow(message);
});

describe('what is right is accepted:', () => {
  const heldBack: Required<ThrottleOptions> = {
    maxBytesPerSecond: 1024 ** 3,
    background: { maxEventLoopDelayMs: 1000, isBusy: () => false },
    concurrency: 1,
  };
  const inCommon = (): Required<OperationOptions> => ({
    environment: systemEnvironment,
    lifecycle: new Lifecycle({ dataDir: dir }),
    signal: new AbortController().signal,
    onProgress: () => {},
  });
  const snapshotOptions = (): Required<Omit<StartBackupOptions, 'kind'>> => ({
    ...heldBack,
    mode: 'copy',
    level: 'open',
    clone: 'auto',
    reuse: false,
    reprove: true,
    keep: 5,
    probe: async () => {},
    signal: new AbortController().signal,
  });

  test('in the coordinators', async () => {
    const lifecycle = new Lifecycle({ dataDir: dir, environment: systemEnvironment });
    for (const engine of ['files', filesEngine] as const) {
      const backups = new BackupCoordinator({
        dataDir: dir,
        engine,
        checkpoint: () => {},
        checkpointTimeoutMs: 1000,
        lifecycle,
        defaults: { reuse: true },
      } satisfies Required<BackupCoordinatorOptions>);
      const restores = new RestoreCoordinator({
        dataDir: dir,
        engine,
        close: () => {},
        open: () => {},
        hookTimeoutMs: 1000,
        lifecycle,
        allowedSources: [root],
      } satisfies Required<RestoreCoordinatorOptions>);
      const given: Required<StartBackupOptions> = { ...snapshotOptions(), kind: 'archive' };
      const { location: source } = await backups.backup(given);
      const restore: Required<StartRestoreOptions> = { ...heldBack, source, clone: 'auto' };
      expect((await restores.restore(restore)).state.status).toBe('completed');
    }
  });

  test('by the functions', async () => {
    const common = inCommon();
    const find = { ...common, dataDir: dir };
    const gated: Required<SnapshotLevelOptions> = { ...snapshotOptions(), gate: false };
    expect((await snapshotLevel(db, gated)).state.status).toBe('completed');
    const { snapshots } = await listSnapshots(dir, common);
    expect((await showSnapshot('latest', find)).name).toBe(snapshots.at(-1)!.name);
    const verification: Required<VerifyOptions> = { ...find, ...heldBack, level: 'open', engine: 'files' };
    expect((await verifySnapshot('latest', verification)).ok).toBe(true);
    const all = { ...common, ...heldBack, level: 'files', maxBytes: 1, olderThanMs: 0.5 } as const;
    expect((await verifyAll(dir, all)).ok).toBe(true);
    const into = join(await temporaryFolder(), 'new');
    await restoreSnapshot('latest', { ...find, ...heldBack, into, level: 'files', clone: 'auto' });
    expect((await pruneSnapshots(dir, { ...common, keep: 1, dryRun: true })).removed).toHaveLength(
      snapshots.length - 1,
    );
    expect((await deleteSnapshot(dir, snapshots[0]!.name, common)).name).toBe(snapshots[0]!.name);
  });

  test('by openLsm', async () => {
    const { fs, locks, clock } = systemEnvironment;
    const options: Required<LsmOptions> = {
      createIfMissing: true,
      walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 },
      memtableBytes: 1,
      compactAtTables: 2,
      blockCacheBytes: 0,
      verifyTablesOnOpen: false,
      fs,
      locks,
      clock,
    };
    await (await openLsm(await temporaryFolder(), options)).close();
  });

  test.each(['plainHttp', 'tls'] as const)('by startServer, with %s', async (transport) => {
    const dataDir = join(await temporaryFolder(), 'new');
    const { signal: _, ...backup } = snapshotOptions();
    const options: Omit<Required<ServerOptions>, 'plainHttp' | 'tls'> = {
      dataDir,
      backend: smallLsm(),
      host: '127.0.0.1',
      port: 0,
      apiKey: 'key',
      createDataDir: true,
      allowedSources: [root],
      backup,
      audit: new PassThrough(),
      log: () => {},
      limits: { requests: 5 },
      lifecycle: new Lifecycle({ dataDir }),
      environment: systemEnvironment,
    };
    const tls = { keyFile: join(dataDir, 'none'), certFile: join(dataDir, 'none') };
    const started = startServer({ ...options, ...(transport === 'tls' ? { tls } : { plainHttp: true }) });
    if (transport === 'tls') await expect(started).rejects.toMatchObject({ code: 'NOT_FOUND' });
    else await (await started).close();
  });
});

test('a source that is not allowed stays outside, however the allowed ones are written', async () => {
  const { location } = await new BackupCoordinator({ dataDir: dir, engine: 'files' }).backup();
  const [elsewhere, shelf] = [await temporaryFolder(), await temporaryFolder()];
  const source = join(elsewhere, 'snapshot');
  await cp(location, source, { recursive: true });
  const restore = (allowedSources: unknown) =>
    new RestoreCoordinator({ dataDir: dir, ...({ allowedSources } as object) }).restore({ source });
  expect(() => restore(elsewhere)).toThrow('allowedSources must be an array of paths');
  expect(() => restore(shelf)).toThrow('allowedSources must be an array of paths');
  for (const allowed of [undefined, [], [shelf]])
    await expect(restore(allowed)).rejects.toMatchObject({ code: 'PATH_OUTSIDE' });
  expect((await restore([shelf, elsewhere])).from).toBe(source);
});

test('what is told of one data directory is not done to another, whose lifecycle it came with', async () => {
  const lifecycle = new Lifecycle({ dataDir: dir });
  const other = await plainDirectory();
  const before = onDisk();
  const name = (await listSnapshots(dir)).snapshots[0]!.name;
  for (const call of [
    () => pruneSnapshots(other, { keep: 1, lifecycle }),
    () => deleteSnapshot(other, name, { lifecycle }),
    () => startServer({ dataDir: other, lifecycle }),
  ])
    await expect(refusal(call)).resolves.toMatchObject({
      message: expect.stringContaining('the lifecycle is that of'),
    });
  expect(onDisk()).toEqual(before);
});
