import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { BackupCoordinator, verifySnapshot } from '../src/index.ts';
import { chooseFlips, withEachFlip } from '../test/support/leveldb-flips.ts';
import { flipBit, writeMixedFolder } from '../test/support/leveldb-folders.ts';

// Flips single bits of a snapshot, one after the other, over every kind of file. Each must be found by the content of the
// files alone, with the file named; every so often the whole `verify` is asked too, and classic-level: does it notice?

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '5000' },
    every: { type: 'string', default: '10' },
    json: { type: 'boolean', default: false },
  },
});

const REFUSED = 9;
const READER = `
  const { ClassicLevel } = require('classic-level');
  const hash = require('node:crypto').createHash('sha256');
  const db = new ClassicLevel(process.argv[1], { createIfMissing: false });
  (async () => {
    await db.open();
    for await (const [key, value] of db.iterator()) hash.update(JSON.stringify([key, value]));
    await db.close();
    process.stdout.write(hash.digest('hex'));
  })().catch(() => process.exit(${REFUSED}));
`;

const root = await mkdtemp(join(tmpdir(), 'stillpoint-flips-'));
try {
  const dataDir = await writeMixedFolder(join(root, 'db'));
  const { location } = await new BackupCoordinator({ dataDir, engine: 'leveldb' }).backup();
  const rows = await rowsOf(location);
  const flips = await chooseFlips(location, Number(values.count));
  const kinds = new Map<string, { flips: number; found: number }>();
  const missed: object[] = [];
  await withEachFlip(location, flips, (flip, findings) => {
    const kind = flip.path.replace(/\d+/, 'n');
    const tally = kinds.get(kind) ?? { flips: 0, found: 0 };
    kinds.set(kind, tally);
    tally.flips++;
    if (findings.some(({ path, severity }) => path === flip.path && severity === 'error')) tally.found++;
    else missed.push(flip);
  });

  const sampled = flips.filter((_, index) => index % Number(values.every) === 0);
  const asked = {
    flips: sampled.length,
    found_by_verify: 0,
    refused_by_engine: 0,
    killed_the_engine: 0,
    other_rows: 0,
    same_rows: 0,
  };
  for (const flip of sampled) {
    const file = join(location, flip.path);
    const original = await readFile(file);
    await flipBit(file, flip.bit);
    const report = await verifySnapshot(location, { level: 'full' });
    if (!report.ok && report.findings.some(({ path }) => path === flip.path)) asked.found_by_verify++;
    const seen = await rowsOf(location);
    if (seen === 'refused') asked.refused_by_engine++;
    else if (seen === 'died') asked.killed_the_engine++;
    else if (seen === rows) asked.same_rows++;
    else asked.other_rows++;
    await writeFile(file, original);
  }
  const result = { flips: flips.length, missed, kinds: Object.fromEntries(kinds), asked };
  if (values.json) console.log(JSON.stringify(result, undefined, 1));
  else {
    console.log(`${flips.length} flips, ${missed.length} missed by the content alone`);
    for (const [kind, { flips: all, found }] of kinds) console.log(`  ${kind.padEnd(16)} ${found} of ${all}`);
    console.log(`of ${asked.flips} of them: verify names the file ${asked.found_by_verify} times;`);
    console.log(
      `classic-level refuses ${asked.refused_by_engine}, takes its process down ${asked.killed_the_engine} times, ` +
        `reads other rows without a word ${asked.other_rows} times and the same rows ${asked.same_rows} times`,
    );
  }
  if (missed.length > 0 || asked.found_by_verify < asked.flips) process.exitCode = 1;
} finally {
  await rm(root, { recursive: true });
}

/**
 * What classic-level reads from a clone, as one hash over all rows; `refused` when it says that something is wrong, and
 * `died` when the whole process ends, which is why it has one of its own.
 */
async function rowsOf(dir: string): Promise<string> {
  const clone = await mkdtemp(join(root, 'clone-'));
  await cp(dir, clone, { recursive: true });
  try {
    return (await promisify(execFile)(process.execPath, ['-e', READER, clone])).stdout;
  } catch (error) {
    return (error as { code?: unknown }).code === REFUSED ? 'refused' : 'died';
  } finally {
    await rm(clone, { recursive: true });
  }
}
