import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ClassicLevel } from 'classic-level';
import { startProcess } from './command.ts';
import { temporaryFolder } from './temp.ts';

/** A node of a fleet that is a process of its own. */
export interface NodeProcess {
  readonly id: string;
  readonly url: string;
  readonly dataDir: string;
  readonly process: ChildProcess;
  put(key: string, value: string): Promise<number>;
  get(key: string): Promise<string>;
  /** Resolves once a write is taken. */
  writable(): Promise<void>;
  kill(): Promise<void>;
}

/** Starts `stillpoint serve` on a data directory. */
export async function startNode(id: string, dataDir: string, port = 0): Promise<NodeProcess> {
  const child = startProcess(['serve', dataDir, '--port', String(port), '--json']);
  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  const closed = once(child, 'close');
  const [line] = await Promise.race([once(createInterface(child.stdout!), 'line'), closed]);
  if (typeof line !== 'string') throw new Error(`no server ${id}: ${stderr}`);
  const { url } = JSON.parse(line);
  const put = async (key: string, value: string) =>
    (await fetch(`${url}/kv/${key}`, { method: 'PUT', body: value })).status;
  return {
    id,
    url,
    dataDir,
    process: child,
    put,
    get: async (key) => (await fetch(`${url}/kv/${key}`)).text(),
    async writable() {
      while ((await put('probe', 'x')) !== 200) await new Promise((done) => setTimeout(done, 20));
    },
    async kill() {
      child.kill('SIGKILL');
      await closed;
    },
  };
}

/** Processes with these ids; `leveldb` or `lsm`, in turn. */
export async function nodeProcesses(
  ids: readonly string[],
  engine: (i: number) => 'leveldb' | 'lsm' = () => 'leveldb',
): Promise<NodeProcess[]> {
  const folder = await temporaryFolder();
  return Promise.all(
    ids.map(async (id, i) => {
      const dataDir = join(folder, id);
      await mkdir(dataDir);
      if (engine(i) === 'leveldb') {
        const database = new ClassicLevel(dataDir);
        await database.open();
        await database.close();
      }
      return startNode(id, dataDir);
    }),
  );
}

/** A fleet file of these nodes, in a folder of its own. */
export async function fleetFileFor(
  nodes: readonly { readonly id: string; readonly url: string }[],
  units?: readonly (readonly string[])[],
): Promise<string> {
  const file = join(await temporaryFolder(), 'fleet.json');
  writeFileSync(
    file,
    JSON.stringify({
      fleet: 'shop',
      nodes: nodes.map(({ id, url }) => ({ id, url })),
      ...(units && { units: units.map((members, i) => ({ id: `unit-${i}`, nodes: members })) }),
    }),
  );
  return file;
}
