import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, lstatSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { ClassicLevel } from 'classic-level';
import { expect, type TestContext, test } from 'vitest';
import { openLsm } from '../../src/index.ts';
import { compiled } from '../support/build.ts';
import { COMMAND, stillpointProcess } from '../support/command.ts';
import { fixturesRoot } from '../support/fixtures.ts';
import { entriesBelow, readTree, writeTree } from '../support/folders.ts';
import { needsFile, needsPrograms, testAsRoot, testOnLinux, withRights } from '../support/needs.ts';
import { startScript } from '../support/process.ts';
import { SMALL_LOG } from '../support/small-lsm.ts';
import { temporaryFolder } from '../support/temp.ts';

// Systems and file systems that answer otherwise than ours: each works with a warning, or is refused with the reason and the way out.

const ANSWERS = join(fixturesRoot, 'hunt/file-system-answers/answers.c');
const OWNER = 1000;

async function smallLsm(): Promise<string> {
  const dir = join(await temporaryFolder(), 'data');
  const database = await openLsm(dir, SMALL_LOG);
  await database.put('key', 'value');
  await database.checkpoint();
  await database.close();
  return dir;
}

testAsRoot('what root makes belongs to the owner of the data directory', async () => {
  const dir = await smallLsm();
  for (const path of [dir, ...entriesBelow(dir).map(({ parentPath, name }) => join(parentPath, name))])
    chownSync(path, OWNER, OWNER);
  const steps = [
    ['snapshot', dir],
    ['snapshot', dir],
    ['restore', 'latest', '--data-dir', dir, '--in-place'],
    ['undo', dir],
    ['restore', 'latest', '--data-dir', dir, '--in-place'],
    ['verify', '--all', dir],
    ['prune', dir, '--keep', '1'],
  ];
  for (const step of steps) expect(await stillpointProcess(step), step.join(' ')).toMatchObject({ code: 0 });
  const ofOthers = entriesBelow(dir)
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => lstatSync(path).uid !== OWNER || lstatSync(path).gid !== OWNER);
  expect(ofOthers).toEqual([]);
});

testAsRoot('what was there before keeps its owner', async () => {
  const dir = await smallLsm();
  chownSync(dir, OWNER, OWNER);
  expect(await stillpointProcess(['snapshot', dir])).toMatchObject({ code: 0 });
  expect(lstatSync(join(dir, 'lsm.wal')).uid).toBe(0);
});

/** The command on a file system that answers as `environment` says. */
async function withAnswers(context: TestContext, environment: Readonly<Record<string, string>>) {
  needsPrograms(context, 'gcc');
  needsFile(context, ANSWERS);
  const library = join(await temporaryFolder(), 'answers.so');
  execFileSync('gcc', ['-shared', '-fPIC', '-o', library, ANSWERS, '-ldl']);
  return (...args: string[]) => stillpointProcess(args, { LD_PRELOAD: library, ...environment });
}

testOnLinux(
  'a file system without hard links and without a sync of folders works, with a warning',
  async (context) => {
    const run = await withAnswers(context, {});
    const dir = await smallLsm();
    const into = join(await temporaryFolder(), 'into');
    const taken = await run('snapshot', dir);
    expect(taken).toMatchObject({ code: 0, stderr: expect.stringContaining('cannot sync a folder') });
    expect(await run('snapshot', dir)).toMatchObject({ code: 0 });
    expect(await run('restore', 'latest', '--data-dir', dir, '--into', into)).toMatchObject({ code: 0 });
    expect(Object.keys(readTree(into))).toContain('lsm.wal');
    expect(await run('restore', 'latest', '--data-dir', dir, '--in-place')).toMatchObject({ code: 0 });
  },
);

testOnLinux('what LevelDB cannot do on a file system is no defect of the salvage', async (context) => {
  const run = await withAnswers(context, {});
  const dir = join(await temporaryFolder(), 'db');
  const database = new ClassicLevel(dir);
  await database.put('key', 'value');
  await database.close();
  const { code, stderr } = await run('salvage', dir, '--into', join(await temporaryFolder(), 'new'));
  expect([code, stderr]).toEqual([1, expect.stringContaining('a new database cannot be made in')]);
  expect(stderr).toContain('IO_ERROR');
});

testOnLinux('a file system without locks is refused with the reason', async (context) => {
  const run = await withAnswers(context, { DIRSYNC_OK: '1', NOLOCK: '1' });
  const dir = await smallLsm();
  const { code, stderr } = await run('snapshot', dir);
  expect(code).toBe(1);
  expect(stderr).toContain('.lifecycle/lock');
  expect(stderr).toContain('IO_ERROR');
  expect(stderr).toMatch(/no locks/);
  expect(stderr).not.toContain('defect');
});

testOnLinux('without /proc, snapshots and restores into a folder work, with a warning', async (context) => {
  const dir = await smallLsm();
  writeTree(dir, { 'sst/not-ours': 'x' });
  const into = join(await temporaryFolder(), 'into');
  const hidden = join(await temporaryFolder(), 'run');
  writeFileSync(hidden, '#!/bin/sh\nmount -t tmpfs none /proc && exec "$@"\n');
  chmodSync(hidden, 0o755);
  withRights(context, 'unshare', '-m', hidden, 'true');
  const run = (...args: string[]) =>
    execFileSync('unshare', ['-m', hidden, 'sh', '-c', 'exec "$@" 2>&1', 'sh', ...COMMAND, ...args], {
      encoding: 'utf8',
    });
  expect(run('snapshot', dir)).toContain('/proc is not mounted');
  run('snapshot', dir);
  run('restore', 'latest', '--data-dir', dir, '--into', into);
  expect(Object.keys(readTree(into))).toContain('lsm.wal');
  const answers = await text(startScript(SERVER, [dir], ['unshare', '-m', hidden]).stdout);
  expect(JSON.parse(answers)).toEqual([
    [200, expect.stringContaining('"safe":true')],
    [200, expect.stringContaining('"memory_usage_mb":null')],
  ]);
});

const SERVER = `
import { lsmBackend, startServer } from '${compiled('src/server/index.ts')}';
const server = await startServer({ dataDir: process.argv[2], backend: lsmBackend(), port: 0, audit: () => {}, log: () => {} });
const answers = [];
for (const path of ['status', 'metrics']) {
  const reply = await fetch(server.url + '/api/admin/' + path);
  answers.push([reply.status, await reply.text()]);
}
await server.close();
process.stdout.write(JSON.stringify(answers));
`;

test('a system that the package for locks has no build for: what needs no lock works, and the rest says why', async () => {
  const dir = await smallLsm();
  const stub = join(await temporaryFolder(), 'no-build.cjs');
  writeFileSync(
    stub,
    `const Module = require('node:module');
     const load = Module._load;
     Module._load = (name, ...rest) => {
       if (name === 'fs-native-extensions') throw new Error('Error loading shared library ld-linux-x86-64.so.2');
       return load(name, ...rest);
     };`,
  );
  const without = { NODE_OPTIONS: `--require ${stub}` };
  expect(await stillpointProcess(['list', dir], without)).toMatchObject({ code: 0 });
  const refused = await stillpointProcess(['snapshot', dir, '--json'], without);
  expect(refused).toMatchObject({ code: 1, json: { error: { code: 'IO_ERROR' } } });
  expect(refused.json.error.message).toContain('fs-native-extensions has no build that runs here');
  expect(refused.json.error.hint).toContain('Alpine');
});
