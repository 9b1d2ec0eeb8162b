import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'vitest';
import { BackupCoordinator, backUp, initRepository, RestoreCoordinator, Snapshots } from '../../src/index.ts';
import { fillDisk, mountInMemory } from './file-systems.ts';
import { nodeProcess } from './fleet-processes.ts';
import { fill, flipBit, namesOf, writeFolder } from './leveldb-folders.ts';

/** What has happened in a folder before its page is read; really, not by a stand-in. */
export interface Situation {
  /** What happens before the section of that heading; `stop` ends the servers that the page has started. */
  readonly before?: Readonly<Record<string, (stop: () => Promise<void>) => Promise<void> | void>>;
  /** A line of the page with the places that it has here. */
  readonly asHere?: (line: string) => string;
}

type Make = (folder: string, context: TestContext) => Promise<Situation>;

const MiB = 1024 * 1024;

const snapshot = (dataDir: string, reuse = true) =>
  new BackupCoordinator({ dataDir, engine: 'leveldb' }).backup({ reuse });

/** A table of 2,000 keys more. */
const grow = (dataDir: string, from = 0) =>
  writeFolder(dataDir, async (db) => {
    await fill(db, 2000, 60, `from-${from}`);
    await db.compactRange('from', 'fron');
  });

/** Random values: 2 MiB that stay 2 MiB. */
const growLarge = (dataDir: string, count = 32) =>
  writeFolder(dataDir, async (db) => {
    for (let i = 0; i < count; i++) await db.put(`key-${i}`, randomBytes(32 * 1024).toString('hex'));
    await db.compactRange('key', 'kez');
  });

const restoreLatest = (dataDir: string) =>
  new RestoreCoordinator({ dataDir, engine: 'leveldb', close: () => {}, open: () => {} }).restore({
    source: 'latest',
  });

const onDisk = (folder: string) => (line: string) => line.replace('/mnt/backups', join(folder, 'backups'));

const damagedDatabase: Make = async (folder) => {
  const dataDir = join(folder, 'data');
  await grow(dataDir);
  await snapshot(dataDir);
  await grow(dataDir, 1);
  const damage = async () => {
    const [table] = await namesOf(dataDir, /\.ldb$/);
    await flipBit(join(dataDir, table!), 8 * 5000);
  };
  await damage();
  return { before: { 'If no snapshot is good': damage } };
};

const wrongRestore: Make = async (folder) => {
  const dataDir = join(folder, 'data');
  await grow(dataDir);
  await snapshot(dataDir);
  await grow(dataDir, 1);
  await snapshot(dataDir);
  await grow(dataDir, 2);
  await restoreLatest(dataDir);
  const giveUp = async () => {
    await new Snapshots({ dataDir }).pruneUndo({ keep: 0, discardWrites: true });
  };
  return { before: { 'If there is nothing to undo': giveUp } };
};

const fullDisk: Make = async (folder, context) => {
  const dataDir = join(folder, 'data');
  mountInMemory(context, dataDir, 24 * MiB);
  await growLarge(dataDir);
  for (let i = 0; i < 3; i++) await snapshot(dataDir, false);
  await restoreLatest(dataDir);
  await growLarge(dataDir, 64); // the next snapshot needs 2 MiB more than the last one has
  fillDisk(join(dataDir, '.lifecycle'));
  return {};
};

const fullRepository: Make = async (folder, context) => {
  const [dataDir, disk, repository] = ['data', 'disk', 'disk/backups'].map((name) => join(folder, name));
  mountInMemory(context, disk!, 16 * MiB);
  await initRepository(repository!);
  for (let i = 0; i < 2; i++) {
    await growLarge(dataDir!);
    await backUp(dataDir!, { to: repository! });
  }
  await growLarge(dataDir!);
  const filling = fillDisk(disk!);
  return {
    before: { 'If you need a backup before that': () => rmSync(filling) },
    asHere: onDisk(disk!),
  };
};

const lostMachine: Make = async (folder) => {
  const [dataDir, repository] = ['data', 'backups'].map((name) => join(folder, name));
  const lose = async () => {
    for (const place of [dataDir!, repository!]) rmSync(place, { recursive: true, force: true });
    await initRepository(repository!);
    for (let i = 0; i < 2; i++) {
      await grow(dataDir!, i);
      await backUp(dataDir!, { to: repository! });
    }
    rmSync(dataDir!, { recursive: true });
  };
  await lose();
  return {
    before: {
      'If the newest backup is damaged': async () => {
        await lose();
        await damageNewest(repository!);
      },
    },
    asHere: onDisk(folder),
  };
};

/** One bit in what was uploaded last. */
async function damageNewest(repository: string): Promise<void> {
  const packs = readdirSync(repository, { recursive: true, encoding: 'utf8' })
    .filter((name) => /small-0$/.test(name))
    .map((name) => join(repository, name))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  await flipBit(packs[0]!, 8 * 5000);
}

const fleetWithoutOne: Make = async (folder) => {
  const ids = ['eu-1', 'eu-2', 'eu-3'];
  const nodes = await Promise.all(
    ids.map((id) => nodeProcess(id, { engine: 'lsm', dataDir: join(folder, id) })),
  );
  for (const node of nodes) await node.put('key', node.id);
  const named = nodes.map(({ id, url }) => ({ id, url }));
  writeFileSync(join(folder, 'fleet.json'), JSON.stringify({ fleet: 'shop', nodes: named }));
  const down = nodes[1]!;
  await down.kill();
  const { port } = new URL(down.url);
  return {
    before: {
      'Its disk is gone': async (stop) => {
        await stop();
        rmSync(down.dataDir, { recursive: true });
      },
    },
    asHere: (line) => line.replace('4782', port),
  };
};

/** Of each page. */
export const situations: Readonly<Record<string, Make>> = {
  'database-damaged.md': damagedDatabase,
  'restored-the-wrong-one.md': wrongRestore,
  'disk-full.md': fullDisk,
  'backup-disk-full.md': fullRepository,
  'machine-gone.md': lostMachine,
  'node-down.md': fleetWithoutOne,
};
