import { randomBytes } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { blockingFileSystem } from '../../src/env/blocking-file-system.ts';
import { RunControl } from '../../src/env/run-control.ts';
import { crc32 } from '../../src/format/crc32.ts';
import { type CopyJob, copyFiles, joinRanges } from '../../src/snapshot/tasks/copy-files.ts';
import { temporaryFolder } from '../support/temp.ts';

const SIZE = 20_000;
const RANGES = [
  { from: 0, to: 5000 },
  { from: 5000, to: 10_000 },
  { from: 10_000, to: 15_000 },
  { from: 15_000 },
];

async function copyInRanges(order: readonly number[], beforeRange: (index: number, source: string) => void) {
  const dir = await temporaryFolder();
  const [source, target] = [join(dir, 'source'), join(dir, 'target')];
  const content = randomBytes(SIZE);
  writeFileSync(source, content);
  writeFileSync(target, '');
  const results = [];
  for (const index of order) {
    beforeRange(index, source);
    const job: CopyJob = { source: { path: source }, target, range: RANGES[index]! };
    results[index] = (await copyFiles(blockingFileSystem, [job], new RunControl()))[0]!;
  }
  return { content, copy: readFileSync(target), result: joinRanges(results) };
}

test.each([[[0, 1, 2, 3]], [[3, 2, 1, 0]], [[2, 0, 3, 1]]])(
  'ranges make a whole in any order: %j',
  async (order) => {
    const { content, copy, result } = await copyInRanges(order, () => {});
    expect(copy.equals(content)).toBe(true);
    expect(result).toMatchObject({ sizeBytes: SIZE, crc32: crc32(content), short: false });
  },
);

test.each([
  ['before the middle', [0, 1, 2, 3], 2, 12_000],
  ['before a range that then has nothing', [3, 0, 1, 2], 2, 6000],
  ['before the last', [0, 1, 2, 3], 3, 9000],
])(
  'a file that is cut %s is told as short, whatever the other ranges have seen',
  async (_, order, at, size) => {
    const { result } = await copyInRanges(order, (index, source) => {
      if (index === at) truncateSync(source, size);
    });
    expect(result.short).toBe(true);
  },
);
