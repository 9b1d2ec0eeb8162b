import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Outcome, stillpoint, stillpointProcess } from '../support/command.ts';
import { temporaryFolder } from '../support/temp.ts';

describe('the command line', () => {
  it('exits with the code of the catalogue when it fails', async () => {
    const root = await temporaryFolder();
    await mkdir(join(root, 'empty'));
    await mkdir(join(root, 'other'));
    await writeFile(join(root, 'other/letter.txt'), 'no database');
    const at = (name: string) => join(root, name);
    const cases = [
      { args: ['verify', at('absent')], exit: 5, code: 'NOT_FOUND' },
      { args: ['list', at('absent')], exit: 5, code: 'NOT_FOUND' },
      { args: ['inspect', at('absent')], exit: 5, code: 'NOT_FOUND' },
      { args: ['list', at('empty')], exit: 2, code: 'EMPTY_SOURCE' },
      { args: ['list', at('other')], exit: 2, code: 'ENGINE_MISMATCH' },
      { args: ['undo', at('empty')], exit: 5, code: 'NOT_FOUND' },
      { args: ['show', 'latest', '--data-dir', at('empty')], exit: 5, code: 'NOT_FOUND' },
      { args: ['restore', 'latest', '--data-dir', at('empty'), '--in-place'], exit: 5, code: 'NOT_FOUND' },
      { args: ['snapshot', at('other/letter.txt')], exit: 2, code: 'NOT_A_FOLDER' },
      { args: ['snapshot', at('other')], exit: 2, code: 'ENGINE_MISMATCH' },
      { args: ['snapshot', at('other'), '--engine', 'lsm'], exit: 2, code: 'ENGINE_MISMATCH' },
      { args: ['verify', at('other')], exit: 2, code: 'ENGINE_MISMATCH' },
      { args: ['inspect', at('other/letter.txt')], exit: 2, code: 'ENGINE_MISMATCH' },
      { args: ['inspect', at('other')], exit: 2, code: 'INVALID_REQUEST' },
      { args: ['snapshot', at('empty')], exit: 2, code: 'EMPTY_SOURCE' },
      { args: ['verify', at('empty')], exit: 2, code: 'EMPTY_SOURCE' },
      { args: ['restore', at('other'), '--into', at('new')], exit: 3, code: 'RESTORE_INTEGRITY_MISMATCH' },
      { args: ['restore', at('other'), '--in-place'], exit: 2, code: 'INVALID_REQUEST' },
      { args: ['restore', at('other')], exit: 2, code: 'INVALID_REQUEST' },
    ];
    const expectFailure = ({ json, stderr }: Outcome) => {
      expect(json.error).toMatchObject({ message: expect.any(String), hint: expect.any(String) });
      expect(stderr).toMatch(new RegExp(`^error: .*\n {2}hint: .* {2}\\(${json.error.code}\\)\n$`));
    };
    for (const { args, exit, code } of cases) {
      const outcome = await stillpoint([...args, '--json']);
      expect({ args, exit: outcome.code, code: outcome.json.error.code }).toEqual({ args, exit, code });
      expectFailure(outcome);
    }
    const outcome = await stillpointProcess(['verify', at('absent'), '--json']);
    expect(outcome.code).toBe(5);
    expectFailure(outcome);
  });

  it.each(['snapshot', 'verify', 'restore', 'serve', 'backup run', 'fleet run'])(
    'the help of %s names only values that are taken',
    async (command) => {
      const { stdout } = await stillpoint([...command.split(' '), '--help']);
      const text = stdout.replaceAll(/\n {10,}/g, ' ');
      const options = [...text.matchAll(/^ +(--[\w-]+) <(?:size|time)>[^(\n]*\(([^;)]*)/gm)];
      for (const [, option, examples] of options) {
        for (const value of examples!.split(', ')) {
          const args = [...command.split(' '), 'absent', option!, value, '--no-such-option'];
          expect((await stillpoint(args)).stderr, `${option} ${value}`).not.toContain('is invalid');
        }
      }
      expect(text).not.toMatch(/with background 1/);
      if (command === 'snapshot') expect(options.length).toBeGreaterThan(0);
    },
  );

  it('explains a wrong call, exits with 2, and suggests what may have been meant', async () => {
    const cases = [
      { args: ['snapshto', 'x'], message: "unknown command 'snapshto'", hint: 'Did you mean snapshot?' },
      {
        args: ['verify', 'x', '--levle'],
        message: "unknown option '--levle'",
        hint: 'Did you mean --level?',
      },
      { args: ['verify', 'x', '--level', 'some'], message: /Allowed choices are files, open, full/ },
      { args: ['help', 'nothing'], message: "unknown command 'nothing'", hint: 'Run `stillpoint --help`.' },
      { args: ['help', 'snapsho'], message: "unknown command 'snapsho'", hint: 'Did you mean snapshot?' },
      {
        args: ['list'],
        message: "missing required argument 'dir'",
        hint: 'Name the data directory, or set STILLPOINT_DATA_DIR. Run `stillpoint list --help`.',
      },
      {
        args: ['backup', 'list'],
        message: "required option '--from <dest>' not specified",
        hint: 'Run `stillpoint backup list --help`.',
      },
      {
        args: ['backup', 'run', 'x', '--tto', 'y'],
        message: "unknown option '--tto'",
        hint: 'Did you mean --to?',
      },
      { args: ['prune', 'x', '--kep', '3'], message: "unknown option '--kep'", hint: 'Did you mean --keep?' },
      { args: ['prune', 'x'], message: "required option '--keep <n>' not specified" },
      {
        args: ['jobs', 'show', 'backup'],
        message: "missing required argument 'job'",
        hint: 'Run `stillpoint jobs show --help`.',
      },
      { args: ['restore', 'x', '--into', 'y', '--in-place'], message: /cannot be used with/ },
      { args: ['list', ''], message: /argument 'dir'. It must not be empty/ },
      { args: ['prune', '', '--keep', '1'], message: /argument 'dir'. It must not be empty/ },
      { args: ['show', ''], message: /argument 'snapshot'. It must not be empty/ },
      { args: ['show', 'x', '--data-dir', ''], message: /'--data-dir <dir>' argument '' is invalid/ },
      { args: ['restore', 'x', '--into', ''], message: /'--into <dir>' argument '' is invalid/ },
      { args: ['prune', 'x', '--keep', '1.5'], message: /must be a whole number, 0 or more/ },
      { args: ['snapshot', 'x', '--concurrency', '0'], message: /must be a whole number, 1 or more/ },
      {
        args: ['verify', 'x', '--max-bytes-per-second', 'fast'],
        message: /must be a number of bytes above 0/,
      },
      { args: ['verify', 'x', '--max-bytes-per-second', '63K'], message: /must be at least 64 KiB/ },
    ];
    for (const { args, message, hint = /./ } of cases) {
      const { code, json, stderr } = await stillpoint([...args, '--json']);
      expect(code).toBe(2);
      const matching = (expected: string | RegExp) =>
        typeof expected === 'string' ? expected : expect.stringMatching(expected);
      expect(json).toEqual({
        error: { code: 'INVALID_REQUEST', message: matching(message), hint: matching(hint) },
      });
      expect(stderr).toBe(`error: ${json.error.message}\n  hint: ${json.error.hint}  (INVALID_REQUEST)\n`);
    }
  });

  it('gives a hint that fits what was meant', async () => {
    const root = await temporaryFolder();
    await mkdir(join(root, 'data'));
    await mkdir(join(root, 'good'));
    const cwd = process.cwd();
    process.chdir(root);
    onTestFinished(() => process.chdir(cwd));
    const hintOf = async (...args: string[]) => (await stillpoint([...args, '--json'])).json.error.hint;
    const path = 'It was looked for among the snapshots of data; for a path write ./good';
    expect(await hintOf('restore', 'good', '--data-dir', 'data', '--into', 'new')).toBe(path);
    expect(await hintOf('show', 'good', '--data-dir', 'data')).toBe(path);
    expect(await hintOf('show', 'bad', '--data-dir', 'data')).not.toContain('for a path');
    expect(await hintOf('restore', './good', '--data-dir', 'data', '--into', 'new')).toBe(
      'Name a snapshot: a folder with a snapshot.manifest.',
    );
    expect(await hintOf('undo', 'data')).toMatch(/^Nothing was restored in place here/);
    expect(await hintOf('list', './nope')).toBe(`Check the path: there is nothing at ${resolve('nope')}.`);
    const single = 'For a single snapshot leave --all out; else name the data directory.';
    await mkdir(join(root, 'ts-1'));
    for (const path of ['latest', './data/.lifecycle/backup/latest', 'ts-1'])
      expect(await hintOf('verify', path, '--all')).toBe(single);
    await writeFile(join(root, 'data/some'), 'file');
    expect(await hintOf('snapshot', 'data')).toContain('`--engine files`');
    expect(await hintOf('verify', 'data')).toContain('add `--engine files`');
    expect(await hintOf('verify', 'good')).toBe('There is nothing to verify here; check the path.');
    await mkdir(join(root, 'data/.lifecycle/backup/ts-1'), { recursive: true });
    for (const place of ['data/.lifecycle', 'data/.lifecycle/backup', 'data/.lifecycle/backup/ts-1'])
      expect(await hintOf('list', place)).toBe(`Try: stillpoint list ${resolve('data')}`);
    await writeFile(join(root, 'key'), 'one\ntwo\n');
    const serve = (...args: string[]) => hintOf('serve', 'db', '--port', '0', ...args);
    const absent = `Check the path: there is nothing at ${resolve('no.key')}.`;
    expect(await serve('--api-key-file', 'no.key')).toBe(absent);
    expect(await serve('--tls-key', 'no.key', '--tls-cert', 'key')).toBe(absent);
    expect(await serve('--api-key-file', 'key')).toBe('Write the key, and nothing else, into its only line.');
    expect(await serve('--api-key-file', 'good')).toBe('Name the file itself.');
    const both = ['serve', 'db', '--plain-http', '--tls-key', 'key', '--tls-cert', 'key', '--json'];
    expect((await stillpoint(both)).json.error.message).toMatch(/--plain-http.* cannot be used with/);
  });

  it('lists the exit codes of src/errors.md in its help, and the commands of src/cli/README.md', async () => {
    const read = (page: string) => readFile(resolve(import.meta.dirname, '../../src', page), 'utf8');
    const errors = await read('errors.md');
    const commandLine = await read('cli/README.md');
    const { stdout } = await stillpoint(['--help']);
    const rows = [...errors.matchAll(/^\| (\d+) \| ([a-z][^|]*) \|$/gm)].map(([, code, text]) => [
      code,
      text,
    ]);
    const lines = [...stdout.matchAll(/^ {2}(\d+) +(.*)$/gm)].map(([, code, text]) => [code, text]);
    expect(rows).toHaveLength(9);
    expect(lines).toEqual(rows);
    const commands = [...stdout.matchAll(/^ {2}([a-z]+) \[options\]/gm)].map(([, name]) => name);
    const listed = [...commandLine.matchAll(/^npx stillpoint ([a-z]+) /gm)].map(([, name]) => name);
    expect([...new Set(listed)].sort()).toEqual(commands.sort());
  });

  it('has help that fits a terminal of 80 columns, for every command', async () => {
    const { stdout } = await stillpoint(['--help']);
    const commands = [...stdout.matchAll(/^ {2}([a-z]+) \[options\]/gm)].map(([, name]) => name!);
    const helps = await Promise.all(commands.map((name) => stillpoint([name, '--help'])));
    for (const help of [stdout, ...helps.map((outcome) => outcome.stdout)])
      expect(help.split('\n').filter((line) => line.length > 80)).toEqual([]);
    expect(stdout).toMatch(/^ {2}help \[command\] +\S/m);
  });

  it('prints its help and its version', async () => {
    const [help, none, version, restore, bare] = await Promise.all([
      stillpoint(['--help']),
      stillpointProcess([]),
      stillpoint(['--version']),
      stillpoint(['restore', '--help']),
      stillpoint(['verify', 'latest']),
    ]);
    expect(help).toMatchObject({ code: 0, stderr: '' });
    const commands = [...help.stdout.matchAll(/^ {2}([a-z]+) \[options\]/gm)].map(([, name]) => name!);
    expect(commands).toEqual(
      'snapshot list status runs show diff verify restore salvage undo recover prune delete inspect repo backup jobs schedule alerts fleet serve console service completion man'.split(
        ' ',
      ),
    );
    expect(none).toMatchObject({ code: 2, stdout: '', stderr: help.stdout });
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(restore.stdout).toContain(
      'Examples:\n  $ stillpoint restore latest --data-dir ./data --into ./copy\n',
    );
    expect(bare).toMatchObject({ code: 5, stdout: '' });
    expect(bare.stderr).toContain('add `--data-dir DIR`');
  });
});
