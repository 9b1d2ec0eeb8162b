import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { stillpoint } from '../support/command.ts';
import { readTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

test('a dry run of a restore says what the restore then does, and does nothing', async () => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  const database = new ClassicLevel(dir);
  await database.open();
  await database.put('key', 'value');
  await database.close();
  mkdirSync(join(dir, 'uploads'));
  writeFileSync(join(dir, 'uploads/photo'), 'ours');
  expect((await stillpoint(['snapshot', dir])).code).toBe(0);
  const before = readTree(dir);

  const inPlace = ['restore', 'latest', '--data-dir', dir, '--in-place'];
  const preview = await stillpoint([...inPlace, '--dry-run', '--json']);
  expect(preview).toMatchObject({
    code: 0,
    stderr: '',
    json: { in_place: true, left_in_place: ['uploads'] },
  });
  expect(preview.json.snapshot).toMatchObject({ state: 'good', level: 'full' });
  expect(preview.json.needed_bytes).toBeLessThan(preview.json.free_bytes);
  const into = await stillpoint([
    'restore',
    'latest',
    '--data-dir',
    dir,
    '--into',
    join(root, 'new/er'),
    '--dry-run',
  ]);
  expect(into).toMatchObject({ code: 0 });
  expect(into.stdout).toContain('nothing was changed');
  expect(readTree(dir)).toEqual(before);
  expect(existsSync(join(root, 'new'))).toBe(false);

  const restored = await stillpoint([...inPlace, '--json']);
  expect(restored.json.left_in_place).toEqual(preview.json.left_in_place);
  expect(readdirSync(restored.json.undo).sort()).toEqual(preview.json.replaced);
});

test('a dry run refuses what the restore would refuse', async () => {
  const root = await temporaryFolder();
  const dir = join(root, 'data');
  mkdirSync(dir);
  writeFileSync(join(dir, 'file'), 'content');
  expect((await stillpoint(['snapshot', dir, '--engine', 'files'])).code).toBe(0);
  const taken = join(root, 'taken');
  mkdirSync(taken);
  writeFileSync(join(taken, 'file'), 'another');
  for (const into of [taken, join(dir, 'inside'), join(dir, '.lifecycle/backup/new')]) {
    const args = ['restore', 'latest', '--data-dir', dir, '--into', into, '--json'];
    const [dry, real] = [await stillpoint([...args, '--dry-run']), await stillpoint(args)];
    expect(real.code).not.toBe(0);
    expect(dry, into).toMatchObject({ code: real.code, json: real.json });
  }
});
