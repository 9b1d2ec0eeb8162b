import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { transform } from 'esbuild';
import { describe, expect, onTestFinished, test } from 'vitest';
import { BackupCoordinator, openLsm } from '../src/index.ts';
import { compiled } from './support/build.ts';
import { temporaryFolder } from './support/temp.ts';
import { perTier } from './support/tier.ts';

// The examples of the pages that users read are run as they stand there.

const root = resolve(import.meta.dirname, '..');
const read = (page: string) => readFile(join(root, page), 'utf8');

async function blocksOf(page: string, language: string): Promise<string[]> {
  const blocks = (await read(page)).matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, 'gm'));
  return [...blocks].map(([, code]) => code!);
}

/** A project of a user: `stillpoint` and its dependencies are installed. */
async function userProject(): Promise<string> {
  const folder = await temporaryFolder();
  const modules = join(folder, 'node_modules');
  await mkdir(modules);
  await symlink(dirname(compiled('package.json')), join(modules, 'stillpoint'));
  await symlink(join(root, 'node_modules/classic-level'), join(modules, 'classic-level'));
  return folder;
}

/** `./data` as most examples expect it: a database with two snapshots. */
async function makeData(folder: string): Promise<void> {
  const dataDir = join(folder, 'data');
  const database = await openLsm(dataDir, { walGeometry: { segmentBytes: 64 * 1024, segmentCount: 4 } });
  const backups = new BackupCoordinator({ dataDir, engine: 'lsm', checkpoint: () => database.hold() });
  for (const value of ['one', 'two']) {
    await database.put(Buffer.from('key'), Buffer.from(value));
    await backups.backup();
  }
  await database.close();
}

async function run(folder: string, command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  onTestFinished(() => {
    try {
      process.kill(-child.pid!, 'SIGKILL'); // with the server that an example leaves running
    } catch {
      // all of them have ended
    }
  });
  const [[code], out, errors] = await Promise.all([
    once(child, 'exit'),
    text(child.stdout),
    text(child.stderr),
  ]);
  expect(code, `${args.join(' ')}\n${out}${errors}`).toBe(0);
  return out;
}

const PAGES = ['README.md', 'src/coordinator/README.md', 'src/server/README.md', 'src/backup/README.md'];

/** The disk that the pages keep backups on; here a folder of the test. */
const onTestDisk = (code: string): string => code.replaceAll('/mnt/backups', './backups');

describe.each(PAGES)('%s', async (page) => {
  const examples = await blocksOf(page, 'ts');

  test('has examples in TypeScript', () => expect(examples.length).toBeGreaterThan(0));

  test.each(examples.map((code, index) => [index + 1, code] as const))('example %i runs', async (_, code) => {
    const folder = await userProject();
    if (!/new ClassicLevel|openLsm/.test(code)) await makeData(folder);
    const { code: script } = await transform(onTestDisk(code), { loader: 'ts', format: 'esm' });
    // Port 0: another test may have the port of the example.
    await writeFile(
      join(folder, 'example.mjs'),
      `${script.replace('port: 4780', 'port: 0')}\nprocess.exit();\n`,
    );
    await run(folder, process.execPath, ['example.mjs']);
  });
});

const STILLPOINT = `${process.execPath} ${compiled('src/cli/main.ts')}`;

/** The shell's functions in the place of the programs: `npx stillpoint` is this version. */
const shell = (port: number) => `set -euo pipefail
npx() { shift; ${STILLPOINT} "$@"; }
curl() { command curl --silent --show-error --fail-with-body "$@"; echo; }
# The server in the background, and no further before it answers.
serve() { ${STILLPOINT} serve "$@" & until command curl -sf localhost:${port}/api/admin/health >&2; do sleep 0.1; done; }
`;

type CommandLine = readonly [page: string, which: RegExp];
const OF_THE_README: readonly CommandLine[] = [
  ['README.md', /npx stillpoint snapshot/],
  ['README.md', /npx stillpoint repo init/],
];
const COMMAND_LINES = perTier(OF_THE_README, [
  ...OF_THE_README,
  ['src/cli/README.md', /npx stillpoint snapshot/],
  ['src/backup/README.md', /npx stillpoint repo init/],
]);

test.each(COMMAND_LINES)('the command line of %s runs: %s', async (page, which) => {
  const block = (await blocksOf(page, 'sh')).find((code) => which.test(code))!;
  const folder = await temporaryFolder();
  await makeData(folder);
  // Each exits 0, one after another; the server is in the next test, a console in `test/console`, a fleet needs several (`test/cli/fleet.test.ts`), a schedule needs settings (`test/schedule`), nothing is to be salvaged (`test/salvage`), and no file
  // of LevelDB is in an lsm folder.
  const lines = block
    .split('\n')
    .filter((line) => !/stillpoint (serve|console|inspect|fleet|schedule|alerts|salvage)/.test(line));
  expect(lines.length).toBeGreaterThan(3);
  const out = await run(folder, 'bash', ['-c', shell(0) + onTestDisk(lines.join('\n'))]);
  expect(out).toContain('proven');
});

test('the server of README.md answers the requests that follow', async () => {
  const block = (await blocksOf('README.md', 'sh')).find((code) => /stillpoint serve/.test(code))!;
  const folder = await temporaryFolder();
  await makeData(folder);
  const port = await freePort();
  const script = block.replace('npx stillpoint serve', 'serve').replaceAll('4780', String(port));
  // The snapshot that the first request begins has to end before the restore can.
  const idle = `while command curl -s localhost:${port}/api/admin/status | grep '"status":"running"' >&2; do sleep 0.1; done`;
  const patient = script.replace(/^(curl -X POST \S+restore)/m, `${idle}\n$1`);
  const out = await run(folder, 'bash', ['-c', `${shell(port) + patient}\nkill $!; wait`]);
  expect(out).toMatch(/"handle":"[\s\S]*"handle":"[\s\S]*"overall_status":"/);
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

test('README.md stays a page: at most 1,200 words', async () => {
  expect((await read('README.md')).split(/\s+/).length).toBeLessThanOrEqual(1200);
});
