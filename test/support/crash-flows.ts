import assert from 'node:assert/strict';
import { join } from 'node:path';
import { RunControl } from '../../src/env/run-control.ts';
import {
  BackupCoordinator,
  Lifecycle,
  RestoreCoordinator,
  Snapshots,
  type StartBackupOptions,
  verifySnapshot,
} from '../../src/index.ts';
import { RunRecords } from '../../src/operation/records.ts';
import { restoreInto } from '../../src/snapshot/restore/restore.ts';
import { checkSource } from '../../src/snapshot/restore/restore-source.ts';
import { folderSource } from '../../src/snapshot/source/folder-source.ts';
import { type Layout, ownLayout } from '../../src/snapshot/store/layout.ts';
import type { Flow } from './crash-matrix.ts';
import { DATA, restoredState, type Stage } from './crash-subjects.ts';
import { treeOf, type World, worldOn } from './crash-world.ts';

// What is done with a data directory, and the invariants of the design that must hold of it afterwards (their numbers in brackets).

const INTO = '/disk/into';

const lifecycleOf = ({ environment }: World, home?: string) =>
  new Lifecycle({
    dataDir: DATA,
    environment,
    ...(home !== undefined && home !== DATA && { lifecycleDir: home }),
  });

const recover = (world: World) => lifecycleOf(world).recover();

export function snapshotFlow(stage: Stage, options: StartBackupOptions): Flow {
  const { subject, snapshots, live } = stage;
  return {
    name: `${subject.engine}: snapshot ${JSON.stringify(options)}`,
    before: stage.disk,
    recover,
    async run(world, reached) {
      const database = await subject.open?.(world);
      try {
        const coordinator = new BackupCoordinator({
          dataDir: DATA,
          engine: subject.engine,
          lifecycle: lifecycleOf(world, stage.layout.home),
          ...(database?.hold && { checkpoint: () => database.hold!() }),
        });
        reached((await coordinator.backup(options)).name);
      } finally {
        await database?.close();
      }
    },
    async check(world, promise) {
      const before = snapshots.at(-1)?.name ?? null;
      const gone = options.keep === undefined ? [] : snapshots.slice(0, 1 - options.keep || undefined);
      const latest = await checkFolder(
        world,
        stage,
        [live],
        gone.map(({ name }) => name),
      );
      if (promise !== '') assert.equal(latest, promise, 'what was taken is not the latest (2)');
      // The very first run makes the file of records.
      if (promise !== '' && before === null)
        assert.ok(await isOnRecord(world, stage.layout), 'the run is not on record');
      // What the marker names from now on holds the state of that moment (5).
      if (latest !== null && latest !== before)
        assert.equal(await restoredState(world, subject, latest), live, 'another state (5)');
      await checkNextRun(world, stage);
    },
  };
}

async function isOnRecord({ fs }: World, layout: Layout): Promise<boolean> {
  const records = await new RunRecords(fs, layout).read();
  return records.at(-1)?.state.status === 'completed';
}

export function restoreFlow(stage: Stage): Flow {
  const { subject, live } = stage;
  const { name, state } = stage.snapshots[0]!;
  return {
    name: `${subject.engine}: restore in place`,
    before: stage.disk,
    recover,
    run: (world, reached) => exchange(world, stage, (restore) => restore.restore({ source: name }), reached),
    check: (world, promise) => checkExchange(world, stage, live, state, promise),
  };
}

/** The staged copy gets a new MANIFEST before the exchange. */
export function rewritingRestoreFlow(stage: Stage): Flow {
  const { name } = stage.snapshots[0]!;
  return {
    ...restoreFlow(stage),
    name: `${stage.subject.engine}: restore in place with a new MANIFEST`,
    run: (world, reached) =>
      exchange(world, stage, (restore) => restore.restore({ source: name, rewriteManifest: true }), reached),
  };
}

