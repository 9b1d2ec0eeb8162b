import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { inspect } from 'node:util';
import { ClassicLevel } from 'classic-level';
import { beforeAll, describe, expect, test } from 'vitest';
import { filesEngine } from '../src/engine/files/index.ts';
import {
  type BackgroundOptions,
  BackupCoordinator,
  type BackupCoordinatorOptions,
  createLeveldbEngine,
  type DeleteOptions,
  getSnapshot,
  Lifecycle,
  type LifecycleOptions,
  type ListOptions,
  type LsmOptions,
  openLsm,
  type PruneOptions,
  type PruneUndoOptions,
  probeWithClassicLevel,
  RestoreCoordinator,
  type RestoreCoordinatorOptions,
  type RestoreIntoOptions,
  type RunsOptions,
  restoreSnapshot,
  type SnapshotClassicLevelOptions,
  Snapshots,
  type SnapshotsOptions,
  type StartBackupOptions,
  type StartRestoreOptions,
  type StartUndoOptions,
  type StatusOptions,
  snapshotClassicLevel,
  type ThrottleOptions,
  type VerifyAllOptions,
  type VerifyOptions,
  verifyAllSnapshots,
  verifySnapshot,
} from '../src/index.ts';
import { type ServerLimits, type ServerOptions, startServer } from '../src/server/index.ts';
import { systemEnvironment } from '../src/snapshot/environment.ts';
import { entriesBelow, plainDirectory, readTree, writeTree } from './support/folders.ts';
import { smallLsm } from './support/server.ts';
import { withPlans } from './support/server-plans.ts';
import { temporaryFolder } from './support/temp.ts';

// A misspelt `dryRun` once removed the snapshots that it should only have named; `plainHttp: 'false'` once served plain HTTP, and
// of `allowedSources: '/srv/allowed'` every letter was a folder, `/` among them.

/** For each option that there is, what is not of its type. One without an entry does not compile. */
type Wrong<Options> = { readonly [Name in keyof Options]-?: readonly unknown[] };

const notBoolean = ['false', 0, null, {}];
const notText = [5, '', null, ['a']];
const notPath = [...notText, 'a\0b', true];
const notNames = ['ts-1', 5, null, {}, [''], [5]];
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
  pace: notOneOf,
  medium: notBoolean,
  concurrency: notCount,
};
const watch = { signal: notSignal, onProgress: notFunction };
const environment = { environment: notEnvironment };
const backup: Wrong<StartBackupOptions> = {
  ...throttle,
  mode: notOneOf,
  level: notOneOf,
  clone: notOneOf,
  reuse: notBoolean,
  reprove: notBoolean,
  allowUnread: notBoolean,
  keep: notCount,
  kind: notOneOf,
  probe: notFunction,
  signal: notSignal,
};
const { kind: _, ...level } = { ...backup, pauseWrites: notBoolean } satisfies Wrong<
  SnapshotClassicLevelOptions & StartBackupOptions
