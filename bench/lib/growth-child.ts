import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { BackupCoordinator, openLsm, Snapshots } from '../../src/index.ts';
import { median } from './stats.ts';

// A host that lives long, in a process of its own: it writes to its database and takes snapshots of it, one right after the
// other. What it holds and how long things take is printed at each of the counts of runs that are named.

const [dataDir, mostMs, ...counts] = process.argv.slice(2) as [string, ...string[]];
const marks = counts.map(Number);
/** So many runs before a mark are measured. */
const WINDOW = Math.min(100, marks[0]!);
const KEYS = 2_000;
const KEEP = 7;
const LOOKS = 9;

const db = await openLsm(dataDir, {
  walGeometry: { segmentBytes: 256 * 1024, segmentCount: 4 },
  memtableBytes: 256 * 1024,
});
const backup = new BackupCoordinator({ dataDir, engine: 'lsm', checkpoint: () => db.hold() });
const snapshots = new Snapshots({ dataDir, lifecycle: backup.lifecycle });
const delay = monitorEventLoopDelay({ resolution: 1 });
const began = performance.now();
let durations: number[] = [];

async function timed(work: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await work();
  return performance.now() - from;
}

async function medianOf(work: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let look = 0; look < LOOKS; look++) times.push(await timed(work));
  return median(times);
}

let runs = 0;
for (const mark of marks) {
  while (runs < mark && performance.now() - began < Number(mostMs)) {
    if (runs === mark - WINDOW) {
      durations = [];
      delay.reset();
      delay.enable();
    }
    const puts = Array.from({ length: 20 }, (_, i) => ({
      type: 'put' as const,
      key: `key-${(runs * 20 + i) % KEYS}`,
      value: randomBytes(1_000),
    }));
    await db.batch(puts);
    durations.push(await timed(() => backup.backup({ keep: KEEP })));
    runs++;
  }
  delay.disable();
  if (runs < mark) break;
  const folder = join(dataDir, '.lifecycle/backup');
  process.stdout.write(
    `${JSON.stringify({
      runs,
      snapshotMs: median(durations),
      loopP99Ms: delay.percentile(99) / 1e6,
      statusMs: await medianOf(() => snapshots.status()),
      listMs: await medianOf(() => snapshots.list()),
      rssBytes: process.memoryUsage.rss(),
      descriptors: readdirSync('/proc/self/fd').length,
      threads: readdirSync('/proc/self/task').length,
      kept: readdirSync(folder).filter((name) => name.startsWith('ts-')).length,
      bookBytes: readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isFile())
        .reduce((sum, { name }) => sum + statSync(join(folder, name)).size, 0),
      tookMs: performance.now() - began,
    })}\n`,
  );
}
await db.close();
