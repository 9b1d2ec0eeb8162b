import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as zlib from 'node:zlib';
import { ClassicLevel } from 'classic-level';
import { openLsm } from '../src/index.ts';

// What compression would save of the objects that a backup uploads, and what it would cost. With folders as arguments, of their
// files; else of records as an application writes them. Times are those of the processor, so other work on the machine counts little.

const RECORDS = 60_000;
const COUNTRIES = ['Germany', 'France', 'Japan', 'Brazil', 'Canada', 'Kenya', 'India'];

/** An order of a shop as JSON: names that repeat, ids and amounts that do not. */
function record(n: number, random: () => number): string {
  const digits = (count: number) => Math.floor(random() * 10 ** count);
  return JSON.stringify({
    id: `${n.toString(16)}-${digits(12).toString(16)}`,
    customer: { name: `customer ${digits(4)}`, email: `user${digits(6)}@example.org` },
    country: COUNTRIES[digits(6) % COUNTRIES.length],
    status: digits(1) < 8 ? 'delivered' : 'pending',
    items: Array.from({ length: 1 + (digits(1) % 4) }, () => ({
      sku: `A${digits(7)}`,
      quantity: digits(1),
      cents: digits(5),
    })),
    created_at: new Date(1.7e12 + digits(10)).toISOString(),
  });
}

function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

async function samples(root: string): Promise<Record<string, string>> {
  const random = randomFrom(7);
  const records = Array.from({ length: RECORDS }, (_, n) => record(n, random));
  const level = new ClassicLevel(join(root, 'leveldb'));
  const lsm = await openLsm(join(root, 'lsm'));
  for (const [n, text] of records.entries()) {
    await level.put(`order:${n}`, text);
    await lsm.put(Buffer.from(`order:${n}`), Buffer.from(text));
  }
  await level.compactRange('a', 'z');
  await level.close();
  await lsm.close();
  writeFileSync(join(root, 'plain.json'), records.join('\n'));
  return {
    'leveldb (Snappy in its tables)': join(root, 'leveldb'),
    lsm: join(root, 'lsm'),
    'plain JSON': join(root, 'plain.json'),
  };
}

const brotli = (quality: number) => (bytes: Buffer) =>
  zlib.brotliCompressSync(bytes, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: quality } });
const { zstdCompressSync } = zlib as { zstdCompressSync?: (bytes: Buffer) => Buffer };
const CODECS: Readonly<Record<string, (bytes: Buffer) => Buffer>> = {
  'gzip 1': (bytes) => zlib.gzipSync(bytes, { level: 1 }),
  'gzip 6': (bytes) => zlib.gzipSync(bytes, { level: 6 }),
  'brotli 1': brotli(1),
  'brotli 4': brotli(4),
  ...(zstdCompressSync && { 'zstd 3': zstdCompressSync }),
};

const CHUNK = 1024 * 1024;

/** Tables and text; the preallocated log of `lsm` is mostly a hole, which is not uploaded. */
function chunksOf(place: string): Buffer[] {
  const files = place.endsWith('.json')
    ? [place]
    : readdirSync(place, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && !/wal|\.log$|LOG/.test(entry.name))
        .map((entry) => join(entry.parentPath, entry.name));
  return files.flatMap((file) => {
    const bytes = readFileSync(file);
    return Array.from({ length: Math.ceil(bytes.byteLength / CHUNK) }, (_, i) =>
      bytes.subarray(i * CHUNK, (i + 1) * CHUNK),
    );
  });
}

const root = mkdtempSync(join(tmpdir(), 'stillpoint-compression-'));
try {
  const given = process.argv.slice(2);
  const places = given.length > 0 ? Object.fromEntries(given.map((dir) => [dir, dir])) : await samples(root);
  console.log('| data | codec | of the size | MB a second of one core |\n|---|---|---|---|');
  for (const [name, place] of Object.entries(places)) {
    const chunks = chunksOf(place);
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
    for (const [codec, compress] of Object.entries(CODECS)) {
      const began = process.cpuUsage();
      const left = chunks.reduce((sum, chunk) => sum + compress(chunk).byteLength, 0);
      const { user, system } = process.cpuUsage(began);
      const rate = bytes / (user + system);
      console.log(
        `| ${name}, ${(bytes / 1e6).toFixed(0)} MB | ${codec} | ${((100 * left) / bytes).toFixed(0)}% | ${rate.toFixed(0)} |`,
      );
    }
  }
} finally {
  rmSync(root, { recursive: true });
}
