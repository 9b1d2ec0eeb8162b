import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { COMMAND, type Outcome, outcomeOf, stillpoint } from '../support/command.ts';
import { situations } from '../support/guide-situations.ts';
import { temporaryFolder } from '../support/temp.ts';
import { isLong, perTier } from '../support/tier.ts';

// The pages for people in trouble: every command is run as it stands there, in the situation that the page is about.

const GUIDES = resolve(import.meta.dirname, '../../src/guides');
const read = (page: string): string => readFileSync(join(GUIDES, page), 'utf8');
// `field.md` is no page for people in trouble: `field.test.ts` runs it.
const PAGES = readdirSync(GUIDES).filter((name) => name !== 'README.md' && name !== 'field.md');

test('every page has a situation, a line in the index, and at most 60 lines', () => {
  expect(Object.keys(situations).sort()).toEqual([...PAGES].sort());
  const index = [...read('README.md').matchAll(/^\| \[([^\]]+)\]\(\1\)/gm)].map(([, page]) => page!);
  expect(index.sort()).toEqual([...PAGES].sort());
  for (const page of PAGES) expect(read(page).split('\n').length, page).toBeLessThanOrEqual(61);
});

test('no page names a command that is not run', () => {
  for (const page of PAGES) {
    const prose = read(page).replace(/^```(sh|text)\n[\s\S]*?^```/gm, '');
    expect(prose, page).not.toMatch(/```|`(npx|stillpoint) (?!fleet undo`)/);
  }
});

interface Section {
  readonly heading: string;
  readonly commands: readonly { readonly line: string; readonly exits: number }[];
  /** What the page says that the commands print, in this order; `…` stands for anything. */
  readonly printed: readonly string[];
}

function sectionsOf(page: string): Section[] {
  const blocks = (part: string, language: string) =>
    [...part.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, 'gm'))].flatMap(([, text]) =>
      text!.trimEnd().split('\n'),
    );
  const [, ...parts] = read(page).split(/^## /m);
  return parts.map((part) => ({
    heading: part.split('\n')[0]!,
    commands: blocks(part, 'sh').map((text) => {
      const [, line, exits] = /^(.*?)(?:\s+# exits with (\d+))?$/.exec(text)!;
      return { line: line!, exits: Number(exits ?? 0) };
    }),
    printed: blocks(part, 'text'),
  }));
}

/** A fleet is four processes; random data for a large disk takes its time. */
const TRIED = perTier(
  PAGES.filter((page) => !/node-down|backup-disk-full/.test(page)),
  PAGES,
);

test.for(TRIED)('every command of %s does what the page says', async (page, context) => {
  const folder = await temporaryFolder();
  const { before = {}, asHere = (line: string) => line } = await situations[page]!(folder, context);
  const sections = sectionsOf(page);
  const servers: Server[] = [];
  expect(sections.map(({ heading }) => heading)).toEqual(expect.arrayContaining(Object.keys(before)));
  for (const { heading, commands, printed } of sections) {
    await before[heading]?.(async () => {
      for (const server of servers.splice(0)) await server.kill();
    });
    let seen = '';
    for (const { line, exits } of commands) {
      const [npx, command, ...args] = asHere(line).split(' ');
      expect([npx, command]).toEqual(['npx', 'stillpoint']);
      if (args[0] === 'serve') {
        servers.push(await serve(folder, args));
        continue;
      }
      const { code, stdout, stderr } = await (isLong
        ? inShell(folder, asHere(line))
        : inThisProcess(folder, args));
      seen += stdout + stderr;
      expect(code, `${heading}: ${line}\n${stdout}${stderr}`).toBe(exits);
    }
    for (const line of printed) expect(seen, `${heading}: ${line}`).toMatch(patternOf(line));
  }
});

async function inShell(cwd: string, line: string): Promise<Outcome> {
  const script = `npx() { shift; ${COMMAND.join(' ')} "$@"; }\n${line}`;
  return outcomeOf(spawn('bash', ['-c', script], { cwd, stdio: ['ignore', 'pipe', 'pipe'] }));
}

/** The same in a tenth of the time. */
async function inThisProcess(folder: string, args: readonly string[]): Promise<Outcome> {
  const home = process.cwd();
  process.chdir(folder);
  try {
    return await stillpoint(args);
  } finally {
    process.chdir(home);
  }
}

interface Server {
  kill(): Promise<void>;
}

/** Resolves when it has told where it listens. */
async function serve(cwd: string, args: readonly string[]): Promise<Server> {
  const [node, main] = COMMAND;
  const child = spawn(node, [main, ...args], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const closed = once(child, 'close');
  let told = '';
  const listens = new Promise<void>((done) => {
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text) => {
        told += text;
        if (told.includes('http://')) done();
      });
  });
  await Promise.race([
    listens,
    closed.then(() => {
      throw new Error(`no server: ${told}`);
    }),
  ]);
  return {
    async kill() {
      child.kill('SIGKILL');
      await closed;
    },
  };
}

/** `…` stands for anything on that line, and columns may be wider. */
function patternOf(line: string): RegExp {
  const parts = line
    .split(/\s*…\s*/)
    .map((part) => part.split(/\s+/).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')));
  return new RegExp(parts.map((words) => words.join('\\s+')).join('.*'));
}
