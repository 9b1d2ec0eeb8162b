import { execFileSync, spawn } from 'node:child_process';
import { randomBytes, randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { ClassicLevel } from 'classic-level';
import { openLsm } from '../src/engine/lsm/database/database.ts';
import { BackupCoordinator, type EngineName, restoreSnapshot, verifySnapshot } from '../src/index.ts';

// A durable and proven snapshot against the tools a user would pick instead: on data that is made here, in one process of
// measuring, in alternation, the source in the page cache for all, each time including what makes the copy durable.
// A tool that is not installed is named as absent.

const { values } = parseArgs({
  options: {
    mb: { type: 'string', default: '1024' },
    files: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '5' },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'string' },
  },
});
const BYTES = Number(values.mb) * 1024 * 1024;
const FILE_BYTES = Math.ceil(BYTES / Number(values.files));
const VALUE_BYTES = 4096;

const root = mkdtempSync(join(values.dir, 'stillpoint-peers-'));
const target = join(root, 'target');
const folders = { plain: join(root, 'plain'), lsm: join(root, 'lsm'), leveldb: join(root, 'leveldb') };

const run = (command: string, args: string[]) => execFileSync(command, args, { stdio: 'ignore', env: ENV });
const ENV = { ...process.env, RESTIC_PASSWORD: 'bench' };
const has = (command: string): boolean => {
  try {
    run('sh', ['-c', `command -v ${command}`]);
    return true;
  } catch {
    return false;
  }
};
const hasRocksdb = has('ldb');

/** A RocksDB database where its tools are there, so that they can be measured on it; else files of random bytes. */
async function makePlain(): Promise<void> {
  if (!hasRocksdb) {
    mkdirSync(folders.plain);
    const buffer = Buffer.allocUnsafe(FILE_BYTES);
    for (let i = 0; i < Number(values.files); i++) {
      writeFileSync(join(folders.plain, `${i}.dat`), randomFillSync(buffer));
    }
    return;
  }
  const sizes = [`--write_buffer_size=${FILE_BYTES}`, `--file_size=${FILE_BYTES}`, '--compression_type=no'];
  const args = [`--db=${folders.plain}`, '--create_if_missing', ...sizes, 'load', '--disable_wal'];
  const loader = spawn('ldb', args, { stdio: ['pipe', 'ignore', 'ignore'] });
  for (let i = 0; i * VALUE_BYTES < BYTES; i++) {
    const line = `key${String(i).padStart(10, '0')} ==> ${randomBytes((VALUE_BYTES * 3) / 4).toString('base64')}\n`;
    if (!loader.stdin.write(line)) await once(loader.stdin, 'drain');
  }
  loader.stdin.end();
  await once(loader, 'exit');
}

async function makeLsm(): Promise<void> {
  const database = await openLsm(folders.lsm, { memtableBytes: FILE_BYTES, compactAtTables: 100_000 });
  await fill((ops) => database.batch(ops));
  await database.checkpoint();
  await database.close();
}

async function makeLeveldb(): Promise<void> {
  const options = { compression: false, writeBufferSize: FILE_BYTES, maxFileSize: FILE_BYTES };
  const database = new ClassicLevel<string, Buffer>(folders.leveldb, { ...options, valueEncoding: 'buffer' });
  await fill((ops) => database.batch(ops));
  await database.compactRange('', '~');
  await database.close();
}

async function fill(
  batch: (ops: { type: 'put'; key: string; value: Buffer }[]) => Promise<unknown>,
): Promise<void> {
  const perBatch = 256;
  for (let i = 0; i * VALUE_BYTES < BYTES; i += perBatch) {
    const keys = Array.from({ length: perBatch }, (_, k) => `key${String(i + k).padStart(10, '0')}`);
    await batch(keys.map((key) => ({ type: 'put', key, value: randomBytes(VALUE_BYTES) })));
  }
}

/** Another order each round, so that nobody always comes after the one that tires the disk most. */
function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

/** What a copy has to hold. Of the log of `lsm` that is next to nothing: all is in tables. */
const bytesIn = (folder: string): number =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'lsm.wal' && !entry.parentPath.includes('.lifecycle'))
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).blocks * 512, 0);

const take = async (engine: EngineName, dir: string): Promise<string> =>
  (await new BackupCoordinator({ dataDir: dir, engine }).backup({ reuse: false })).location;

