import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stillpoint } from '../support/command.ts';
import { fill, namesOf, writeFolder } from '../support/leveldb-folders.ts';
import { temporaryFolder } from '../support/temp.ts';

async function setUp() {
  const root = await temporaryFolder();
  const dir = await writeFolder(join(root, 'db'), async (db) => {
    await fill(db, 2000);
    await db.compactRange('a', 'z');
  });
  const snapshot = async (...flags: string[]) =>
    (await stillpoint(['snapshot', dir, '--full', '--json', ...flags])).json;
  const restore = (name: string) =>
    stillpoint(['restore', name, '--data-dir', dir, '--into', join(root, `out-${name}`)]);
  return { dir, snapshot, restore };
}

test('a restore of what was proven less deeply says so, and names what was proven more deeply', async () => {
  const { snapshot, restore } = await setUp();
  const { name: deep } = await snapshot();
  const { name: shallow } = await snapshot('--level', 'files');
  const restored = await restore('latest');
  expect(restored.code).toBe(0);
  expect(restored.stderr).toContain(
    `${shallow} was proven at level "files" only; the newest that was proven at level "full" is ${deep} (latest-good)`,
  );
  expect((await restore(deep)).stderr).not.toContain('latest-good');
});

test('a restore that fails names the newest good snapshot', async () => {
  const { snapshot, restore } = await setUp();
  const { name: good } = await snapshot();
  const { name: bad, location } = await snapshot();
  const [table] = await namesOf(location, /\.ldb$/);
  const bytes = readFileSync(join(location, table!));
  bytes[100]! ^= 1;
  writeFileSync(join(location, table!), bytes);
  const failed = await restore('latest');
  expect(failed.code).toBe(3);
  expect(failed.stderr).toContain(`Nothing was changed. The newest good snapshot is ${good}`);
  expect(failed.stderr).toContain(bad);
  expect((await restore('latest-good')).code).toBe(0);
});
