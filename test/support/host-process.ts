/**
 * A process that hosts a database and does on request what a host can do: `host.ts` starts it and talks to it over its stdin and
 * stdout, a JSON document a line. Acknowledged writes and phases are told before anything else happens, so that whoever kills
 * it knows what it had promised. It can be told to kill itself at a phase, or at the N-th change of names on disk.
 */
import { createInterface } from 'node:readline';
import { pause } from '../../src/env/clock.ts';
import type { FileSystem } from '../../src/env/file-system.ts';
import { nodeFileSystem } from '../../src/env/node-file-system.ts';
import { toStillpointError } from '../../src/errors.ts';
import {
  BackupCoordinator,
  Lifecycle,
  RestoreCoordinator,
  Snapshots,
  type StartBackupOptions,
} from '../../src/index.ts';
import { systemEnvironment } from '../../src/snapshot/environment.ts';
import type { Command, Death } from './host.ts';
import { type EngineUnderTest, type HostDatabase, headsOf, openDatabase, WRITERS } from './host-database.ts';
import { tell } from './tell.ts';

const say = (line: object): void => tell(JSON.stringify(line));

let death: Death = {};
let stopAt: string | undefined;
let entered = '';
let operations = 0;

function die(): void {
  process.kill(process.pid, 'SIGKILL');
}

/** A state is told again whenever something of it changes; a phase is entered once. */
function enter(phase: string): void {
  if (phase === entered) return;
  entered = phase;
  say({ phase });
  if (stopAt === phase) process.kill(process.pid, 'SIGSTOP'); // until whoever asked for it lets it go on
  if (death.phase !== phase) return;
  if (death.afterMs === undefined) die();
  else setTimeout(die, death.afterMs);
}

const CHANGES = new Set([
  'makeFolder',
  'rename',
  'link',
  'clone',
  'removeFile',
  'removeFolder',
  'syncFolder',
]);

/** Counts the changes of names, and dies at the one that was wished for: before it, or after it. */
const mortal: FileSystem = new Proxy(nodeFileSystem, {
  get(fs, name: keyof FileSystem) {
    const method = fs[name] as (...args: unknown[]) => unknown;
    return (...args: unknown[]): unknown => {
      const isCreating = name === 'open' && args[1] !== 'read' && args[1] !== 'update';
      const isLast = (CHANGES.has(name) || isCreating) && ++operations === death.operation;
      if (isLast && !death.isAfter) die();
      const result = method(...args);
      return isLast ? Promise.resolve(result).then(die) : result;
    };
  },
});

const environment = { ...systemEnvironment, fs: mortal };

let dir = '';
let engine: EngineUnderTest = 'lsm';
let lifecycle: Lifecycle;
let backup: BackupCoordinator;
let restore: RestoreCoordinator;
let database: HostDatabase | undefined;
let heads: number[] = [];
let isWriting = false;
let writing: Promise<unknown> = Promise.resolve();

async function open(): Promise<void> {
  database = await openDatabase(engine, dir, mortal);
  heads = headsOf(await database.entries());
  say({ opened: heads });
}

async function close(): Promise<void> {
  isWriting = false;
  await writing;
  await database?.close();
  database = undefined;
}

function startWriting(): void {
  isWriting = true;
  writing = Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));
}

async function write(writer: number): Promise<void> {
  while (isWriting) {
    const number = heads[writer]! + 1;
    try {
      await database!.commit(writer, number);
    } catch (error) {
      say({ refused: toStillpointError(error).code, message: String(error) });
      return;
    }
    heads[writer] = number;
    say({ ack: [writer, number] });
    await pause(1);
  }
}

