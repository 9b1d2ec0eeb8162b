import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { expect, test } from 'vitest';
import { stillpoint } from '../support/command.ts';
import { readTree } from '../support/folders.ts';
import { temporaryFolder } from '../support/temp.ts';

test('an older undo folder can be named, and a dry run says what an undo would do', async () => {
  const dir = await temporaryFolder();
  const path = join(dir, 'file');
  const write = (text: string) => writeFileSync(path, text);
  const read = () => readFileSync(path, 'utf8');
  write('snapshot');
  expect((await stillpoint(['snapshot', dir, '--engine', 'files'])).code).toBe(0);
  const restore = ['restore', 'latest', '--data-dir', dir, '--in-place', '--json'];
  const folders: string[] = [];
  for (const text of ['first', 'second']) {
    write(text);
    folders.push(basename((await stillpoint(restore)).json.undo));
  }
  expect(read()).toBe('snapshot');
  const before = readTree(dir);

  const shown = await stillpoint(['undo', dir, '--dry-run', '--json']);
  expect(shown).toMatchObject({ code: 0, json: { target: dir, replaced: ['file'], left_in_place: [] } });
  expect(basename(shown.json.from)).toBe(folders[1]);
  const older = await stillpoint(['undo', dir, '--dry-run', '--to', folders[0]!]);
  expect(older.stdout).toContain(`${folders[0]}, replaced `);
  expect(older.stdout).toContain('nothing was changed');
  const absent = await stillpoint(['undo', dir, '--to', 'ts-1', '--json']);
  expect(absent).toMatchObject({ code: 5, json: { error: { code: 'NOT_FOUND' } } });
  expect(absent.json.error.hint).toBe(`There are: ${folders.join(', ')}.`);
  for (const name of ['..', '../backup', `${folders[0]}/..`])
    expect((await stillpoint(['undo', dir, '--to', name, '--json'])).code, name).toBe(5);
  expect(readTree(dir)).toEqual(before);

  const undone = await stillpoint(['undo', dir, '--to', folders[0]!, '--json']);
  expect(undone).toMatchObject({ code: 0, json: { into: dir } });
  expect(read()).toBe('first');
  // What was there before this undo is the newest now, and the other one still stands.
  expect(readdirSync(join(dir, '.lifecycle/restore-backup')).sort()).toEqual(
    [folders[1], basename(undone.json.undo)].sort(),
  );
  expect((await stillpoint(['undo', dir])).code).toBe(0);
  expect(read()).toBe('snapshot');
  expect((await stillpoint(['undo', dir, '--to', folders[1]!])).code).toBe(0);
  expect(read()).toBe('second');
});
