import { readdir, readFile, writeFile } from 'node:fs/promises';
import { ClassicLevel, type OpenOptions } from 'classic-level';

type Database = ClassicLevel<string, string>;

/** Writes a database, closes it, and returns its folder. */
export async function writeFolder(
  dir: string,
  write: (db: Database) => Promise<void>,
  options: OpenOptions = {},
): Promise<string> {
  const db: Database = new ClassicLevel(dir, options);
  await db.open();
  await write(db);
  await db.close();
  return dir;
}

/** `count` keys in batches, each value of `valueBytes` and not the same as its neighbour. */
export async function fill(db: Database, count: number, valueBytes = 60, prefix = 'key'): Promise<void> {
  for (let at = 0; at < count; at += 1000) {
    await db.batch(
      Array.from({ length: Math.min(1000, count - at) }, (_, index) => {
        const number = String(at + index).padStart(8, '0');
        const value = Buffer.alloc(valueBytes, `${number}/`).toString();
        return { type: 'put' as const, key: `${prefix}-${number}`, value };
      }),
    );
  }
}

/** A folder with every kind of file: tables with and without compressed blocks, on two levels, a log, a MANIFEST. */
export async function writeMixedFolder(dir: string): Promise<string> {
  await writeFolder(dir, (db) => fill(db, 3000), { compression: false });
  await writeFolder(dir, (db) => fill(db, 3000, 200, 'more'), { compression: true });
  return writeFolder(dir, async (db) => {
    await db.compactRange('key', 'kez'); // the other table stays where it is
    await fill(db, 500, 40, 'later');
    await db.del('key-00000007');
  });
}

export async function namesOf(dir: string, pattern: RegExp): Promise<string[]> {
  return (await readdir(dir)).filter((name) => pattern.test(name)).sort();
}

export async function flipBit(path: string, bit: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[bit >> 3]! ^= 1 << (bit & 7);
  await writeFile(path, bytes);
}
