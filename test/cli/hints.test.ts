import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { expect, test } from 'vitest';
import { COMMAND, stillpoint } from '../support/command.ts';
import { mountInMemory } from '../support/file-systems.ts';
import { plainDirectory } from '../support/folders.ts';
import { needsPrograms, withRights } from '../support/needs.ts';
import { temporaryFolder } from '../support/temp.ts';

// A hint says what helps here, and not what would help elsewhere.

const MiB = 1024 * 1024;

async function failureOf(...args: string[]) {
  const { json } = await stillpoint([...args, '--json']);
  return json.error as { code: string; message: string; hint: string };
}

test('on a file system that is read-only: no right of the process is missing', async (context) => {
  const dir = join(await temporaryFolder(), 'data');
  mountInMemory(context, dir, 4 * MiB);
  writeFileSync(join(dir, 'file'), 'content');
  withRights(context, 'mount', '-o', 'remount,ro', dir);
  const error = await failureOf('snapshot', dir, '--engine', 'files');
  expect(error.code).toBe('ACCESS_DENIED');
  expect(error.hint).toMatch(/^That file system is mounted read-only/);
});

test('on a full disk: what a prune would free, and that it would free nothing', async (context) => {
  const dir = join(await temporaryFolder(), 'data');
  mountInMemory(context, dir, 16 * MiB);
  const write = (round: number) => writeFileSync(join(dir, 'file'), Buffer.alloc(5 * MiB, round));
  write(1);
  expect((await stillpoint(['snapshot', dir, '--engine', 'files'])).code).toBe(0);
  write(2);
  const ballast = join(dir, 'ballast');
  writeFileSync(ballast, Buffer.alloc(4 * MiB, 1));
  const nothing = await failureOf('snapshot', dir, '--engine', 'files');
  expect(nothing).toMatchObject({
    code: 'NO_SPACE',
    hint: 'Free space on that file system: there is nothing here that could be pruned.',
  });
  const { stdout } = await stillpoint(['status', dir]);
  expect(stdout.replaceAll(/\n +/g, ' ')).toMatch(
    /^free disk .*: the next snapshot may not fit, which needs up to 9.0 MiB$/m,
  );
  expect(stdout).toMatch(/^restore .* --into ON_ANOTHER_DISK$/m);
  // A second, smaller one: the first could go.
  rmSync(ballast);
  writeFileSync(join(dir, 'file'), 'small');
  expect((await stillpoint(['snapshot', dir, '--engine', 'files'])).code).toBe(0);
  write(3);
  writeFileSync(ballast, Buffer.alloc(4 * MiB, 1));
  const something = await failureOf('snapshot', dir, '--engine', 'files');
  expect(something.code).toBe('NO_SPACE');
  expect(something.hint).toBe(
    `Free space on that file system; \`stillpoint prune ${dir} --keep 1\` frees 5.0 MiB.`,
  );
  const [first] = (await stillpoint(['list', dir, '--json'])).json.snapshots;
  const restore = await failureOf('restore', first.name, '--data-dir', dir, '--in-place');
  expect(restore).toMatchObject({
    code: 'NO_SPACE',
    message: expect.stringMatching(new RegExp(`are free on the disk of ${dir}$`)),
    hint: 'Free space on that file system, or restore with `--into ON_ANOTHER_DISK`.',
  });
  const small = join(await temporaryFolder(), 'small');
  mountInMemory(context, small, MiB);
  const into = await failureOf('restore', first.name, '--data-dir', dir, '--into', join(small, 'copy'));
  expect(into.message).toMatch(new RegExp(`are free on the disk of ${small}$`));
  expect(into.hint).toBe(restore.hint);
  const repository = join(await temporaryFolder(), 'repository');
  await stillpoint(['repo', 'init', repository]);
  const backup = await failureOf('backup', 'run', dir, '--engine', 'files', '--to', repository);
  expect(backup).toMatchObject({ code: 'NO_SPACE', hint: something.hint });
});

test('a settings file that is not there: where it was looked for', async () => {
  const file = join(await temporaryFolder(), 'stillpoint.json');
  for (const command of ['check', 'list', 'run']) {
    const error = await failureOf('schedule', command, file);
    expect(error.code).toBe('NOT_FOUND');
    expect(error.hint).toContain(`There is nothing at ${file}`);
    expect(error.hint).not.toContain('stillpoint list');
    const [, page] = /(\S+README\.md)/.exec((await stillpoint(['schedule', command, file])).stderr) ?? [];
    expect(page).toMatch(/^\/.*\/src\/schedule\/README\.md$/);
  }
});

test('a database that the process above has open, and not this one', async (context) => {
  needsPrograms(context, 'python3');
  const dir = join(await temporaryFolder(), 'data');
  mkdirSync(dir);
  const db = new ClassicLevel(dir);
  await db.put('a', 'b');
  await db.close();
  const program = `
import fcntl, os, subprocess, sys
lock = open(sys.argv[1] + '/LOCK', 'r+')
fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.set_inheritable(lock.fileno(), True)
done = subprocess.run(sys.argv[2:], close_fds=False, capture_output=True, text=True)
print(os.getpid())
print(done.stdout)
`;
  const printed = execFileSync(
    'python3',
    ['-c', program, dir, ...COMMAND, ...['verify', dir, '--engine', 'files', '--json']],
    { encoding: 'utf8' },
  );
  const [pid, text] = printed.split('\n');
  const { error } = JSON.parse(text!);
  expect(error.code).toBe('CONFLICT');
  expect(error.message).toContain(`that process ${pid} has open`);
  expect(error.hint).toContain('inherited');
});

test('a command in a hint can be pasted: it names the data directory', async () => {
  const dir = join(await temporaryFolder(), 'my data');
  mkdirSync(dir);
  writeFileSync(join(dir, 'file'), 'content');
  const { stderr } = await stillpoint(['show', 'latest', '--data-dir', dir]);
  expect(stderr).toContain(`Take one first: \`stillpoint snapshot '${dir}'\`.`);
  expect((await failureOf('show', 'latest', '--data-dir', dir)).hint).toContain(`snapshot '${dir}'`);
  // Of the directory that has none, also where another one is named beside it.
  const other = await plainDirectory();
  const hint = (await failureOf('show', join(dir, '.lifecycle/backup/latest'), '--data-dir', other)).hint;
  expect(hint).toContain(`Take one first: \`stillpoint snapshot '${dir}'\`.`);
});
