import { basename, resolve } from 'node:path';
import { readNamedFile } from '../../env/named-file.ts';
import { environmentVariable } from '../../env/runtime.ts';
import { StillpointError } from '../../errors.ts';
import { AdminClient, type BackupReply } from '../../rpc/client.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { isSnapshotName } from '../../snapshot/store/layout.ts';
import type { FleetFile, FleetNode } from '../fleet-file.ts';

const PEM_LIMIT_BYTES = 1024 * 1024;
const KEY_LIMIT_BYTES = 4096;

/** The admin RPC of each node of a fleet file. A client is made when it is first needed: then its key must be there. */
export class NodeClients {
  readonly #file: FleetFile;
  readonly #nodes: ReadonlyMap<string, FleetNode>;
  readonly #environment: Environment;
  readonly #timeoutMs: number | undefined;
  readonly #clients = new Map<string, Promise<AdminClient>>();

  constructor(file: FleetFile, environment: Environment, timeoutMs: number | undefined) {
    this.#file = file;
    this.#nodes = new Map(file.nodes.map((node) => [node.id, node]));
    this.#environment = environment;
    this.#timeoutMs = timeoutMs;
  }

  async close(): Promise<void> {
    for (const client of this.#clients.values()) (await client.catch(() => undefined))?.close();
  }

  node(id: string): FleetNode {
    const node = this.#nodes.get(id);
    if (node !== undefined) return node;
    throw new StillpointError('TOPOLOGY_CHANGED', `the fleet file has no node ${id} any more`);
  }

  client(id: string): Promise<AdminClient> {
    const known = this.#clients.get(id);
    if (known !== undefined) return known;
    const made = this.#connect(this.node(id));
    this.#clients.set(id, made);
    made.catch(() => this.#clients.delete(id));
    return made;
  }

  async #connect({ id, url, key, ca }: FleetNode): Promise<AdminClient> {
    const { fs } = this.#environment;
    const place = (path: string) => resolve(this.#file.folder, path);
    const authority =
      ca === undefined
        ? undefined
        : await readNamedFile(fs, `certificate of ${id}`, place(ca), PEM_LIMIT_BYTES);
    let secret: string | undefined;
    if (key?.startsWith('env:')) {
      secret = environmentVariable(key.slice(4));
      if (secret === undefined || secret === '')
        throw new StillpointError(
          'INVALID_REQUEST',
          `the environment has no ${key.slice(4)}, which is the key of ${id}`,
        );
    } else if (key !== undefined) {
      const bytes = await readNamedFile(
        fs,
        `key of ${id}`,
        place(key.slice('file:'.length)),
        KEY_LIMIT_BYTES,
      );
      secret = bytes.toString('utf8').trim();
    }
    const timeoutMs = this.#timeoutMs;
    return new AdminClient({
      url,
      key: secret,
      ca: authority,
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
  }
}

/** The last part of the place that a node names, which must be that of a snapshot. */
export function snapshotNameIn({ location }: BackupReply): string {
  const name = basename(location.replaceAll('\\', '/'));
  if (isSnapshotName(name)) return name;
  throw new StillpointError(
    'NODE_REPLY_INVALID',
    `${JSON.stringify(location.slice(0, 200))} is no place of a snapshot`,
  );
}
