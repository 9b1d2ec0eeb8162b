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

let latest = '';
// The snapshot comes after the others: it stands inside the source, and they would copy it too.
const ways: Record<string, () => Promise<unknown> | unknown> = {
  'cp -a + sync': () => {
    run('cp', ['-a', source, target]);
    run('sync', ['-f', target]);
  },
  ...(has('rsync') && {
    'rsync -a + sync': () => {
      run('rsync', ['-a', '--exclude', '.lifecycle', `${source}/`, target]);
      run('sync', ['-f', target]);
    },
  }),
  'stillpoint snapshot, proven': async () => {
    const backup = new BackupCoordinator({ dataDir: source, engine: 'files' });
    latest = (await backup.backup({ reuse: false })).location;
  },
  'stillpoint restore, proven': () => restoreSnapshot(latest, { into: target }),
};

const bytes = makeSource();
const times: Record<string, number[]> = Object.fromEntries(Object.keys(ways).map((way) => [way, []]));
for (let round = 0; round <= Number(values.rounds); round++) {
  for (const [way, work] of Object.entries(ways)) {
    const begin = performance.now();
    await work();
    const ms = performance.now() - begin;
    if (round > 0) times[way]!.push(ms); // the first one warms up
    rmSync(target, { recursive: true, force: true });
    if (way.startsWith('stillpoint restore'))
      rmSync(join(source, '.lifecycle'), { recursive: true, force: true });
    run('sync', ['-f', root]);
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
