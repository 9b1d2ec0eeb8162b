import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import pc from 'picocolors';

// What stillpoint is for, in half a minute: a database server that is written to all the time takes a snapshot of itself,
// loses its files, and comes back with every write that it had acknowledged before the snapshot. Then its whole machine is lost, and a
// backup elsewhere brings it back. Then three servers are backed up
// together.

const COMMAND = resolve(import.meta.dirname, '../dist/cli/main.js');
const WRITERS = 4;

const say = (text: string) => process.stdout.write(`${text}\n`);
const step = (text: string) => say(`\n${pc.bold(pc.cyan('▸'))} ${pc.bold(text)}`);
const number = (value: number) => pc.bold(value.toLocaleString('en-US'));
const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;

interface Server {
  readonly url: string;
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
}

async function startServer(dir: string, ...more: string[]): Promise<Server> {
  const child = spawn(process.execPath, [COMMAND, 'serve', dir, '--port', '0', '--json', ...more], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const ready = once(child.stdout, 'data').then(([chunk]) => String(chunk));
  const gone = once(child, 'exit').then(([code]) =>
    Promise.reject(new Error(`the server ended with ${code}: ${errors}`)),
  );
  const { url } = JSON.parse(await Promise.race([ready, gone])) as { url: string };
  gone.catch(() => undefined); // later it is killed on purpose
  return { url, child };
}

async function call<T>(url: string, path: string, init?: RequestInit): Promise<T> {
  const reply = await fetch(url + path, init);
  if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
  return (await reply.json()) as T;
}

/** Writes until told to stop; what was acknowledged is on record. */
class Writers {
  readonly acknowledged = new Map<string, string>();
  #isStopped = false;

  async run(url: string): Promise<void> {
    await Promise.all(Array.from({ length: WRITERS }, (_, writer) => this.#write(url, writer)));
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #write(url: string, writer: number): Promise<void> {
    for (let n = 0; !this.#isStopped; n++) {
      const key = `order:${writer}:${n}`;
      const value = `${n} `.repeat(100);
      const reply = await fetch(`${url}/kv/${encodeURIComponent(key)}`, { method: 'PUT', body: value }).catch(
        () => undefined,
      );
      if (reply === undefined) return; // the server is gone
      await reply.arrayBuffer();
      if (reply.ok) this.acknowledged.set(key, value);
    }
  }
}

interface BackupStatus {
  handle: string;
  location: string;
  state: {
    status: string;
    phase: string;
    reason: string | null;
    started_at_ms: number;
    finished_at_ms: number;
  };
}

async function snapshot(url: string): Promise<BackupStatus> {
  const { handle } = await call<BackupStatus>(url, '/api/admin/backup', { method: 'POST' });
  for (;;) {
    const status = await call<BackupStatus>(url, `/api/admin/backup/${handle}`);
    if (status.state.status === 'completed') return status;
    if (status.state.status !== 'running') throw new Error(`the snapshot failed: ${status.state.reason}`);
    await setTimeout(20);
  }
}

const run = async <T>(...args: string[]): Promise<T> => {
  const { stdout } = await promisify(execFile)(process.execPath, [COMMAND, ...args, '--json']);
  return JSON.parse(stdout) as T;
};

async function demo(dir: string): Promise<boolean> {
  step('A database server starts, and four clients write to it without pause');
  const first = await startServer(dir);
  const writers = new Writers();
  const writing = writers.run(first.url);
  await setTimeout(2_000);
  say(`  ${number(writers.acknowledged.size)} writes acknowledged so far, each of them on disk`);

  step('POST /api/admin/backup, while the writes go on');
  const promised = new Map(writers.acknowledged);
  const taken = await snapshot(first.url);
  const during = writers.acknowledged.size - promised.size;
  const { started_at_ms: began, finished_at_ms: ended } = taken.state;
  say(
    `  ${pc.green('proven')} in ${seconds(ended - began)}; ${number(during)} more writes were acknowledged meanwhile`,
  );
  say(`  ${pc.dim(taken.location)}`);
  await setTimeout(500);

  step('Disaster: the server is killed and its data directory destroyed');
  writers.stop();
  first.child.kill('SIGKILL');
  await once(first.child, 'exit');
  await writing;
  for (const name of await readdir(dir)) {
    if (name !== '.lifecycle') await rm(join(dir, name), { recursive: true });
  }
  say(`  left in it: ${(await readdir(dir)).join(', ')}`);

  step(`stillpoint restore latest --in-place --data-dir ${dir}`);
  const restored = await run<{ from: string; bytes: number; files: number }>(
    'restore',
    'latest',
    '--in-place',
    '--data-dir',
    dir,
  );
  say(
    `  ${restored.files} files, ${megabytes(restored.bytes)} (the log is mostly a hole), proven before they were put in place`,
  );

  step('The server starts again, and every promise is checked');
  const second = await startServer(dir);
  const missing = await countMissing(second.url, promised);
  const report = await run<{ counts: { files: number; wal_entries: number } }>('verify', taken.location);
  second.child.kill('SIGTERM');
  const [code] = await once(second.child, 'exit');

  const rows: [string, string][] = [
    ['acknowledged before the snapshot', number(promised.size)],
    [
      'of these found after the restore',
      missing === 0 ? pc.green(number(promised.size)) : pc.red(number(promised.size - missing)),
    ],
    ['lost', missing === 0 ? pc.green(number(0)) : pc.red(number(missing))],
    [
      'snapshot verified once more',
      `${report.counts.files} files, ${report.counts.wal_entries} log entries replayed`,
    ],
    ['server ended cleanly', code === 0 ? pc.green('yes') : pc.red(`no, with ${code}`)],
  ];
  say(`\n${pc.dim('─'.repeat(64))}`);
  for (const [what, value] of rows) say(`  ${what.padEnd(36)} ${value}`);
  say(pc.dim('─'.repeat(64)));
  return missing === 0 && promised.size > 0 && code === 0;
}

async function countMissing(url: string, promised: ReadonlyMap<string, string>): Promise<number> {
  let missing = 0;
  for (const [key, value] of promised) {
    const reply = await fetch(`${url}/kv/${encodeURIComponent(key)}`);
    if (!reply.ok || (await reply.text()) !== value) missing++;
  }
  return missing;
}

async function fireDemo(root: string): Promise<boolean> {
  const [dir, repository, key] = [join(root, 'machine'), join(root, 'repository'), join(root, 'key')];
  step('A repository elsewhere, encrypted; and a backup into it while the server is written to');
  await run('repo', 'init', repository, '--key-file', key);
  const server = await startServer(dir);
  const writers = new Writers();
  const writing = writers.run(server.url);
  await setTimeout(1_000);
  const promised = new Map(writers.acknowledged);
  const backup = await run<{ backup_id: string; uploaded_bytes: number }>(
    ...['backup', 'run', dir, '--to', repository, '--key-file', key],
  );
  say(`  ${backup.backup_id}: ${megabytes(backup.uploaded_bytes)} uploaded`);

  step('The machine burns: its process, its data and its snapshots are gone');
  writers.stop();
  server.child.kill('SIGKILL');
  await once(server.child, 'exit');
  await writing;
  await rm(dir, { recursive: true });

  step('A new machine has the repository and the key, and nothing else');
  const fresh = join(root, 'new-machine');
  await run('backup', 'restore', 'latest', '--from', repository, '--key-file', key, '--into', fresh);
  const second = await startServer(fresh);
  const missing = await countMissing(second.url, promised);
  await stopServer(second);
  say(`  acknowledged before the backup: ${number(promised.size)}; lost: ${number(missing)}`);
  return missing === 0 && promised.size > 0;
}

async function stopServer({ child }: Server): Promise<void> {
  child.kill('SIGTERM');
  await once(child, 'exit');
}

/** Writes each number to the first server, then to the second, then to the third, until told to stop. */
async function writeInOrder(urls: readonly string[], signal: AbortSignal): Promise<number> {
  let refused = 0;
  for (let n = 1; !signal.aborted; n++) {
    for (const url of urls) {
      for (;;) {
        const reply = await fetch(`${url}/kv/last`, { method: 'PUT', body: String(n) });
        await reply.arrayBuffer();
        if (reply.ok) break;
        refused++;
        await setTimeout(5);
      }
    }
  }
  return refused;
}

async function fleetDemo(root: string): Promise<boolean> {
  step('A fleet of three LevelDB servers: every order goes to eu-1, then to eu-2, then to us-1');
  const ids = ['eu-1', 'eu-2', 'us-1'];
  const place = (name: string) => join(root, name);
  const servers = await Promise.all(ids.map((id) => startServer(place(id), '--engine', 'leveldb')));
  const urls = servers.map(({ url }) => url);
  const end = new AbortController();
  const writing = writeInOrder(urls, end.signal);
  await setTimeout(500);

  step('stillpoint fleet run fleet.json --out today, while the writes go on');
  const nodes = ids.map((id, i) => ({ id, url: urls[i] }));
  await writeFile(place('fleet.json'), JSON.stringify({ fleet: 'shop', nodes }));
  const { units } = await run<{ units: { window_ms: number }[] }>(
    ...['fleet', 'run', place('fleet.json'), '--out', place('today')],
  );
  end.abort();
  const refused = await writing;
  await Promise.all(servers.map(stopServer));
  say(
    `  ${pc.green('proven')}; no writes for ${seconds(units[0]!.window_ms)}, ${number(refused)} requests told to come again`,
  );

  step('Each copy is restored, and they are compared');
  const found = await Promise.all(
    ids.map(async (id) => {
      const dir = place(`${id}-restored`);
      await run('restore', join(place('today'), 'artifacts', id), '--into', dir);
      const server = await startServer(dir, '--engine', 'leveldb');
      const last = await (await fetch(`${server.url}/kv/last`)).text();
      await stopServer(server);
      return Number(last);
    }),
  );
  const [first = 0, second = 0, third = 0] = found;
  const isCut = first >= second && second >= third && third >= first - 1 && third > 0;
  say(
    `  last order in each: ${found.map(number).join(', ')} ${isCut ? pc.green('one cut') : pc.red('no cut')}`,
  );
  return isCut;
}

const root = await mkdtemp(join(tmpdir(), 'stillpoint-demo-'));
try {
  const isGood = (await demo(join(root, 'data'))) && (await fireDemo(root)) && (await fleetDemo(root));
  say(
    isGood
      ? pc.green('\nEvery promised write is there, and the copies of the fleet belong together.\n')
      : pc.red('\nA promise was broken.\n'),
  );
  process.exitCode = isGood ? 0 : 1;
} finally {
  await rm(root, { recursive: true, force: true });
}
