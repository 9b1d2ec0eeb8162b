import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { ClassicLevel } from 'classic-level';
import { onTestFinished } from 'vitest';
import { openLsm } from '../../src/index.ts';
import { compiled } from './build.ts';
import { temporaryFolder } from './temp.ts';

export interface NodeOptions {
  readonly engine?: 'leveldb' | 'lsm';
  readonly dataDir?: string;
  /** How far its wall clock is wrong. */
  readonly clockOffsetMs?: number;
  readonly settings?: string;
}

/** A node of a fleet that is a process of its own. */
export interface NodeProcess {
  readonly id: string;
  readonly url: string;
  readonly dataDir: string;
  readonly engine: 'leveldb' | 'lsm';
  put(key: string, value: string): Promise<number>;
  get(key: string): Promise<string>;
  /** Resolves once a write is taken. */
  writable(): Promise<void>;
  /** Keeps its tables from being copied. `reached` resolves when a snapshot has come to them. */
  slowTables(): { readonly reached: () => Promise<void>; readonly end: () => void };
  kill(): Promise<void>;
  /** Starts it again on the same port. */
  again(): Promise<void>;
}

export async function nodeProcess(id: string, options: NodeOptions = {}): Promise<NodeProcess> {
  const { engine = 'leveldb', clockOffsetMs = 0 } = options;
  const dataDir = options.dataDir ?? join(await temporaryFolder(), id);
  const begin = async (port: number) => {
    const args = [
      compiled('test/support/fleet-node.ts'),
      dataDir,
      engine,
      String(port),
      String(clockOffsetMs),
      ...(options.settings === undefined ? [] : [options.settings]),
    ];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    const closed = once(child, 'close');
    const [line] = await Promise.race([once(createInterface(child.stdout), 'line'), closed]);
    if (typeof line !== 'string') throw new Error(`no server ${id}: ${stderr}`);
    return { child: child as ChildProcess, closed, url: JSON.parse(line).url as string };
  };
  let running = await begin(0);
  const { url } = running;
  const put = async (key: string, value: string) =>
    (await fetch(`${url}/kv/${key}`, { method: 'PUT', body: value })).status;
  return {
    id,
    url,
    dataDir,
    engine,
    put,
    get: async (key) => (await fetch(`${url}/kv/${key}`)).text(),
    async writable() {
      while ((await put('probe', 'x')) !== 200) await setTimeout(20);
    },
    slowTables() {
      writeFileSync(`${dataDir}.slow`, '');
      return {
        async reached() {
          while (!existsSync(`${dataDir}.copying`)) await setTimeout(20);
        },
        end: () => rmSync(`${dataDir}.slow`),
      };
    },
    async kill() {
      running.child.kill('SIGKILL');
      await running.closed;
    },
    async again() {
      running = await begin(Number(new URL(url).port));
    },
  };
}

export const nodeProcesses = (
  ids: readonly string[],
  options: (id: string, i: number) => NodeOptions = () => ({}),
): Promise<NodeProcess[]> => Promise.all(ids.map((id, i) => nodeProcess(id, options(id, i))));

/** A fleet file of these nodes, in a folder of its own. */
export async function fleetFileFor(
  nodes: readonly { readonly id: string; readonly url: string }[],
  units?: readonly (readonly string[])[],
  repository?: { readonly name: string; readonly destination: string },
): Promise<string> {
  const file = join(await temporaryFolder(), 'fleet.json');
  writeFileSync(
    file,
    JSON.stringify({
      fleet: 'shop',
      nodes: nodes.map(({ id, url }) => ({ id, url })),
      repository,
      ...(units && { units: units.map((members, i) => ({ id: `unit-${i}`, nodes: members })) }),
    }),
  );
  return file;
}

/** What the copy of a node says under a key. The copy itself is not opened: an engine writes into what it opens. */
export async function valueInCopy(
  layoutDir: string,
  { id, engine }: NodeProcess,
  key: string,
): Promise<string | undefined> {
  const place = join(await temporaryFolder(), id);
  cpSync(join(layoutDir, 'artifacts', id), place, { recursive: true });
  if (engine === 'leveldb') {
    const database = new ClassicLevel(place, { createIfMissing: false });
    try {
      return await database.get(key);
    } finally {
      await database.close();
    }
  }
  const database = await openLsm(place, { createIfMissing: false });
  try {
    return (await database.get(Buffer.from(key)))?.toString();
  } finally {
    await database.close();
  }
}

/** The network between a controller and a node. */
export interface Link {
  readonly url: string;
  /** Nothing passes any more, and what passes is cut off. */
  cut(): void;
  mend(): void;
}

/** @param delayMs What each piece of data waits in both directions. */
export async function linkTo({ url }: { readonly url: string }, delayMs = 0): Promise<Link> {
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((incoming) => {
    if (isCut) return void incoming.destroy();
    const outgoing = connect(Number(new URL(url).port), '127.0.0.1');
    for (const [from, to] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.on('data', async (bytes) => {
        from.pause();
        if (delayMs > 0) await setTimeout(delayMs);
        to.write(bytes, () => from.resume());
      });
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
  };
  onTestFinished(() => {
    cut();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    mend: () => {
      isCut = false;
    },
  };
}
