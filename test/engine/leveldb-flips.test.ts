import { join } from 'node:path';
import { expect, test } from 'vitest';
import { prove } from '../support/leveldb.ts';
import { chooseFlips, withEachFlip } from '../support/leveldb-flips.ts';
import { namesOf, writeMixedFolder } from '../support/leveldb-folders.ts';
import { temporaryFolder } from '../support/temp.ts';

test('one flipped bit in any file is found by its content alone, with the file named', {
  timeout: 60_000,
}, async () => {
  const dir = await writeMixedFolder(join(await temporaryFolder(), 'db'));
  expect((await prove(dir)).findings).toEqual([]);
  const flips = await chooseFlips(dir, 500);
  const missed: unknown[] = [];
  await withEachFlip(dir, flips, (flip, findings) => {
    if (!findings.some(({ path, severity }) => path === flip.path && severity === 'error')) missed.push(flip);
  });
  expect(missed).toEqual([]);
  expect(flips.length).toBeGreaterThan(400);
  expect(new Set(flips.map(({ path }) => path)).size).toBe(
    (await namesOf(dir, /^\d|^MANIFEST|^CURRENT/)).length,
  );
  expect((await prove(dir)).findings).toEqual([]);
});
