import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stillpoint } from '../support/command.ts';
import { temporaryFolder } from '../support/temp.ts';

test('STILLPOINT_DATA_DIR stands in the place of a data directory that is left out', async () => {
  const root = await temporaryFolder();
  const [dir, other] = [join(root, 'data'), join(root, 'other')];
  for (const folder of [dir, other]) {
    mkdirSync(folder);
    writeFileSync(join(folder, 'file'), folder);
  }
  const env = { STILLPOINT_DATA_DIR: dir };
  const inDir = (...args: string[]) => stillpoint([...args, '--json'], env);
  expect((await inDir('snapshot', '--engine', 'files')).code).toBe(0);
  const { snapshots } = (await inDir('list')).json;
  expect(snapshots).toHaveLength(1);
  const [{ name, location }] = snapshots;
  expect(location.startsWith(dir)).toBe(true);

  // In the place of --data-dir, for what is no path.
  expect((await inDir('show', 'latest')).json.name).toBe(name);
  expect((await inDir('show', name)).json.name).toBe(name);
  expect((await inDir('verify', 'latest')).json.ok).toBe(true);
  expect((await inDir('verify', '--all')).code).toBe(0);
  const into = join(root, 'restored');
  expect((await inDir('restore', 'latest', '--into', into)).json.into).toBe(into);

  // What is named counts.
  await stillpoint(['snapshot', other, '--engine', 'files'], env);
  expect((await inDir('list', other)).json.snapshots[0].location.startsWith(other)).toBe(true);
  const theirs = join(other, '.lifecycle/backup/latest');
  expect((await inDir('show', theirs)).json.location.startsWith(other)).toBe(true);
  expect((await inDir('restore', theirs, '--into', join(root, 'theirs'))).json.from.startsWith(other)).toBe(
    true,
  );

  expect((await stillpoint(['list', '--help'], env)).stdout).toContain(dir);
});

test('where neither is there, the error names both', async () => {
  for (const args of [['list'], ['snapshot'], ['verify']]) {
    const { code, stderr } = await stillpoint(args, { STILLPOINT_DATA_DIR: '' });
    expect(code).toBe(2);
    expect(stderr).toContain('hint: Name the data directory, or set STILLPOINT_DATA_DIR.');
  }
  // The folder of a fleet's backup is another.
  expect((await stillpoint(['fleet', 'status'])).stderr).not.toContain('STILLPOINT_DATA_DIR');
});
