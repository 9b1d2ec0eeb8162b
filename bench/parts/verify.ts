import { closeSync, copyFileSync, mkdirSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../lib/command.ts';
import { type Data, LARGE_VALUES, type Shape, SMALL_PLAIN_VALUES, SMALL_VALUES } from '../lib/data.ts';
import { filesIn } from '../lib/folders.ts';
import { alternate, type Way } from '../lib/measure.ts';
import { type Bench, compare, type Part } from '../lib/part.ts';
import { reading, sstDump, verify as verifying } from '../lib/ways.ts';
import { removeAll } from '../lib/workspace.ts';

/** Without it `sst_dump --command=verify` reads the blocks and calls a damaged one good. */
const CHECKING = '--verify_checksum';
const LIMIT = 'plain read: lsm';

const SETS: readonly {
  name: string;
  shape: Shape;
  engines: readonly ('lsm' | 'leveldb')[];
  share: number;
}[] = [
  { name: 'values of 4 KiB', shape: LARGE_VALUES, engines: ['lsm', 'leveldb'], share: 1 },
  { name: 'values of 100 B', shape: SMALL_PLAIN_VALUES, engines: ['lsm', 'leveldb'], share: 1 / 4 },
  { name: 'values of 100 B, snappy', shape: SMALL_VALUES, engines: ['leveldb'], share: 1 / 4 },
];

const ours = (engine: string, set: string) => `verify: ${engine}, ${set}`;
const theirs = (set: string) => `sst_dump verify, checking: ${set}`;

async function waysOf({ data, options, tools }: Bench): Promise<Way[]> {
  const ways: Way[] = [];
  for (const { name, shape, engines, share } of SETS) {
    const bytes = Math.ceil(options.sizeBytes * share);
    for (const engine of engines) {
      const folder = await data.database(engine, bytes, shape);
      ways.push(verifying(ours(engine, name), engine, folder));
      if (shape === LARGE_VALUES && engine === 'lsm') ways.push(reading(folder, LIMIT));
    }
    if (!tools.sst_dump || !tools.ldb) continue;
    const folder = await data.database('rocksdb', bytes, shape);
    ways.push(sstDump(theirs(name), folder, CHECKING));
    if (shape === LARGE_VALUES) ways.push(sstDump('sst_dump verify as it is, checking nothing', folder));
  }
  return ways;
}

/** Whether the peer does what it is measured for: one byte of a table changed, and does it say so? */
async function findsFlip(
  data: Data,
  bytes: number,
  scratch: string,
  flags: readonly string[],
): Promise<boolean> {
  const tables = filesIn(await data.database('rocksdb', bytes)).filter((path) => path.endsWith('.sst'));
  mkdirSync(scratch);
  const copy = join(scratch, '000001.sst');
  copyFileSync(tables[0]!, copy);
  const byte = Buffer.alloc(1);
  const descriptor = openSync(copy, 'r+');
  const middle = statSync(copy).size >> 1;
  readSync(descriptor, byte, 0, 1, middle);
  writeSync(descriptor, Buffer.of(byte[0]! ^ 1), 0, 1, middle);
  closeSync(descriptor);
  const script = `sst_dump --file="$0" --command=verify ${flags.join(' ')} 2>&1`; // it ends with 0 all the same
  const said = await run('sh', ['-c', script, scratch]);
  removeAll(scratch);
  return said.includes('Corruption');
}

/** The proof of a database at rest, beside the one that RocksDB's tools have for its tables. */
export const verify: Part = {
  name: 'verify',
  measures: '6',
  async run(bench) {
    const { data, options, tools, target, root } = bench;
    const times = await alternate(root, await waysOf(bench), options.rounds);
    const hasPeer = tools.sst_dump && tools.ldb;
    const flips = hasPeer
      ? {
          'sst_dump verify finds a flipped bit': await findsFlip(data, options.sizeBytes, target, []),
          'with --verify_checksum': await findsFlip(data, options.sizeBytes, target, [CHECKING]),
        }
      : {};
    const rows = SETS.flatMap(({ name, engines }) =>
      engines.map((engine) =>
        compare(times, {
          measure: 6,
          what: `proof at level full, ${engine}, ${name}`,
          ours: ours(engine, name),
          theirs: theirs(name),
          limit: LIMIT,
          most: 1 / 2,
          isSpeed: true,
        }),
      ),
    );
    return { times, rows, raw: flips };
  },
};