/** The host cannot open what was restored: the old state comes back, in the same run or after a crash in it. */
export function refusedRestoreFlow(stage: Stage): Flow {
  const { subject, live } = stage;
  const { name, state } = stage.snapshots[0]!;
  return {
    name: `${subject.engine}: restore in place that the host refuses`,
    before: stage.disk,
    recover,
    async run(world, reached) {
      let isRefused = false;
      const open = () => {
        if (isRefused) return;
        isRefused = true;
        throw new Error('not my format');
      };
      const restore = new RestoreCoordinator({
        dataDir: DATA,
        engine: subject.engine,
        lifecycle: lifecycleOf(world),
        open,
      });
      await assert.rejects(restore.restore({ source: name }), { code: 'HOOK_FAILED' });
      reached('put back');
    },
    async check(world, promise) {
      await checkFolder(world, stage, promise === '' ? [live, state] : [live]);
      await checkNextRun(world, stage);
    },
  };
}

export async function undoFlow(stage: Stage): Promise<Flow> {
  const { subject, live } = stage;
  const { name, state } = stage.snapshots[0]!;
  const world = worldOn(stage.disk.after('none'), 0);
  await exchange(world, stage, (restore) => restore.restore({ source: name }));
  return {
    name: `${subject.engine}: undo`,
    before: world.fs,
    recover,
    run: (world, reached) => exchange(world, stage, (restore) => restore.undo(), reached),
    check: (world, promise) => checkExchange(world, stage, state, live, promise),
  };
}

async function exchange(
  world: World,
  { subject }: Stage,
  work: (restore: RestoreCoordinator) => Promise<unknown>,
  reached: (promise: string) => void = () => {},
): Promise<void> {
  let database = await subject.open?.(world);
  try {
    const restore = new RestoreCoordinator({
      dataDir: DATA,
      engine: subject.engine,
      lifecycle: lifecycleOf(world),
      close: () => database?.close(),
      open: async () => {
        database = await subject.open?.(world);
      },
    });
    await work(restore);
    reached('exchanged');
  } finally {
    await database?.close();
  }
}

/** Exactly the old state or the new one, and from the new one the way back (7). */
async function checkExchange(
  world: World,
  stage: Stage,
  old: string,
  next: string,
  promise: string,
): Promise<void> {
  const { subject } = stage;
  await checkFolder(world, stage, promise === '' ? [old, next] : [next]);
  const aside = worldOn(world.fs.after('none'), 8);
  if ((await subject.read(worldOn(world.fs.after('none'), 8), DATA)) === next) {
    await exchange(aside, stage, (restore) => restore.undo());
    assert.equal(await subject.read(aside, DATA), old, 'undo brings something else back (7)');
    const last = (await new RunRecords(world.fs, stage.layout).read()).at(-1);
    assert.equal(last?.state.status, 'completed', 'the new state stands, and its run is on record as failed');
  }
  await checkNextRun(world, stage);
}

export function restoreIntoFlow(stage: Stage): Flow {
  const { name } = stage.snapshots[0]!;
  return newFolderFlow(stage, 'restore into a folder', ({ environment }) =>
    new Snapshots({ dataDir: DATA, environment }).restore(name, { into: INTO }),
  );
}

/** From a source that has no folder here: a repository, another node. */
export function restoreStreamsFlow(stage: Stage): Flow {
  const { location } = stage.snapshots[0]!;
  return newFolderFlow(stage, 'restore from streams', async ({ environment }) => {
    const { folder: _, ...streams } = folderSource(environment, location);
    const control = new RunControl();
    const source = await checkSource(environment, streams, control);
    await restoreInto(environment, source, INTO, { level: 'full' }, control);
  });
}

function newFolderFlow(stage: Stage, what: string, restore: (world: World) => Promise<unknown>): Flow {
  const { subject, live } = stage;
  const { state } = stage.snapshots[0]!;
  return {
    name: `${subject.engine}: ${what}`,
    before: stage.disk,
    recover,
    async run(world, reached) {
      await restore(world);
      reached('restored');
    },
    async check(world, promise) {
      const isThere = (await world.fs.inspect(INTO)) !== undefined;
      assert.ok(isThere || promise === '', 'what was restored is gone (7)');
      if (isThere) assert.equal(await subject.read(world, INTO), state, 'not what was in the snapshot (7)');
      await checkFolder(world, stage, [live]);
      await checkNextRun(world, stage);
    },
  };
}

