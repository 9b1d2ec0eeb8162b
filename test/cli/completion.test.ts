import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { stillpoint } from '../support/command.ts';
import { needsPrograms } from '../support/needs.ts';
import { temporaryFolder } from '../support/temp.ts';

/** Of the help: what the user is told exists. */
async function commandsIn(...args: string[]): Promise<string[]> {
  const { stdout } = await stillpoint([...args, '--help']);
  return [...stdout.matchAll(/^ {2}([a-z]+)\b.* {2,}\S/gm)].map(([, name]) => name!);
}

async function scriptFor(shell: string): Promise<string> {
  const { stdout, code } = await stillpoint(['completion', shell]);
  expect(code).toBe(0);
  const file = join(await temporaryFolder(), `completion.${shell}`);
  writeFileSync(file, stdout);
  return file;
}

// The last word is the one under the cursor. Offered: all of these, and nothing else.
const CASES: readonly (readonly [words: string, offered: readonly string[]])[] = [
  ['sna', ['snapshot']],
  ['backup re', ['reconcile', 'restore']],
  ['verify ./data --lev', ['--level']],
  ['verify ./data --level ', ['files', 'open', 'full']],
  ['restore latest --rewrite', ['--rewrite-manifest']],
  ['snapshot --mode li', ['link']],
  ['schedule run --js', ['--json']],
];

test('real bash completes commands, subcommands, options and values', async (context) => {
  needsPrograms(context, 'bash');
  const file = await scriptFor('bash');
  const complete = (words: readonly string[]) =>
    execFileSync(
      'bash',
      [
        '--norc',
        '-euc',
        `source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _stillpoint; printf "%s\\n" "\${COMPREPLY[@]}"`,
        'bash',
        file,
        'stillpoint',
        ...words,
      ],
      { encoding: 'utf8' },
    )
      .split('\n')
      .filter((line) => line !== '');
  for (const [words, offered] of CASES)
    expect(complete(words.split(' ')).sort(), words).toEqual([...offered].sort());
  expect(complete(['']).sort()).toEqual((await commandsIn()).filter((name) => name !== 'help').sort());
  const restoreHelp = (await stillpoint(['restore', '--help'])).stdout;
  const flags = [...restoreHelp.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(([, flag]) => flag!);
  expect(complete(['restore', '--'])).toEqual(expect.arrayContaining(flags));
  // A path is completed by the shell itself.
  expect(complete(['restore', '--into', './'])).toEqual([]);
  expect(
    execFileSync('bash', ['--norc', '-c', `source ${file}; complete -p stillpoint`], { encoding: 'utf8' }),
  ).toContain('-o default');
});

test('real fish completes the same', async (context) => {
  needsPrograms(context, 'fish');
  const file = await scriptFor('fish');
  const home = await temporaryFolder();
  for (const [words, offered] of CASES) {
    const printed = execFileSync(
      'fish',
      ['--no-config', '-c', `source ${file}; complete -C "stillpoint ${words}"`],
      { encoding: 'utf8', env: { ...process.env, HOME: home }, cwd: home },
    );
    const names = printed
      .split('\n')
      .map((line) => line.split('\t')[0]!)
      .filter((name) => name !== '');
    expect(names.sort(), words).toEqual([...offered].sort());
  }
});

test('real zsh takes the script as the completion of the command', async (context) => {
  needsPrograms(context, 'zsh');
  const file = await scriptFor('zsh');
  execFileSync('zsh', ['-f', '-n', file]);
  const registered = execFileSync(
    'zsh',
    ['-f', '-c', `autoload -Uz compinit; compinit -D -u; source ${file}; print -r -- $_comps[stillpoint]`],
    { encoding: 'utf8' },
  );
  expect(registered).toBe('_stillpoint\n');
});

test('a shell that is not known is refused', async () => {
  const { code, stderr } = await stillpoint(['completion', 'csh']);
  expect(code).toBe(2);
  expect(stderr).toContain('Allowed choices are bash, zsh, fish');
});

test('the manual page has every command and option, and mandoc finds nothing wrong with it', async (context) => {
  const { stdout, code } = await stillpoint(['man']);
  expect(code).toBe(0);
  const plain = stdout.replaceAll('\\-', '-');
  for (const name of (await commandsIn()).filter((name) => name !== 'help')) {
    expect(plain).toContain(`.SS "stillpoint ${name}`);
  }
  expect(plain).toContain('.B --rewrite-manifest\n');
  needsPrograms(context, 'mandoc');
  const file = join(await temporaryFolder(), 'stillpoint.1');
  writeFileSync(file, stdout);
  const lint = spawnSync('mandoc', ['-T', 'lint', '-W', 'warning', file], { encoding: 'utf8' }).stdout;
  // It has no date, so that the same sources give the same page.
  expect(lint.split('\n').filter((line) => line !== '' && !line.includes('missing date'))).toEqual([]);
  const printed = execFileSync('mandoc', ['-T', 'utf8', file], { encoding: 'utf8' });
  // A terminal shows a letter that is printed twice, with a step back between, as a bold one.
  const text = printed.replaceAll(/.[\b]/g, '');
  expect(text).toMatch(/^STILLPOINT\(1\)/);
  expect(text).toContain('--older-than <time>');
});
