/**
 * How fast the embedded database is on this disk: `npx tsx bench/lsm-database.ts [folder]` (default: the system's folder for
 * temporary files). Writes are of 100 bytes and durable when counted; flush and compaction are of values of 1000 bytes.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LsmDatabase, type LsmOp, openLsm } from '../src/lsm-database/index.ts';

const SECONDS = 3;
const BULK_KEYS = 64_000;
const BULK_VALUE_BYTES = 1000;

async function withDatabase(use: (database: LsmDatabase) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(process.argv[2] ?? tmpdir(), 'stillpoint-bench-'));
  const database = await openLsm(dir, { memtableBytes: 256 * 1024 * 1024 });
  await use(database);
  await database.close();
  await rm(dir, { recursive: true });
}

async function measureWrites(database: LsmDatabase, writers: number): Promise<void> {
  const value = Buffer.alloc(100, 7);
  const end = performance.now() + SECONDS * 1000;
  let count = 0;
  const writer = async (_: unknown, index: number): Promise<void> => {
    for (let i = 0; performance.now() < end; i++, count++) await database.put(`${index}:${i}`, value);
  };
  await Promise.all(Array.from({ length: writers }, writer));
  const perSync = (count / database.stats().commitGroups).toFixed(1);
  console.log(`${writers} writers: ${Math.round(count / SECONDS)} writes/s, ${perSync} a sync`);
}

async function measureBulk(database: LsmDatabase): Promise<void> {
  for (let from = 0; from < BULK_KEYS; from += 1000) {
    await database.batch(
      Array.from({ length: 1000 }, (_, i): LsmOp => {
        const key = `key${((from + i) * 7919) % BULK_KEYS}`;
        return { type: 'put', key, value: Buffer.alloc(BULK_VALUE_BYTES, i) };
      }),
    );
  }
  const bytes = BULK_KEYS * BULK_VALUE_BYTES;
  await measure('flush', bytes, () => database.checkpoint());
  await measure('compaction', bytes, () => database.compact());
  await measure('walk', bytes, async () => {
    for await (const _ of database.iterate());
  });
  const started = performance.now();
  for (let i = 0; i < 20_000; i++) await database.get(`key${(i * 31) % BULK_KEYS}`);
  console.log(`get: ${Math.round(20_000_000 / (performance.now() - started))} reads/s`);
}

/** With the longest time that the event loop had to wait meanwhile. */
async function measure(name: string, bytes: number, task: () => Promise<unknown>): Promise<void> {
  let last = performance.now();
  let longest = 0;
  const timer = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  const started = performance.now();
  await task();
  const rate = bytes / 1000 / (performance.now() - started);
  clearInterval(timer);
  console.log(`${name}: ${rate.toFixed(0)} MB/s, event loop blocked for at most ${longest.toFixed(0)} ms`);
}

for (const writers of [1, 64]) await withDatabase((database) => measureWrites(database, writers));
await withDatabase(measureBulk);
