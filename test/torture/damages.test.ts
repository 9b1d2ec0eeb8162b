import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openLsm, verifySnapshot } from '../../src/index.ts';
import { chanceFrom } from '../support/chance.ts';
import { CORRUPTIONS, damageFile, MAKES_ANOTHER_STATE } from '../support/file-damage.ts';
import { inlineEnvironment as environment } from '../support/inline.ts';
import { sealBlock } from '../support/leveldb-encoders.ts';
import { type Craft, entry as leveldbEntry, resealAs, writeCraftedFolder } from '../support/leveldb-table.ts';
import { buildTable, entry as lsmEntry, resealBlock } from '../support/lsm-table.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier, SEED } from '../support/tier.ts';

/*
 * A table in every compression that either engine knows, and in ones that nobody can read, damaged in one way after another, with no
 * manifest that could tell: the content alone must. Damage is found, or what could not be read is not called good.
 */

const CASES = perTier(110, 10_000);

interface Subject {
  readonly dir: string;
  readonly table: string;
  /** What is said of it undamaged. */
  readonly base: 'faithful' | 'unread';
}

const COUNT = 120;
const entries = Array.from({ length: COUNT }, (_, i) =>
  leveldbEntry(`key ${String(i).padStart(5, '0')}`, 1, 1, `value ${i} `.repeat(6)),
);
const blocks = Array.from({ length: COUNT / 20 }, (_, i) => entries.slice(20 * i, 20 * (i + 1)));

async function leveldb(craft: Partial<Craft>, base: Subject['base'] = 'faithful'): Promise<Subject> {
  const dir = await temporaryFolder();
  await writeCraftedFolder(dir, { table: { blocks, ...craft } });
  return { dir, table: '000004.ldb', base };
}

async function lsm(
  compression: number,
  pack?: (payload: Buffer) => Buffer,
  base: Subject['base'] = 'faithful',
): Promise<Subject> {
  const dir = await temporaryFolder();
  const database = await openLsm(dir, SMALL_LOG);
  await database.put('a key', 'so that the log is not younger than the table');
  await database.close();
  const versions = Array.from({ length: COUNT }, (_, i) =>
    lsmEntry(`key ${String(i).padStart(5, '0')}`, 1, `value ${i} `.repeat(6)),
  );
  const editBlock = (block: Buffer): Buffer =>
    resealBlock(Buffer.concat([block.subarray(0, 8), pack!(block.subarray(8, -4)), Buffer.alloc(4)]));
  const parts = [versions.slice(0, 50), versions.slice(50, 90), versions.slice(90)];
  mkdirSync(join(dir, 'sst'), { recursive: true });
  writeFileSync(join(dir, 'sst/1.sst'), buildTable(parts, { compression, ...(pack && { editBlock }) }));
  return { dir, table: 'sst/1.sst', base };
}

/** A frame of Zstandard whose one block is stored as it is. */
function zstdFrame(content: Buffer): Buffer {
  const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32LE(content.byteLength, 5);
  head.writeUIntLE(content.byteLength * 8 + 1, 9, 3);
  return Buffer.concat([head, content]);
}

/** LZ4 in its simplest form: nothing but literals. */
function lz4Literals(content: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(content.byteLength);
  const lengths = [0xf0];
  let rest = content.byteLength - 15;
  for (; rest >= 255; rest -= 255) lengths.push(255);
  return Buffer.concat([size, Buffer.from([...lengths, rest]), content]);
}

const hasZstd = 'zstdDecompressSync' in (await import('node:zlib'));
const sealWith = (compression: Parameters<typeof sealBlock>[1]): Partial<Craft> => ({
  seal: (content) => sealBlock(content, compression),
  sealOther: (content) => sealBlock(content, compression),
});

const SUBJECTS: Readonly<Record<string, () => Promise<Subject>>> = {
  'LevelDB, not compressed': () => leveldb({}),
  'LevelDB, Snappy': () => leveldb(sealWith('snappy')),
  'LevelDB, zlib (2)': () => leveldb(sealWith('zlib')),
  'LevelDB, raw deflate (4)': () => leveldb(sealWith('deflate')),
  'LevelDB, Zstandard (2)': () =>
    leveldb({ seal: (content) => resealAs(zstdFrame(content), 2) }, hasZstd ? 'faithful' : 'unread'),
  'LevelDB, a block that nobody can read': () =>
    leveldb({ seal: (content, at) => (at === 3 ? resealAs(content, 9) : sealBlock(content)) }, 'unread'),
  'LevelDB, an index that nobody can read': () =>
    leveldb({ sealOther: (content) => resealAs(content, 9) }, 'unread'),
  'lsm, not compressed': () => lsm(0),
  'lsm, LZ4': () => lsm(1, lz4Literals),
  'lsm, Zstandard': () => lsm(2, zstdFrame, hasZstd ? 'faithful' : 'unread'),
};

const names = Object.keys(SUBJECTS);

test.each(names)(
  '%s: damage of a table is found by its content, or it is not called good (invariant 6)',
  async (name) => {
    const { dir, table, base } = await SUBJECTS[name]!();
    expect((await verifySnapshot(dir, { environment })).verdict).toBe(base);
    const chance = chanceFrom(SEED + names.indexOf(name));
    const below = (limit: number): number => Math.floor(chance() * limit);
    const path = join(dir, table);
    const healthy = readFileSync(path);
    // Whole files of another time are no damage of their content: a snapshot's manifest knows them.
    const ways = CORRUPTIONS.filter((how) => !MAKES_ANOTHER_STATE.includes(how));
    const told = { found: 0, unread: 0 };
    for (let turn = 0; told.found + told.unread < Math.ceil(CASES / names.length); turn++) {
      const how = ways[turn % ways.length]!;
      const damaged = damageFile(healthy, how, { below, older: undefined, others: [], fix: undefined });
      if (damaged === undefined) continue;
      writeFileSync(path, damaged.bytes);
      const { ok, verdict, findings } = await verifySnapshot(dir, { environment });
      const what = `${how}, byte ${damaged.at} of ${healthy.byteLength}: ${verdict} ${JSON.stringify(findings)}`;
      expect(ok, what).toBe(false);
      expect(verdict === 'source-damaged' || base === 'unread', what).toBe(true);
      if (verdict === 'source-damaged') {
        expect(
          findings.map((finding) => finding.path),
          what,
        ).toContain(table);
        told.found++;
      } else told.unread++;
    }
    console.log(JSON.stringify({ name, ...told }));
    // Where only some of it cannot be read, the checksums of those blocks are taken all the same.
    expect(told.found, 'damage is found').toBeGreaterThan(0);
    if (base === 'faithful') expect(told.unread).toBe(0);
  },
);
