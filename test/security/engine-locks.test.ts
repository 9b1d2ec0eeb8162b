import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { describeWithRight, testOnLinux } from '../support/needs.ts';
import { startScript } from '../support/process.ts';
import { temporaryFolder } from '../support/temp.ts';

// Invariant 14: the host's database keeps its lock, whatever stillpoint is asked for in the same process.

const HOST = `
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { BackupCoordinator, RestoreCoordinator, verifySnapshot } from 'stillpoint';

const folder = process.argv[2];
const dataDir = join(folder, 'nested/db');
const { mkdirSync, writeFileSync } = await import('node:fs');
mkdirSync(dataDir, { recursive: true });
writeFileSync(join(folder, 'beside.txt'), 'x');
const database = new ClassicLevel(dataDir);
await database.put('a', 'acknowledged');
const SECOND = \`
  const { ClassicLevel } = require('classic-level');
  const database = new ClassicLevel(process.argv[1]);
  database.open().then(() => process.stdout.write('open'), () => process.stdout.write('refused'));
\`;
const second = () => String(execFileSync(process.execPath, ['-e', SECOND, dataDir]));
const tries = {
  verify: () => verifySnapshot(dataDir, { engine: 'files' }),
  verifyParent: () => verifySnapshot(folder, { engine: 'files' }),
  backup: () => new BackupCoordinator({ dataDir, engine: 'files' }).backup(),
  backupParent: () => new BackupCoordinator({ dataDir: folder, engine: 'files' }).backup(),
  leveldb: () => new BackupCoordinator({ dataDir }).backup(),
  restore: () => new RestoreCoordinator({ dataDir }).restore(),
};
const answers = {};
for (const [name, call] of Object.entries(tries)) {
  const code = await call().then(() => 'done', (error) => error.code);
  answers[name] = [code, second()];
}
await database.close();
answers.closed = await verifySnapshot(dataDir, { engine: 'files' }).then(() => 'done', (error) => error.code);
process.stdout.write(JSON.stringify(answers));
`;

const KEPT = {
  verify: ['CONFLICT', 'refused'],
  verifyParent: ['CONFLICT', 'refused'],
  backup: ['CONFLICT', 'refused'],
  backupParent: ['CONFLICT', 'refused'],
  leveldb: ['done', 'refused'],
  restore: ['CONFLICT', 'refused'],
};

async function answersIn(wrapper: readonly string[]) {
  const child = startScript(HOST, [await temporaryFolder()], wrapper);
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  await once(child, 'close');
  return JSON.parse(text);
}

testOnLinux('LevelDB keeps its lock in this process (invariant 14)', async () => {
  expect(await answersIn([])).toEqual({ ...KEPT, closed: 'done' });
});

function canUnshare(): boolean {
  try {
    execFileSync('unshare', ['-mpf', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describeWithRight('the right to make namespaces', canUnshare(), 'and where /proc does not tell', () => {
  const inMounts = (mount: string) => ['unshare', '-m', 'sh', '-c', `${mount} && exec "$0" "$@"`];
  test.each([
    ['in another PID namespace with the /proc of its parent', ['unshare', '-pf'], 'done'],
    ['with subset=pid', inMounts('mount -t proc -o subset=pid proc /proc'), 'done'],
    ['without /proc: what nobody can tell counts as open', inMounts('mount -t tmpfs none /proc'), 'CONFLICT'],
  ])('%s', async (_name, wrapper, closed) => {
    expect(await answersIn(wrapper)).toEqual({ ...KEPT, closed });
  });
});
