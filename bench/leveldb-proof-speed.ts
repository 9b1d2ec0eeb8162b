import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs, promisify } from 'node:util';
import { leveldbEngine } from '../src/engine/leveldb/index.ts';
import { threadPool } from '../src/env/worker-pool.ts';
import { BackupCoordinator } from '../src/index.ts';
import { systemEnvironment } from '../src/snapshot/environment.ts';
import { prove } from '../src/snapshot/prove.ts';
import { writeFolder } from '../test/support/leveldb-folders.ts';

// How fast a snapshot is proven at level `full`, in bytes on disk a second, on one worker and on two, beside `cat` of the
// same files (all from the page cache), for blocks with and without compression.

const { values } = parseArgs({
  options: {
    mb: { type: 'string', default: '256' },
    'value-bytes': { type: 'string', default: '400' },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
});
const valueBytes = Number(values['value-bytes']);
const entries = Math.floor((Number(values.mb) * 1024 * 1024) / valueBytes);
const workers = new URL('../src/snapshot/worker.ts', import.meta.url);
const root = await mkdtemp(join(values.dir, 'stillpoint-speed-'));
const results: Record<string, number | boolean>[] = [];
try {
  for (const compression of [false, true]) {
    const dataDir = join(root, `db-${compression}`);
    await writeFolder(
      dataDir,
      async (db) => {
        for (let at = 0; at < entries; at += 500) {
          // Half of each value repeats itself, as real ones do.
          const value = (): string =>
            randomBytes(valueBytes / 4).toString('hex') + 'x'.repeat(valueBytes / 2);
          await db.batch(
            Array.from({ length: 500 }, (_, index) => ({
              type: 'put' as const,
              key: `key-${String(at + index).padStart(12, '0')}`,
              value: value(),
            })),
          );
        }
      },
      { compression, writeBufferSize: 16 * 1024 * 1024 },
    );
    const { location, total_bytes } = await new BackupCoordinator({ dataDir, engine: 'leveldb' }).backup();
    const speed = async (work: () => Promise<unknown>): Promise<number> => {
      await work(); // what is measured comes from the page cache, and threads have started
      const began = performance.now();
      await work();
      return Math.round(total_bytes / 1000 / (performance.now() - began));
    };
    const proveWith = (threads: number) => {
      const env = { ...systemEnvironment, pool: threadPool<never>(workers, threads) };
      return speed(async () => {
        const { report } = await prove(env, location, { engine: leveldbEngine, level: 'full' });
        if (!report.ok) process.exitCode = 1;
      });
    };
    results.push({
      compression,
      bytes: total_bytes,
      entries,
      one_worker_mb_s: await proveWith(1),
      two_workers_mb_s: await proveWith(2),
      cat_mb_s: await speed(() => promisify(execFile)('sh', ['-c', 'cat "$0"/* > /dev/null', location])),
    });
  }
} finally {
  await rm(root, { recursive: true });
}
if (values.json) console.log(JSON.stringify(results, undefined, 1));
else console.table(results);