>;
const { signal: __, ...served } = { ...backup };
const verify: Wrong<VerifyOptions> = {
  ...watch,
  ...throttle,
  level: notOneOf,
  engine: notOneOf,
};
const verifyAll: Wrong<VerifyAllOptions> = {
  ...watch,
  ...throttle,
  level: notOneOf,
  maxBytes: notCount,
  olderThanMs: ['1', -1, Number.NaN, Number.POSITIVE_INFINITY, null],
};
const restoreInto: Wrong<RestoreIntoOptions> = {
  ...watch,
  ...throttle,
  into: notPath,
  files: notPaths,
  level: notOneOf,
  clone: notOneOf,
  rewriteManifest: notBoolean,
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
  settings: notPath,
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
const handle = () => new Snapshots({ dataDir: dir });
const latest = () => join(dir, '.lifecycle/backup/latest');

const SUBJECTS: Readonly<Record<string, Subject>> = {
  Lifecycle: {
    wrong: {
      dataDir: notPath,
      lifecycleDir: notPath,
      environment: notEnvironment,
    } satisfies Wrong<LifecycleOptions>,
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
    wrong: {
      ...throttle,
      source: notText,
      level: notOneOf,
      clone: notOneOf,
      rewriteManifest: notBoolean,
      signal: notSignal,
    } satisfies Wrong<StartRestoreOptions>,
    call: (options) => new RestoreCoordinator({ dataDir: dir, engine: 'files' }).restore(untyped(options)),
  },
  startUndo: {
    wrong: { to: notText } satisfies Wrong<StartUndoOptions>,
    call: (options) => new RestoreCoordinator({ dataDir: dir, engine: 'files' }).undo(untyped(options)),
  },
  snapshotClassicLevel: { wrong: level, call: (options) => snapshotClassicLevel(db, untyped(options)) },
  getSnapshot: {
    wrong: environment,
    call: (options) => getSnapshot(latest(), untyped(options)),
  },
  verifySnapshot: {
    wrong: { ...verify, ...environment },
    call: (options) => verifySnapshot(latest(), untyped(options)),
  },
  verifyAllSnapshots: {
    wrong: { ...verifyAll, ...environment },
    call: (options) => verifyAllSnapshots(dir, untyped(options)),
  },
  restoreSnapshot: {
    wrong: { ...restoreInto, ...environment },
    call: (options) => restoreSnapshot(latest(), { into: join(root, 'new'), ...options }),
  },
  Snapshots: {
    wrong: {
      dataDir: notPath,
      lifecycle: notLifecycle,
      environment: notEnvironment,
    } satisfies Wrong<SnapshotsOptions>,
    call: (options) => new Snapshots({ dataDir: dir, ...options }),
  },
  'Snapshots.verify': { wrong: verify, call: (options) => handle().verify('latest', untyped(options)) },
  'Snapshots.verifyAll': { wrong: verifyAll, call: (options) => handle().verifyAll(untyped(options)) },
  'Snapshots.restore': {
    wrong: restoreInto,
    call: (options) => handle().restore('latest', { into: join(root, 'new'), ...options }),
  },
  'Snapshots.list': {
    wrong: { kind: notOneOf } satisfies Wrong<ListOptions>,
    call: (options) => handle().list(options),
  },
  'Snapshots.prune': {
    wrong: {
      keep: notCount,
      kind: notOneOf,
      dryRun: notBoolean,
      expected: notNames,
    } satisfies Wrong<PruneOptions>,
    call: (options) => handle().prune({ keep: 1, ...options }),
  },
  'Snapshots.delete': {
    wrong: { kind: notOneOf, dryRun: notBoolean } satisfies Wrong<DeleteOptions>,
    call: (options) => handle().delete('ts-1', options),
  },
  'Snapshots.pruneUndo': {
    wrong: {
      keep: ['1', -1, 1.5, null],
      dryRun: notBoolean,
      discardWrites: notBoolean,
      expected: notNames,
    } satisfies Wrong<PruneUndoOptions>,
    call: (options) => handle().pruneUndo({ keep: 1, ...options }),
  },
  'Snapshots.status': {
    wrong: { maxAgeMs: ['1', -1, Number.NaN, Number.POSITIVE_INFINITY, null] } satisfies Wrong<StatusOptions>,
    call: (options) => handle().status(options),
  },
  'Snapshots.runs': {
    wrong: { kind: notOneOf, status: notOneOf, limit: notCount } satisfies Wrong<RunsOptions>,
    call: (options) => handle().runs(untyped(options)),
  },
  openLsm: { wrong: lsm, call: (options) => openLsm(join(root, 'new'), untyped(options)) },
  createLeveldbEngine: {
    wrong: { database: [5, null, {}], windowRounds: ['1', -1, 1.5, null] },
    call: (options) => createLeveldbEngine(untyped(options)),
  },
  probeWithClassicLevel: {
    wrong: { count: notBoolean, sample: ['1', -1, 1.5, null] },
    call: (options) => probeWithClassicLevel(untyped(options)),
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

  test('an unknown option is refused, and nothing is done', async () => {
    const before = onDisk();
    for (const name of ['dryrun', 'toString', 'constructor']) {
      const error = await refusal(() => call({ [name]: true }));
      expect(error).toBeInstanceOf(TypeError);
      expect((error as TypeError).message).toBe(`${what}: there is no option "${name}"`);
    }
    expect(onDisk()).toEqual(before);
  });
});

test('options that are no object are refused', async () => {
  const coordinator = new BackupCoordinator({ dataDir: dir, engine: 'files' });
  const restores = new RestoreCoordinator({ dataDir: dir, engine: 'files' });
  const calls: Readonly<Record<string, (options: never) => unknown>> = {
    Lifecycle: (options) => new Lifecycle(options),
    BackupCoordinator: (options) => new BackupCoordinator(options),
    startBackup: (options) => coordinator.backup(options),
    RestoreCoordinator: (options) => new RestoreCoordinator(options),
    startRestore: (options) => restores.restore(options),
    startUndo: (options) => restores.undo(options),
    snapshotClassicLevel: (options) => snapshotClassicLevel(db, options),
    getSnapshot: (options) => getSnapshot(dir, options),
    verifySnapshot: (options) => verifySnapshot(dir, options),
    verifyAllSnapshots: (options) => verifyAllSnapshots(dir, options),
    restoreSnapshot: (options) => restoreSnapshot(dir, options),
    Snapshots: (options) => new Snapshots(options),
    'Snapshots.verify': (options) => handle().verify('latest', options),
    'Snapshots.verifyAll': (options) => handle().verifyAll(options),
    'Snapshots.restore': (options) => handle().restore('latest', options),
    'Snapshots.list': (options) => handle().list(options),
    'Snapshots.prune': (options) => handle().prune(options),
    'Snapshots.delete': (options) => handle().delete('ts-1', options),
    'Snapshots.pruneUndo': (options) => handle().pruneUndo(options),
    'Snapshots.status': (options) => handle().status(options),
    'Snapshots.runs': (options) => handle().runs(options),
    openLsm: (options) => openLsm(dir, options),
    createLeveldbEngine: (options) => createLeveldbEngine(options),
    probeWithClassicLevel: (options) => probeWithClassicLevel(options),
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

test('an argument that is no option is refused', async () => {
  const calls: readonly [string, (value: never) => unknown][] = [
    ['snapshotClassicLevel: database', (value) => snapshotClassicLevel(value)],
    ['getSnapshot: path', (value) => getSnapshot(value)],
    ['verifySnapshot: path', (value) => verifySnapshot(value)],
    ['verifyAllSnapshots: dir', (value) => verifyAllSnapshots(value)],
    ['restoreSnapshot: path', (value) => restoreSnapshot(value, { into: join(root, 'new') })],
    ['Snapshots.get: snapshot', (value) => handle().get(value)],
    ['Snapshots.verify: snapshot', (value) => handle().verify(value)],
    ['Snapshots.restore: snapshot', (value) => handle().restore(value, { into: join(root, 'new') })],
    ['Snapshots.delete: snapshot', (value) => handle().delete(value)],
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
    pace: 'quiet',
    medium: true,
    concurrency: 1,
  };
  const watching = () => ({ signal: new AbortController().signal, onProgress: () => {} });
  const snapshotOptions = (): Required<Omit<StartBackupOptions, 'kind'>> => ({
    ...heldBack,
    mode: 'copy',
    level: 'open',
    clone: 'auto',
    reuse: false,
    reprove: true,
    allowUnread: true,
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
      const restore: Required<StartRestoreOptions> = {
        ...heldBack,
        source,
        level: 'open',
        clone: 'auto',
        rewriteManifest: false,
        signal: new AbortController().signal,
      };
      expect((await restores.restore(restore)).state.status).toBe('completed');
    }
  });

  test('by the functions and the handle', async () => {
    const paused: Required<SnapshotClassicLevelOptions> = { ...snapshotOptions(), pauseWrites: false };
    expect((await snapshotClassicLevel(db, paused)).state.status).toBe('completed');
    const lifecycle = new Lifecycle({ dataDir: dir });
    const environment = systemEnvironment;
    const verification: Required<VerifyOptions> = {
      ...watching(),
      ...heldBack,
      level: 'open',
      engine: 'files',
    };
    const all: Required<VerifyAllOptions> = {
      ...watching(),
      ...heldBack,
      level: 'files',
      maxBytes: 1,
      olderThanMs: 0.5,
    };
    const restoring = (into: string): Required<RestoreIntoOptions> => ({
      ...watching(),
      ...heldBack,
      into,
      files: [],
      level: 'files',
      clone: 'auto',
      rewriteManifest: false,
    });
    const into = await temporaryFolder();
    for (const options of [{ lifecycle }, { environment }] satisfies Partial<SnapshotsOptions>[]) {
      const handle = new Snapshots({ dataDir: dir, ...options });
      expect((await handle.verify('latest', verification)).ok).toBe(true);
      expect((await handle.verifyAll(all)).ok).toBe(true);
      await handle.restore('latest', restoring(join(into, Object.keys(options)[0]!)));
      const { snapshots } = await handle.list();
      const { removed } = await handle.prune({ keep: 1, dryRun: true });
      expect(removed).toHaveLength(snapshots.length - 1);
      expect((await handle.delete(snapshots[0]!.name)).name).toBe(snapshots[0]!.name);
    }
    expect((await verifySnapshot(latest(), { ...verification, environment })).ok).toBe(true);
    expect((await verifyAllSnapshots(dir, { ...all, environment })).ok).toBe(true);
    await restoreSnapshot(latest(), { ...restoring(join(into, 'path')), environment });
    expect((await getSnapshot(latest(), { environment })).problem).toBeNull();
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
    const { dataDir, settings } = await withPlans();
    const { signal: _, ...backup } = snapshotOptions();
    const options: Omit<Required<ServerOptions>, 'plainHttp' | 'tls'> = {
      dataDir,
      settings,
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

test('a lifecycle of another data directory is refused', async () => {
  const lifecycle = new Lifecycle({ dataDir: dir });
  const other = await plainDirectory();
  const before = onDisk();
  const name = (await new Snapshots({ dataDir: dir }).list()).snapshots[0]!.name;
  for (const call of [
    () => new Snapshots({ dataDir: other, lifecycle }).prune({ keep: 1 }),
    () => new Snapshots({ dataDir: other, lifecycle }).delete(name),
    () => startServer({ dataDir: other, lifecycle }),
  ])
    await expect(refusal(call)).resolves.toMatchObject({
      message: expect.stringContaining('the lifecycle is that of'),
    });
  expect(onDisk()).toEqual(before);
});

test('hooks and options that an object inherits count as given', async () => {
  const dataDir = await plainDirectory();
  await new BackupCoordinator({ dataDir, engine: 'files' }).backup();
  const calls: string[] = [];
  class Hooks {
    readonly dataDir = dataDir;
    readonly engine = 'files';
    close() {
      calls.push('close');
    }
    get open() {
      return () => void calls.push('open');
    }
  }
  const inherited = Object.create({ level: 'files' });
  const { report } = await new RestoreCoordinator(new Hooks()).restore(inherited);
  expect(calls).toEqual(['close', 'open']);
  expect(report?.level).toBe('files');
});
