import { cpSync, rmSync } from 'node:fs';
import { ClassicLevel } from 'classic-level';
import type { FileSystem } from '../../src/env/file-system.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { type BackupCoordinatorOptions, createLeveldbEngine, openLsm } from '../../src/index.ts';

// Databases of both engines with one workload, whose every state can be recognised: commit n of writer w puts `head:w` = n and
// `k:w:n` and deletes `k:w:(n - 50)`, in one batch. What a writer has written follows from its head alone.

export const WRITERS = 4;
const WINDOW = 50;

export type EngineUnderTest = 'lsm' | 'leveldb';
/** The last commit of each writer. */
export type Heads = readonly number[];

export interface HostDatabase {
  /** Writes commit `number` of a writer; resolves when it is acknowledged. */
  commit(writer: number, number: number): Promise<void>;
  entries(): Promise<Map<string, string>>;
  /** Merges what there is; before, whatever is in memory goes to tables. */
  compact(): Promise<void>;
  /** How a coordinator takes snapshots of it. */
  readonly capture: Pick<BackupCoordinatorOptions, 'engine' | 'checkpoint'>;
  close(): Promise<void>;
}

/** Small memtables, so that flushes and compactions go on all the time. `fs` is what `lsm` works on. */
export function openDatabase(
  engine: EngineUnderTest,
  dir: string,
  fs: FileSystem = nodeFileSystem,
): Promise<HostDatabase> {
  return engine === 'lsm' ? openLsmHost(dir, fs) : openLevelHost(dir);
}

async function openLsmHost(dir: string, fs: FileSystem): Promise<HostDatabase> {
  const db = await openLsm(dir, {
    walGeometry: { segmentBytes: 32 * 1024, segmentCount: 4 },
    memtableBytes: 48 * 1024,
    compactAtTables: 4,
    fs,
  });
  return {
    async commit(writer, number) {
      await db.batch([
        { type: 'put', key: `head:${writer}`, value: String(number) },
        { type: 'put', key: keyOf(writer, number), value: contentOf(writer, number) },
        { type: 'delete', key: keyOf(writer, number - WINDOW) },
      ]);
    },
    async entries() {
      const found = new Map<string, string>();
      for await (const [key, value] of db.iterate()) found.set(String(key), String(value));
      return found;
    },
    async compact() {
      await db.checkpoint();
      await db.compact();
    },
    capture: { engine: 'lsm', checkpoint: () => db.hold() },
    close: () => db.close(),
  };
}

async function openLevelHost(dir: string): Promise<HostDatabase> {
  const db = new ClassicLevel<string, string>(dir, { writeBufferSize: 64 * 1024, maxFileSize: 1024 * 1024 });
  await db.open();
  const engine = createLeveldbEngine({ database: db });
  return {
    async commit(writer, number) {
      await db.batch([
        { type: 'put', key: `head:${writer}`, value: String(number) },
        { type: 'put', key: keyOf(writer, number), value: contentOf(writer, number) },
        { type: 'del', key: keyOf(writer, number - WINDOW) },
      ]);
    },
    entries: async () => new Map(await db.iterator().all()),
    compact: () => db.compactRange('', '~'),
    capture: { engine },
    close: async () => {
      engine.detach();
      await db.close();
    },
  };
}

const keyOf = (writer: number, number: number): string => `k:${writer}:${String(number).padStart(9, '0')}`;
const contentOf = (writer: number, number: number): string =>
  `${writer}.${number};`.repeat(10 + ((number * 31 + writer * 7) % 60));

/** The heads of a state; throws when what is there is no state that the writers can have made. */
export function headsOf(entries: ReadonlyMap<string, string>): number[] {
  const heads = Array.from({ length: WRITERS }, (_, writer) => Number(entries.get(`head:${writer}`) ?? 0));
  let expected = 0;
  for (const [writer, head] of heads.entries()) {
    if (head > 0) expected++;
    for (let number = Math.max(1, head - WINDOW + 1); number <= head; number++, expected++) {
      const found = entries.get(keyOf(writer, number));
      if (found !== contentOf(writer, number)) {
        throw new Error(`writer ${writer}, at commit ${head}: ${number} is ${found?.slice(0, 20) ?? 'gone'}`);
      }
    }
  }
  if (entries.size !== expected) throw new Error(`${entries.size} entries at ${heads}, not ${expected}`);
  return heads;
}

/** The heads in a folder that nobody has open, which stays as it is: a copy is opened, at `scratch`. */
export async function headsIn(engine: EngineUnderTest, dir: string, scratch: string): Promise<number[]> {
  rmSync(scratch, { recursive: true, force: true });
  cpSync(dir, scratch, {
    recursive: true,
    filter: (path) => !path.endsWith('/.lifecycle') && !path.endsWith('/snapshot.manifest'),
  });
  const database = await openDatabase(engine, scratch);
  try {
    return headsOf(await database.entries());
  } finally {
    await database.close();
    rmSync(scratch, { recursive: true });
  }
}
