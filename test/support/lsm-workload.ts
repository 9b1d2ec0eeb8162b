import { randomBytes } from 'node:crypto';
import type { LsmDatabase } from '../../src/lsm-database/database.ts';
import { openLsm } from '../../src/lsm-database/database.ts';

const WINDOW = 200;

/**
 * Writers at full speed whose every state can be recognised. Commit n of writer w puts `head:w` = n and `k:w:n`, and
 * deletes `k:w:(n - 200)`, in one batch; so the state of a writer after its commit n is known exactly, and which commits of
 * the others belong to it follows from their LSNs.
 */
export class Workload {
  readonly #database: LsmDatabase;
  readonly #writers: number;
  readonly #valueBytes: number;
  /** LSN of commit n of writer w, at [w][n - 1], once it is acknowledged. */
  readonly #lsns: bigint[][];
  readonly #acknowledged: number[];
  #isStopped = false;
  #running: Promise<unknown> = Promise.resolve();

  constructor(database: LsmDatabase, { writers = 4, valueBytes = 300 } = {}) {
    this.#database = database;
    this.#writers = writers;
    this.#valueBytes = valueBytes;
    this.#lsns = Array.from({ length: writers }, () => []);
    this.#acknowledged = new Array<number>(writers).fill(0);
  }

  start(): void {
    this.#running = Promise.all(this.#acknowledged.map((_, writer) => this.#write(writer)));
  }

  /** Resolves when every commit that was issued is acknowledged. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  /** The last acknowledged commit of each writer at this moment. */
  get acknowledged(): readonly number[] {
    return [...this.#acknowledged];
  }

  get commits(): number {
    return this.#acknowledged.reduce((sum, count) => sum + count, 0);
  }

  async #write(writer: number): Promise<void> {
    for (let n = 1; !this.#isStopped; n++) {
      const value = randomBytes(this.#valueBytes);
      const { lsn } = await this.#database.batch([
        { type: 'put', key: `head:${writer}`, value: String(n) },
        { type: 'put', key: keyOf(writer, n), value },
        { type: 'delete', key: keyOf(writer, n - WINDOW) },
      ]);
      this.#lsns[writer]![n - 1] = BigInt(lsn);
      this.#acknowledged[writer] = n;
    }
  }

  /**
   * What is wrong with a restored directory, nothing if it is one state that the database passed through with every commit
   * that was acknowledged `before` (invariant 5). Call it after `stop`: then the LSN of every commit is known.
   */
  async problemsOf(dir: string, before: readonly number[]): Promise<string[]> {
    const problems: string[] = [];
    const database = await openLsm(dir, { createIfMissing: false });
    try {
      const heads: number[] = [];
      for (let writer = 0; writer < this.#writers; writer++) {
        const head = Number((await database.get(`head:${writer}`))?.toString() ?? 0);
        heads.push(head);
        if (head < before[writer]!)
          problems.push(`writer ${writer}: ${before[writer]} was acknowledged, ${head} is there`);
        const there: string[] = [];
        for await (const [key] of database.iterate({ prefix: `k:${writer}:` })) there.push(key.toString());
        const wanted = Array.from({ length: Math.min(head, WINDOW) }, (_, i) =>
          keyOf(writer, head - i),
        ).sort();
        if (JSON.stringify(there) !== JSON.stringify(wanted)) {
          problems.push(
            `writer ${writer}: at commit ${head} there are ${there.length} keys, ${wanted.length} belong there`,
          );
        }
      }
      problems.push(...this.#gaps(heads));
    } finally {
      await database.close();
    }
    return problems;
  }

  /** A prefix of the commit order: no commit that is missing is older than one that is there. */
  #gaps(heads: readonly number[]): string[] {
    const lsnOf = (writer: number, n: number): bigint | undefined => this.#lsns[writer]![n - 1];
    const lsns = heads.map((head, writer) => lsnOf(writer, head) ?? 0n);
    const newest = lsns.sort((a, b) => Number(a - b)).at(-1) ?? 0n;
    return heads.flatMap((head, writer) => {
      const next = lsnOf(writer, head + 1);
      return next !== undefined && next < newest
        ? [`writer ${writer}: commit ${head + 1} (lsn ${next}) is missing and lsn ${newest} is there`]
        : [];
    });
  }
}

const keyOf = (writer: number, n: number): string => `k:${writer}:${String(n).padStart(9, '0')}`;

/** Small memtables, a small log and early compaction: whatever can happen beside a capture happens all the time. */
export const BUSY = {
  walGeometry: { segmentBytes: 256 * 1024, segmentCount: 4 },
  memtableBytes: 256 * 1024,
  compactAtTables: 4,
  verifyTablesOnOpen: false,
};