export function pruneFlow(stage: Stage): Flow {
  const gone = stage.snapshots.slice(0, -1).map(({ name }) => name);
  return {
    name: `${stage.subject.engine}: prune`,
    before: stage.disk,
    recover,
    async run({ environment }, reached) {
      const { removed } = await new Snapshots({ dataDir: DATA, environment }).prune({ keep: 1 });
      reached(removed.map(({ name }) => name).join(' '));
    },
    check: (world, promise) => checkRemoval(world, stage, gone, promise),
  };
}

export function deleteFlow(stage: Stage): Flow {
  const { name } = stage.snapshots[0]!;
  return {
    name: `${stage.subject.engine}: delete`,
    before: stage.disk,
    recover,
    async run({ environment }, reached) {
      await new Snapshots({ dataDir: DATA, environment }).delete(name);
      reached(name);
    },
    check: (world, promise) => checkRemoval(world, stage, [name], promise),
  };
}

/** `gone` may be missing; what the `promise` names must. */
async function checkRemoval(
  world: World,
  stage: Stage,
  gone: readonly string[],
  promise: string,
): Promise<void> {
  const latest = await checkFolder(world, stage, [stage.live], gone);
  assert.equal(latest, stage.snapshots.at(-1)!.name, 'the marker moved (11)');
  for (const name of promise.split(' ').filter((text) => text !== ''))
    assert.equal(await world.fs.inspect(join(stage.layout.backup, name)), undefined, `${name} is back`);
  await checkNextRun(world, stage);
}

/**
 * What holds of a data directory whenever a process has recovered it. `gone` are snapshots that may be missing. Resolves to what the
 * latest marker names; null only where there was no snapshot before.
 */
async function checkFolder(
  world: World,
  { subject, snapshots, layout }: Stage,
  states: readonly string[],
  gone: readonly string[] = [],
): Promise<string | null> {
  const { fs, environment } = world;
  assert.deepEqual(leftOvers(fs, layout), [], 'left over');
  const list = await new Snapshots({ dataDir: DATA, environment }).list();
  const names = list.snapshots.map(({ name }) => name);
  for (const { name, location, tree } of snapshots) {
    if (gone.includes(name) && !names.includes(name)) continue;
    assert.deepEqual(treeOf(fs, location), tree, `${name} is not what it was (3)`);
  }
  for (const { name, location } of list.snapshots) {
    if (snapshots.some((old) => old.name === name)) continue; // equal to what passed its proof
    const { ok, findings } = await verifySnapshot(location, { environment });
    assert.ok(ok, `${location} is published and not whole (1, 6): ${JSON.stringify(findings)}`);
  }
  if (list.latest === null) assert.ok(snapshots.length === 0, 'latest names nothing any more (2)');
  else assert.ok(names.includes(list.latest), `latest names ${list.latest} (2)`);
  const records = await new RunRecords(fs, layout).read();
  for (const { id, state } of records) assert.notEqual(state.status, 'running', `${id} reads as running`);
  const state = await subject.read(worldOn(fs.after('none'), 7), DATA);
  assert.ok(
    states.includes(state),
    `the database is in a state of its own (4, 7): ${state}, not ${states.join(' or ')}`,
  );
  return list.latest;
}

/** Names that no process at work may leave behind for good. */
function leftOvers(fs: World['fs'], layout: Layout): string[] {
  const restore = join(layout.restore, '/');
  const folders = [layout, ownLayout(layout)].map(({ lifecycle }) => lifecycle);
  return [...fs.nodes()]
    .map(([path]) => path)
    .filter((path) => folders.some((folder) => path.startsWith(folder)))
    .filter((path) => path.startsWith(restore) || /\/(backup|archive|export)\/\.[^/]*$/.test(path));
}

/** The one after it goes well, whatever happened, and holds what is there now. */
async function checkNextRun(world: World, { subject, layout }: Stage): Promise<void> {
  const { environment, fs } = world;
  const coordinator = new BackupCoordinator({
    dataDir: DATA,
    engine: subject.engine,
    lifecycle: lifecycleOf(world),
  });
  const { name } = await coordinator.backup();
  assert.equal((await new Snapshots({ dataDir: DATA, environment }).list()).latest, name);
  const live = await subject.read(worldOn(fs.after('none'), 7), DATA);
  assert.equal(await restoredState(world, subject, name), live, 'the next snapshot holds another state');
  assert.deepEqual(leftOvers(fs, layout), []);
  assert.deepEqual(world.leaks(), []);
}