interface Way {
  readonly name: string;
  readonly folder: string;
  readonly work: () => Promise<unknown> | unknown;
}

let kept = '';
/** Snapshots of the last round, removed before the next measurement. */
const taken = new Set<string>();
const snapshotOf = (engine: EngineName, folder: string): Way => ({
  name: `snapshot, proven: ${engine}`,
  folder,
  work: async () => taken.add(await take(engine, folder)),
});
const copying = (name: string, commands: string): Way => ({
  name,
  folder: folders.plain,
  work: () => run('sh', ['-ec', `${commands}; sync -f ${target}`]),
});
const { plain } = folders;
const ways: Way[] = [
  copying('cp -a + sync', `mkdir ${target}; cp -a ${plain}/* ${target}`),
  ...(has('rsync') ? [copying('rsync -a + sync', `rsync -a --exclude .lifecycle ${plain}/ ${target}`)] : []),
  ...(hasRocksdb ? [copying('ldb backup', `ldb --db=${plain} backup --backup_dir=${target}`)] : []),
  ...(has('restic')
    ? [
        copying(
          'restic backup',
          `restic init -q -r ${target}; restic backup -q -r ${target} ${plain} --exclude .lifecycle`,
        ),
      ]
    : []),
  snapshotOf('files', folders.plain),
  snapshotOf('lsm', folders.lsm),
  snapshotOf('leveldb', folders.leveldb),
  {
    name: 'restore, proven: files',
    folder: folders.plain,
    work: () => restoreSnapshot(kept, { into: target }),
  },
  { name: 'verify, full: lsm', folder: folders.lsm, work: () => verifySnapshot(folders.lsm) },
  { name: 'verify, full: leveldb', folder: folders.leveldb, work: () => verifySnapshot(folders.leveldb) },
  ...(hasRocksdb
    ? [
        {
          name: 'sst_dump verify',
          folder: plain,
          work: () => run('sst_dump', [`--file=${plain}`, '--command=verify']),
        },
      ]
    : []),
];

try {
  await makePlain();
  await makeLsm();
  await makeLeveldb();
  const sizes = new Map(Object.values(folders).map((folder) => [folder, bytesIn(folder)]));
  kept = await take('files', plain); // what the restore restores
  const times = new Map<string, number[]>(ways.map(({ name }) => [name, []]));
  for (let round = 0; round <= Number(values.rounds); round++) {
    for (const { name, work } of shuffled(ways)) {
      // The memory of the last copy is free again for the next one, whoever makes it: without that, a virtual machine
      // has to fetch new memory from its host, which takes longer than the copying.
      for (const folder of [target, ...taken]) rmSync(folder, { recursive: true, force: true });
      taken.clear();
      run('sync', ['-f', root]);
      const begin = performance.now();
      await work();
      if (round > 0) times.get(name)!.push(performance.now() - begin); // the first one warms up
    }
  }
  const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1]!;
  const speedOf = ({ name, folder }: Way) => sizes.get(folder)! / 1e3 / median(times.get(name)!);
  const slowness = (way: Way, peer: string): number | null => {
    const other = ways.find(({ name }) => name === peer);
    return other === undefined ? null : Math.round((speedOf(other) / speedOf(way)) * 100) / 100;
  };
  const rows = ways.map((way) => ({
    way: way.name,
    mb: Math.round(sizes.get(way.folder)! / 1e6),
    median_ms: Math.round(median(times.get(way.name)!)),
    min_ms: Math.round(Math.min(...times.get(way.name)!)),
    max_ms: Math.round(Math.max(...times.get(way.name)!)),
    mb_per_s: Math.round(speedOf(way)),
    'time/byte of cp': slowness(way, 'cp -a + sync'),
    'of ldb backup': slowness(way, 'ldb backup'),
    'of sst_dump': slowness(way, 'sst_dump verify'),
  }));
  console.table(rows);
  for (const tool of ['rsync', 'ldb', 'restic']) if (!has(tool)) console.log(`absent: ${tool}`);
  if (values.json !== undefined)
    writeFileSync(values.json, JSON.stringify({ rounds: values.rounds, rows }, undefined, 1));
} finally {
  rmSync(root, { recursive: true });
}
