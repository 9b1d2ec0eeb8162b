import type { TableEntry } from '../format/lsm/table-block.ts';
import type { WalOp } from '../format/lsm/wal-entry.ts';

const MAX_HEIGHT = 14;
/** What a node, its links and a version cost beside their bytes, roughly. */
const NODE_BYTES = 160;
const NO_BYTES = Buffer.alloc(0);

interface Version {
  readonly lsn: bigint;
  readonly sequence: bigint;
  /** Absent for a tombstone. */
  readonly value: Buffer | undefined;
  readonly older: Version | undefined;
}

interface Node {
  readonly key: Buffer;
  newest: Version;
  readonly next: (Node | undefined)[];
}

/**
 * The newest commits, sorted by key: a skip list. Nothing is ever taken out and each key keeps its versions, newest first, so
 * a walk that knows the LSN of its view sees one state, however many commits arrive while it goes on.
 */
export class Memtable {
  readonly #head: (Node | undefined)[] = new Array(MAX_HEIGHT).fill(undefined);
  #height = 1;
  // Any seed does: it spreads the heights of nodes, and nobody else's choice of keys depends on it.
  #random = 0x9e3779b9;
  #bytes = 0;
  #keyCount = 0;
  #lastLsn = 0n;

  /** Roughly what it takes in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  get keyCount(): number {
    return this.#keyCount;
  }

  /** LSN of the last commit in it; 0 if it is empty. */
  get lastLsn(): bigint {
    return this.#lastLsn;
  }

  /** Takes over the bytes of the operations. LSNs rise from call to call. */
  apply(lsn: bigint, ops: readonly WalOp[]): void {
    for (const [i, op] of ops.entries()) {
      this.#insert(
        lsn,
        BigInt(i + 1),
        op.key as Buffer,
        op.type === 'put' ? (op.value as Buffer) : undefined,
      );
    }
    this.#lastLsn = lsn;
  }

  /** The newest version of a key not above `lsn`. */
  get(key: Buffer, lsn: bigint): TableEntry | undefined {
    const node = this.#seek(key);
    return node?.key.equals(key) ? visible(node, lsn) : undefined;
  }

  /** The newest version of each key not above `lsn`, ascending from `from`. Later inserts do not disturb it. */
  *ascending(lsn: bigint, from?: Buffer): Generator<TableEntry, void> {
    let node = from === undefined ? this.#head[0] : this.#seek(from);
    for (; node !== undefined; node = node.next[0]) {
      const entry = visible(node, lsn);
      if (entry !== undefined) yield entry;
    }
  }

  /** The same, descending from the last key that is not above `from`. */
  *descending(lsn: bigint, from?: Buffer): Generator<TableEntry, void> {
    let node = this.#last((key) => from === undefined || key.compare(from) <= 0);
    while (node !== undefined) {
      const entry = visible(node, lsn);
      if (entry !== undefined) yield entry;
      const bound: Buffer = node.key;
      node = this.#last((key) => key.compare(bound) < 0);
    }
  }

  #insert(lsn: bigint, sequence: bigint, key: Buffer, value: Buffer | undefined): void {
    const before: (Node | undefined)[][] = new Array(MAX_HEIGHT);
    const found = this.#seek(key, before);
    this.#bytes += NODE_BYTES + key.byteLength + (value?.byteLength ?? 0);
    if (found?.key.equals(key)) {
      found.newest = { lsn, sequence, value, older: found.newest };
      return;
    }
    const height = this.#pickHeight();
    for (; this.#height < height; this.#height++) before[this.#height] = this.#head;
    const node: Node = { key, newest: { lsn, sequence, value, older: undefined }, next: [] };
    for (let level = 0; level < height; level++) {
      node.next[level] = before[level]![level];
      before[level]![level] = node;
    }
    this.#keyCount++;
  }

  /** The first node not below `key`; `before` gets the links that lead there, one list of them for each level. */
  #seek(key: Buffer, before?: (Node | undefined)[][]): Node | undefined {
    let links = this.#head;
    for (let level = this.#height - 1; level >= 0; level--) {
      let next = links[level];
      while (next !== undefined && next.key.compare(key) < 0) {
        links = next.next;
        next = links[level];
      }
      if (before !== undefined) before[level] = links;
    }
    return links[0];
  }

  /** The last node whose key is `within`; keys are within up to some point and not after it. */
  #last(within: (key: Buffer) => boolean): Node | undefined {
    let node: Node | undefined;
    for (let level = this.#height - 1; level >= 0; level--) {
      let next = (node?.next ?? this.#head)[level];
      while (next !== undefined && within(next.key)) {
        node = next;
        next = node.next[level];
      }
    }
    return node;
  }

  /** One node in four is one level higher than the others. (xorshift32, George Marsaglia) */
  #pickHeight(): number {
    this.#random ^= this.#random << 13;
    this.#random ^= this.#random >>> 17;
    this.#random ^= this.#random << 5;
    const zeroBits = Math.clz32(this.#random >>> 0 || 1);
    return Math.min(1 + (zeroBits >> 1), MAX_HEIGHT);
  }
}

function visible(node: Node, lsn: bigint): TableEntry | undefined {
  let version: Version | undefined = node.newest;
  while (version !== undefined && version.lsn > lsn) version = version.older;
  if (version === undefined) return undefined;
  return {
    type: version.value === undefined ? 'delete' : 'put',
    timestamp: version.lsn,
    sequence: version.sequence,
    key: node.key,
    value: version.value ?? NO_BYTES,
  };
}
