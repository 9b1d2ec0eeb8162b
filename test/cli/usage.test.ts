import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { stillpoint } from '../support/command.ts';
import { temporaryFolder } from '../support/temp.ts';

describe('the command line', () => {
  it('ends with the code of the catalogue where nothing can be done', async () => {
    const root = await temporaryFolder();
    await mkdir(join(root, 'empty'));
    await mkdir(join(root, 'other'));
    await writeFile(join(root, 'other/letter.txt'), 'no database');
    const cases = [
      { args: ['verify', 'absent'], exit: 5, code: 'NOT_FOUND' },
      { args: ['inspect', 'absent'], exit: 5, code: 'NOT_FOUND' },
      { args: ['snapshot', 'other/letter.txt'], exit: 2, code: 'NOT_A_FOLDER' },
      { args: ['snapshot', 'other'], exit: 2, code: 'ENGINE_MISMATCH' },
      { args: ['inspect', 'other/letter.txt'], exit: 2, code: 'ENGINE_MISMATCH' },
      { args: ['snapshot', 'empty'], exit: 2, code: 'EMPTY_SOURCE' },
      { args: ['restore', 'other', '--into', 'new'], exit: 3, code: 'RESTORE_INTEGRITY_MISMATCH' },
      { args: ['restore', 'other', '--in-place'], exit: 2, code: 'INVALID_REQUEST' },
    ];
    const outcomes = await Promise.all(
      cases.map(({ args }) => stillpoint([...args, '--json'], { cwd: root })),
    );
    const shown = outcomes.map(({ code, json }, i) => ({
      args: cases[i]!.args,
      exit: code,
      code: json.error.code,
    }));
    expect(shown).toEqual(cases);
    for (const { json, stderr } of outcomes) {
      expect(json.error).toMatchObject({ message: expect.any(String), hint: expect.any(String) });
      expect(stderr).toMatch(new RegExp(`^error: .*\n {2}hint: .* {2}\\(${json.error.code}\\)\n$`));
    }
  });

  it('explains mistakes in its use, ends with 2, and suggests what may have been meant', async () => {
    const cases = [
      { args: ['snapshto', 'x'], message: "unknown command 'snapshto'", hint: 'Did you mean snapshot?' },
      {
        args: ['verify', 'x', '--levle'],
        message: "unknown option '--levle'",
        hint: 'Did you mean --level?',
      },
      { args: ['verify', 'x', '--level', 'some'], message: /Allowed choices are files, open, full/ },
      { args: ['prune', 'x', '--keep', '1.5'], message: /must be a whole number above 0/ },
    ];
    const outcomes = await Promise.all(cases.map(({ args }) => stillpoint([...args, '--json'])));
    for (const [i, { code, json, stderr }] of outcomes.entries()) {
      const { message, hint = /./ } = cases[i]!;
      expect(code).toBe(2);
      const matching = (expected: string | RegExp) =>
        typeof expected === 'string' ? expected : expect.stringMatching(expected);
      expect(json).toEqual({
        error: { code: 'INVALID_REQUEST', message: matching(message), hint: matching(hint) },
      });
      expect(stderr).toBe(`error: ${json.error.message}\n  hint: ${json.error.hint}  (INVALID_REQUEST)\n`);
    }
  });

  it('tells what it can do', async () => {
    const [help, none, restore, bare] = await Promise.all([
      stillpoint(['--help']),
      stillpoint([]),
      stillpoint(['restore', '--help']),
      stillpoint(['verify', 'latest']),
    ]);
    expect(help).toMatchObject({ code: 0, stderr: '' });
    const commands = [...help.stdout.matchAll(/^ {2}([a-z]+) \[options\]/gm)].map(([, name]) => name!);
    expect(commands).toEqual('snapshot list show verify restore undo recover prune inspect serve'.split(' '));
    expect(none).toMatchObject({ code: 2, stdout: '', stderr: help.stdout });
    expect(restore.stdout).toContain(
      'Examples:\n  $ stillpoint restore latest --data-dir ./data --into ./copy\n',
    );
    expect(bare).toMatchObject({ code: 5, stdout: '' });
    expect(bare.stderr).toContain('add `--data-dir DIR`');
  });
});
