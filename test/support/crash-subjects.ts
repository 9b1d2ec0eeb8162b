import { join } from 'node:path';
import { type Hold, LIFECYCLE } from '../../src/engine/engine.ts';
import { BackupCoordinator, Lifecycle, openLsm, Snapshots } from '../../src/index.ts';
import { type Layout, layoutOf } from '../../src/snapshot/store/layout.ts';
import { CrashFileSystem } from './crash-file-system.ts';
import { putTree, readRealTree, treeOf, type World, worldOn } from './crash-world.ts';
import { fill, writeFolder } from './leveldb-folders.ts';
import { dumpLsm } from './lsm.ts';
import { temporaryFolder } from './temp.ts';

export const DATA = '/disk/data';
/** Where the snapshots of `DATA` are kept in a stage `elsewhere`. */
export const HOME = '/disk/home';

/** A database of some engine that crashes while something is done to its directory. */
export interface Subject {
  readonly engine: 'files' | 'lsm' | 'leveldb';
  /** Makes the data directory hold what it holds in this generation, on disk. */
  write(world: World, generation: number): Promise<void>;
  /** What a user of the database sees in a folder. */
  read(world: World, dir: string): Promise<string>;
  /** Opens the database, as the host has it open while a snapshot is taken. */
  open?(world: World): Promise<OpenSubject>;
}

export interface OpenSubject {
  hold?(): Promise<Hold>;
  close(): Promise<void>;
}

export const files: Subject = {
  engine: 'files',
  async write({ fs }, generation) {
    await putTree(
      fs,
      DATA,
      {
        'a.txt': `generation ${generation}`,
        'always/the same': 'x'.repeat(5000),
        [`only/in ${generation}/here`]: `${generation}`.repeat(700),
        empty: '',
      },
      [LIFECYCLE],
    );
  },
  read: async ({ fs }, dir) => JSON.stringify(treeOf(fs, dir, [LIFECYCLE])),
};

const LSM = { walGeometry: { segmentBytes: 700, segmentCount: 3 }, memtableBytes: 4000, compactAtTables: 5 };

export const openLsmIn = (
  { fs, environment }: World,
  dir: string,
  options: Parameters<typeof openLsm>[1] = {},
) => openLsm(dir, { ...LSM, fs, locks: environment.locks, clock: environment.clock, ...options });

export const lsm: Subject = {
  engine: 'lsm',
  async write(world, generation) {
    const database = await openLsmIn(world, DATA);
    const value = `of ${generation}, `.repeat(8);
    await database.put(`k${generation}`, value);
    await database.put('always', value);
    await database.checkpoint();
    await database.put(`log${generation}`, value);
    await database.delete(`k${generation - 2}`);
    await database.close();
  },
  async read(world, dir) {
    const database = await openLsmIn(world, dir, { createIfMissing: false });
    try {
      return JSON.stringify(await dumpLsm(database));
    } finally {
      await database.close();
    }
  },
  open: (world) => openLsmIn(world, DATA),
};

/** LevelDB itself writes to a real disk; what it left there in each generation is put on the one in memory. */
export async function leveldb(): Promise<Subject> {
  const dir = join(await temporaryFolder(), 'db');
  const generations: Record<string, string>[] = [];
  for (let generation = 0; generation < 5; generation++) {
    await writeFolder(dir, async (db) => {
      await fill(db, 30, 40, `of ${generation}`);
      if (generation === 1) await db.compactRange('a', 'z');
    });
    generations.push(readRealTree(dir));
  }
  const notData = [LIFECYCLE, 'LOCK', 'LOG', 'LOG.old'];
  return {
    engine: 'leveldb',
    write: ({ fs }, generation) => putTree(fs, DATA, generations[generation]!, [LIFECYCLE]),
    read: async ({ fs }, folder) => JSON.stringify(treeOf(fs, folder, notData)),
  };
}

export interface Stage {
  readonly subject: Subject;
  readonly disk: CrashFileSystem;
  readonly layout: Layout;
  /** Oldest first; the last is `latest`. */
  readonly snapshots: readonly TakenSnapshot[];
  /** What a user reads in the data directory, which has changed since the last snapshot. */
  readonly live: string;
}

export interface TakenSnapshot {
  readonly name: string;
  readonly location: string;
  /** Every file with its content, the manifest included. */
  readonly tree: Readonly<Record<string, string>>;
  /** What a user reads once it is restored. */
  readonly state: string;
}

/** Where the snapshots of a stage are kept: in the data directory, or in `HOME`. */
export type Place = 'inside' | 'elsewhere';

/** A data directory with so many snapshots, each of another state, kept in it or elsewhere. */
export async function stageOf(subject: Subject, count = 2, place: Place = 'inside'): Promise<Stage> {
  const home = place === 'inside' ? DATA : HOME;
  const world = worldOn(new CrashFileSystem(), 0);
  const { environment } = world;
  await world.fs.makeFolder('/disk');
  const snapshots: TakenSnapshot[] = [];
  for (let generation = 1; generation <= count; generation++) {
    await subject.write(world, generation);
    const lifecycle = new Lifecycle({
      dataDir: DATA,
      environment,
      ...(home !== DATA && { lifecycleDir: home }),
    });
    const coordinator = new BackupCoordinator({ dataDir: DATA, engine: subject.engine, lifecycle });
    const { name, location } = await coordinator.backup();
    const tree = treeOf(world.fs, location);
    snapshots.push({ name, location, tree, state: await restoredState(world, subject, name) });
  }
  await subject.write(world, count + 1);
  const disk = world.fs.after('none');
  const live = await subject.read(worldOn(disk.after('none'), 0), DATA);
  return { subject, disk, layout: layoutOf(DATA, home), snapshots, live };
}

/** What a user reads in a snapshot, restored on a disk of its own. */
export async function restoredState(world: World, subject: Subject, snapshot: string): Promise<string> {
  const aside = worldOn(world.fs.after('none'), 9);
  const into = '/disk/restored';
  await new Snapshots({ dataDir: DATA, environment: aside.environment }).restore(snapshot, { into });
  return subject.read(aside, into);
}
