import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { leveldbEngine } from '../../src/engine/leveldb/index.ts';
import type { Finding } from '../../src/engine/report.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { checkOne, prove } from './leveldb.ts';
import { flipBit } from './leveldb-folders.ts';

/** Which bits of which files to flip: `count` in all, the same share of every file, its first and last bytes included. */
export async function chooseFlips(dir: string, count: number): Promise<{ path: string; bit: number }[]> {
  const paths = await leveldbEngine.listFiles(nodeFileSystem, dir);
  const sizes = await Promise.all(paths.map(async (path) => (await readFile(join(dir, path))).length * 8));
  const flips: { path: string; bit: number }[] = [];
  // From the smallest file on, so that what it has no bits for goes to the others.
  const ascending = paths
    .map((path, index) => ({ path, bits: sizes[index]! }))
    .sort((a, b) => a.bits - b.bits);
  for (const [index, { path, bits }] of ascending.entries()) {
    const share = Math.ceil((count - flips.length) / (paths.length - index));
    // The last 60 bytes hold a table's footer; the rest is sampled evenly with a prime offset, so that bits vary.
    const atEnd = Math.min(bits, Math.floor(share / 4));
    for (let flip = 0; flip < Math.min(share, bits); flip++) {
      const bit =
        flip < atEnd
          ? bits - 1 - Math.floor((flip * Math.min(bits, 480)) / atEnd)
          : Math.floor(((flip - atEnd) * (bits - 1)) / Math.max(1, share - atEnd)) ^ (flip % 8);
      flips.push({ path, bit: Math.min(Math.max(bit, 0), bits - 1) });
    }
  }
  return flips;
}

/** Flips each bit alone, reads the damaged file again, and hands over all findings; the folder is whole afterwards. */
export async function withEachFlip(
  dir: string,
  flips: readonly { path: string; bit: number }[],
  look: (flip: { path: string; bit: number }, findings: readonly Finding[]) => void | Promise<void>,
): Promise<void> {
  const { checks } = await prove(dir);
  for (const flip of flips) {
    const file = join(dir, flip.path);
    const original = await readFile(file);
    await flipBit(file, flip.bit);
    const check = await checkOne(dir, flip.path);
    const together = leveldbEngine.checkConsistency(new Map(checks).set(flip.path, check), {
      level: 'full',
      live: false,
    });
    await look(flip, [...check.findings, ...together.findings]);
    await writeFile(file, original);
  }
}
