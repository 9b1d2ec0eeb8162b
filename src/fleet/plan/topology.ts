import { createHash } from 'node:crypto';

/** How a node is known: `fixed` nodes are restored into themselves only, `relocatable` ones into any. */
export const IDENTITY_MODES = ['fixed', 'relocatable'] as const;
export type IdentityMode = (typeof IDENTITY_MODES)[number];

/** One node as it was found: what the fleet file says of it, and what it says of itself. */
export interface TopologyNode {
  readonly targetId: string;
  readonly role: string;
  readonly parent: string | null;
  readonly identity: IdentityMode;
  /** Of the database behind it; null where the executor knows none. */
  readonly storeId: string | null;
  readonly engine: string | null;
}

export const TOPOLOGY_HASH_ALGORITHM = 'sha256';
/** What the hash is taken of; part of the manifest. */
export const TOPOLOGY_HASH_INPUT = 'stillpoint-topology-1';

/**
 * SHA-256 over the nodes, sorted by id. Every field is preceded by its length (32 bits, big-endian) and null has a length of its
 * own, so that no two topologies have the same input.
 */
export function topologyHash(nodes: readonly TopologyNode[]): string {
  const hash = createHash('sha256');
  const add = (field: string | null) => {
    const bytes = Buffer.from(field ?? '');
    const length = Buffer.allocUnsafe(4);
    length.writeUInt32BE(field === null ? NULL_LENGTH : bytes.byteLength);
    hash.update(length).update(bytes);
  };
  add(TOPOLOGY_HASH_INPUT);
  for (const node of [...nodes].sort((a, b) => compareIds(a.targetId, b.targetId))) {
    for (const field of FIELDS) add(node[field]);
  }
  return hash.digest('hex');
}

const NULL_LENGTH = 0xffffffff;
const FIELDS = ['targetId', 'parent', 'role', 'identity', 'storeId', 'engine'] as const;

export const compareIds = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** What is different, in words; empty when nothing is. */
export function topologyChanges(before: readonly TopologyNode[], after: readonly TopologyNode[]): string[] {
  const changes: string[] = [];
  const found = new Map(after.map((node) => [node.targetId, node]));
  for (const old of before) {
    const now = found.get(old.targetId);
    found.delete(old.targetId);
    if (now === undefined) changes.push(`${old.targetId} is gone`);
    else
      for (const field of FIELDS) {
        if (old[field] === now[field]) continue;
        changes.push(`${old.targetId}: ${field} was ${old[field] ?? 'none'} and is ${now[field] ?? 'none'}`);
      }
  }
  for (const id of found.keys()) changes.push(`${id} is new`);
  return changes;
}
