import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type IntervalHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { openLsm } from '../src/engine/lsm/database/database.ts';
import { BackupCoordinator } from '../src/index.ts';

// What the host of a database notices of a snapshot: the delay of its event loop, idle and while a snapshot of a given
// size is captured and proven, with the database open in the same process.

const { values } = parseArgs({
  options: {
    mb: { type: 'string', default: '1024' },
    dir: { type: 'string', default: tmpdir() },
    json: { type: 'boolean', default: false },
  },
});
const RESOLUTION_MS = 1;
const VALUE_BYTES = 64 * 1024;

async function delays(work: () => Promise<unknown>) {
  const histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  const begin = performance.now();
  histogram.enable();
  await work();
  histogram.disable();
  // The histogram holds the whole interval of its timer; what is above the resolution is delay.
  const ms = (nanoseconds: number) =>
    Math.max(0, Math.round((nanoseconds / 1e6 - RESOLUTION_MS) * 100) / 100);
  return {
    duration_ms: Math.round(performance.now() - begin),
    p50_ms: ms(histogram.percentile(50)),
    p99_ms: ms(histogram.percentile(99)),
    p999_ms: ms(histogram.percentile(99.9)),
    max_ms: ms(histogram.max),
  };
}

const root = await mkdtemp(join(values.dir, 'stillpoint-host-'));
const dir = join(root, 'data');
const database = await openLsm(dir, { compactAtTables: 10_000 });
try {
  const count = Math.ceil((Number(values.mb) * 1024 * 1024) / VALUE_BYTES);
  for (let i = 0; i < count; i += 32) {
    const writes = Array.from({ length: 32 }, (_, k) =>
      database.put(`key:${i + k}`, randomBytes(VALUE_BYTES)),
    );
    await Promise.all(writes);
  }
  await database.checkpoint();
  await setTimeout(500);
  const idle = await delays(() => setTimeout(3_000));
  const backup = new BackupCoordinator({ dataDir: dir, engine: 'lsm', checkpoint: () => database.hold() });
  const sizes: number[] = [];
  const rows = { idle, snapshot: await delays(async () => sizes.push((await backup.backup()).copied_bytes)) };
  const second = await delays(async () => sizes.push((await backup.backup()).copied_bytes));
  const all = { ...rows, 'second snapshot, nothing changed': second };
  if (values.json)
    console.log(
      JSON.stringify({ tables: database.stats().tables, copied_bytes: sizes, delays: all }, undefined, 1),
    );
  else {
    console.log(
      `${database.stats().tables} tables, copied ${sizes.map((bytes) => `${Math.round(bytes / 1e6)} MB`).join(', then ')}`,
    );
    console.table(all);
  }
} finally {
  await database.close();
  await rm(root, { recursive: true });
}