/** The coordinators around whatever is open; without a database the hooks have nothing to do. */
function attach(): void {
  lifecycle = new Lifecycle({ dataDir: dir, environment });
  backup = new BackupCoordinator({ dataDir: dir, lifecycle, engine, checkpoint: checkpoint });
  let wasWriting = false;
  restore = new RestoreCoordinator({
    dataDir: dir,
    lifecycle,
    engine,
    async close() {
      wasWriting = isWriting;
      if (database !== undefined) await close();
      else wasWriting = false;
    },
    async open() {
      if (!isHost) return;
      await open();
      if (wasWriting) startWriting();
    },
  });
  for (const coordinator of [backup, restore]) {
    coordinator.on('state', (_id: string, { status, phase }: { status: string; phase: string | null }) =>
      enter(status === 'running' ? phase! : 'end'),
    );
  }
}

/** Whether a database belongs to this process; if not, it only works on folders, as the command line does. */
let isHost = false;
const checkpoint = () => database?.capture.checkpoint?.({ signal: new AbortController().signal });

/** With LevelDB the engine knows the open database, which changes with each opening. */
function backupNow(options: StartBackupOptions) {
  const own = database?.capture.engine;
  if (typeof own !== 'object') return backup.backup(options);
  const coordinator = new BackupCoordinator({ dataDir: dir, lifecycle, engine: own });
  coordinator.on('state', (_id, { status, phase }) => enter(status === 'running' ? phase! : 'end'));
  return coordinator.backup(options);
}

const COMMANDS: Record<Command['do'], (command: Command) => Promise<unknown>> = {
  async attach(command) {
    dir = command.dir!;
    engine = command.engine ?? engine;
    attach();
  },
  async open() {
    isHost = true;
    const recovery = await lifecycle.recover();
    await open();
    return recovery;
  },
  write: async () => startWriting(),
  async read() {
    return headsOf(await database!.entries());
  },
  close,
  compact: () => database!.compact(),
  recover: () => lifecycle.recover(),
  async snapshot({ options }) {
    const { name, location, copiedBytes, linkedBytes, reusedBytes } = await backupNow(options ?? {});
    return { name, location, copiedBytes, linkedBytes, reusedBytes };
  },
  async restore({ source }) {
    const { from, undo } = await restore.restore(source === undefined ? {} : { source });
    return { from, undo };
  },
  async undo() {
    const { from, undo } = await restore.undo();
    return { from, undo };
  },
  async into({ source, target }) {
    await new Snapshots({ dataDir: dir, environment }).restore(source ?? 'latest', { into: target! });
  },
  async verify({ source }) {
    const { ok, findings } = await new Snapshots({ dataDir: dir, environment }).verify(source ?? 'latest');
    return { ok, findings };
  },
  async prune({ keep }) {
    const { removed, busy } = await new Snapshots({ dataDir: dir, lifecycle }).prune({
      keep: keep ?? 2,
    });
    return { removed: removed.map(({ name }) => name), busy: busy.map(({ name }) => name) };
  },
  async delete({ source }) {
    return (await new Snapshots({ dataDir: dir, lifecycle }).delete(source ?? (await oldest()))).name;
  },
};

/** Of those that may be deleted. */
async function oldest(): Promise<string> {
  const { latest, snapshots } = await new Snapshots({ dataDir: dir }).list();
  return snapshots.find(({ name }) => name !== latest)!.name;
}

for await (const line of createInterface(process.stdin)) {
  const command = JSON.parse(line) as Command & { id: number };
  void run(command);
}
process.exit(0);

async function run(command: Command & { id: number }): Promise<void> {
  const { id, death: wished = {}, delayMs } = command;
  if (delayMs !== undefined) await pause(delayMs);
  death = wished;
  stopAt = command.stopAt;
  operations = 0;
  if (command.do !== 'read') enter('begin');
  if (death.phase === undefined && death.afterMs !== undefined) setTimeout(die, death.afterMs);
  try {
    const value = (await COMMANDS[command.do](command)) ?? null;
    say({ reply: id, value, operations });
  } catch (error) {
    const { code, message, cause } = toStillpointError(error);
    say({ reply: id, code, message: cause === undefined ? message : `${message} (${cause})`, operations });
  }
}
