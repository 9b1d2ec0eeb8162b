import { execFileSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { BackupCoordinator, restoreSnapshot } from '../src/index.ts';

// A durable and proven snapshot of a folder against the tools a user would pick instead, in alternation, on the same
// file system, the source in the page cache for all. Each tool's time includes what makes its copy durable.

const { values } = parseArgs({
  options: {
    mb: { type: 'string', default: '1024' },
    files: { type: 'string', default: '50' },
    rounds: { type: 'string', default: '5' },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
});
const root = mkdtempSync(join(values.dir, 'stillpoint-peers-'));
const source = join(root, 'source');
const target = join(root, 'target');

function makeSource(): number {
  mkdirSync(source);
  const buffer = Buffer.allocUnsafe(Math.ceil((Number(values.mb) * 1024 * 1024) / Number(values.files)));
  for (let i = 0; i < Number(values.files); i++) {
    const fd = openSync(join(source, `${i}.dat`), 'w');
    writeSync(fd, randomFillSync(buffer));
    fsyncSync(fd);
    closeSync(fd);
  }
  return buffer.byteLength * Number(values.files);
}

const run = (command: string, args: string[]) => execFileSync(command, args, { stdio: 'ignore' });
const has = (command: string): boolean => {
  try {
    run('sh', ['-c', `command -v ${command}`]);
    return true;
  } catch {
    return false;
  }
};

const takeSnapshot = async (): Promise<string> =>
  (await new BackupCoordinator({ dataDir: source, engine: 'files' }).backup({ reuse: false })).location;

let kept = '';
let latest = '';
const ways: Record<string, () => Promise<unknown> | unknown> = {
  'cp -a + sync': () => {
    run('sh', ['-c', `mkdir ${target} && cp -a ${source}/*.dat ${target}`]);
    run('sync', ['-f', target]);
  },
  ...(has('rsync') && {
    'rsync -a + sync': () => {
      run('rsync', ['-a', '--exclude', '.lifecycle', `${source}/`, target]);
      run('sync', ['-f', target]);
    },
  }),
  'stillpoint snapshot, proven': async () => {
    latest = await takeSnapshot();
  },
  'stillpoint restore, proven': () => restoreSnapshot(kept, { into: target }),
};

const bytes = makeSource();
const times: Record<string, number[]> = Object.fromEntries(Object.keys(ways).map((way) => [way, []]));
const names = Object.keys(ways);
kept = await takeSnapshot(); // what the restore restores
for (let round = 0; round <= Number(values.rounds); round++) {
  // Each goes first, second, … in turn.
  for (const index of names.keys()) {
    const way = names[(index + round) % names.length]!;
    // The memory of the last copy is free again for the next one, whoever makes it: without that, a virtual machine
    // has to fetch new memory from its host, which takes longer than the copying.
    rmSync(target, { recursive: true, force: true });
    if (latest !== '') rmSync(latest, { recursive: true, force: true });
    run('sync', ['-f', root]);
    const begin = performance.now();
    await ways[way]!();
    if (round > 0) times[way]!.push(performance.now() - begin); // the first one warms up
  }
}
const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[list.length >> 1]!;
const peer = median(times['cp -a + sync']!);
const rows = Object.entries(times).map(([way, list]) => ({
  way,
  median_ms: Math.round(median(list)),
  min_ms: Math.round(Math.min(...list)),
  max_ms: Math.round(Math.max(...list)),
  mb_per_s: Math.round(bytes / 1e3 / median(list)),
  'of cp': Math.round((median(list) / peer) * 100) / 100,
}));
if (values.json) console.log(JSON.stringify({ bytes, rounds: Number(values.rounds), rows }));
else console.table(rows);
rmSync(root, { recursive: true });
