import { CURRENT, logName, parseFileName, tableNames } from '../../format/leveldb/file-name.ts';
import { BYTEWISE_COMPARATOR } from '../../format/leveldb/internal-key.ts';
import type { ConsistencyCheck, FileCheck, FileCheckRequest } from '../engine.ts';
import type { Finding } from '../report.ts';
import type {
  ContentFacts,
  CurrentFacts,
  LeveldbFacts,
  LogFacts,
  ManifestFacts,
  TableFacts,
} from './facts.ts';

/** Java's engine (iq80) counts the end of an empty block to each table that a compaction wrote. */
const JAVA_MORE_BYTES = 4;

/** What must hold between the files of a database: CURRENT, the MANIFEST, its tables, and the logs after them. */
export function checkConsistency(
  checks: ReadonlyMap<string, FileCheck>,
  request: Omit<FileCheckRequest, 'path'>,
): ConsistencyCheck {
  if (request.level === 'files') return { findings: [] };
  return new Consistency(checks, request.live).run();
}

class Consistency {
  readonly #checks: ReadonlyMap<string, FileCheck>;
  readonly #live: boolean;
  readonly #findings: Finding[] = [];

  constructor(checks: ReadonlyMap<string, FileCheck>, live: boolean) {
    this.#checks = checks;
    this.#live = live;
  }

  run(): ConsistencyCheck {
    const current = this.#facts<CurrentFacts>(CURRENT, 'current');
    if (current === undefined)
      this.#error(CURRENT, 'LEVELDB_CURRENT_MISSING', `there is no CURRENT; ${this.#manifestsBeside()}`);
    const name = current?.manifest ?? undefined;
    if (current !== undefined && name === undefined)
      this.#error(CURRENT, 'LEVELDB_CURRENT', `${current.holds}; ${this.#manifestsBeside()}`);
    if (name === undefined) return this.#withoutState(['manifest', 'table', 'log']);
    if (!this.#checks.has(name)) {
      const message = `names ${name}, which does not exist; ${this.#manifestsBeside()}`;
      this.#error(CURRENT, 'LEVELDB_MANIFEST_MISSING', message);
    }
    this.#checkMembers('manifest', (path) => path === name, 'LEVELDB_MANIFEST_NOT_CURRENT');
    const manifest = this.#facts<ManifestFacts>(name, 'manifest');
    if (manifest === undefined) return this.#withoutState(['table', 'log']);
    this.#checkTables(manifest);
    const last = this.#checkLogs(manifest);
    return { findings: this.#findings, counts: { walLastLsn: last === undefined ? null : String(last) } };
  }

  /** The MANIFESTs that `CURRENT` could name: those that can be read from begin to end. */
  #manifestsBeside(): string {
    const whole = this.#paths('manifest').filter((path) => {
      const { findings } = this.#checks.get(path)!;
      const all = [...findings, ...(this.#factsOf(path)?.deferred ?? [])];
      const hasError = all.some(({ severity }) => severity === 'error');
      return this.#facts<ManifestFacts>(path, 'manifest') !== undefined && !hasError;
    });
    return whole.length === 0 ? 'no whole MANIFEST lies beside' : `whole beside: ${whole.join(', ')}`;
  }

  /** Without a MANIFEST nothing says which files are in use, so all of them count. */
  #withoutState(kinds: readonly ContentFacts['kind'][]): ConsistencyCheck {
    for (const kind of kinds) {
      for (const path of this.#paths(kind)) this.#findings.push(...(this.#factsOf(path)?.deferred ?? []));
    }
    return { findings: this.#findings };
  }

  #checkTables(manifest: ManifestFacts): void {
    const live = new Set<string>();
    for (const listing of manifest.tables) {
      const names = tableNames(listing.number);
      const path = names.find((name) => this.#checks.has(name));
      if (path === undefined) {
        this.#error(names[0], 'LEVELDB_TABLE_MISSING', 'the MANIFEST names it, and it does not exist');
        continue;
      }
      live.add(path);
      const { sizeBytes, findings } = this.#checks.get(path)!;
      const table = this.#facts<TableFacts>(path, 'table');
      const isWhole = table !== undefined && findings.every(({ severity }) => severity !== 'error');
      const message = `${sizeBytes} bytes; the MANIFEST says ${listing.sizeBytes}`;
      if (isWhole && listing.sizeBytes - sizeBytes === JAVA_MORE_BYTES)
        this.#add(path, 'LEVELDB_TABLE_SIZE_JAVA', message, 'warning');
      else if (sizeBytes !== listing.sizeBytes) this.#error(path, 'LEVELDB_TABLE_SIZE', message);
      if (table === undefined) continue;
      for (const side of ['smallest', 'largest'] as const) {
        if (table[side] === null || table[side] === listing[side]) continue;
        this.#error(path, 'LEVELDB_TABLE_BOUNDS', `its ${side} key is not the one in the MANIFEST`);
      }
      if (BigInt(table.maxSequence) > BigInt(manifest.lastSequence)) {
        const message = `sequence ${table.maxSequence} is beyond the MANIFEST's last, ${manifest.lastSequence}`;
        this.#error(path, 'LEVELDB_TABLE_SEQUENCE', message);
      }
      if (manifest.comparator === BYTEWISE_COMPARATOR) this.#findings.push(...table.order);
    }
    this.#checkMembers('table', (path) => live.has(path), 'LEVELDB_TABLE_NOT_LIVE');
  }

  /** Returns the sequence of the last operation in the logs. */
  #checkLogs(manifest: ManifestFacts): bigint | undefined {
    const { logNumber, prevLogNumber } = manifest;
    for (const number of [logNumber, prevLogNumber]) {
      // A database that was just created or repaired has no log yet and says 0.
      if (number === 0 || this.#checks.has(logName(number))) continue;
      this.#error(logName(number), 'LEVELDB_LOG_MISSING', 'the MANIFEST names it, and it does not exist');
    }
    const isNeeded = (path: string): boolean => {
      const number = parseFileName(path)!.number;
      return number >= logNumber || (number === prevLogNumber && number !== 0);
    };
    this.#checkMembers('log', isNeeded, 'LEVELDB_LOG_NOT_NEEDED');

    const needed = this.#paths('log').filter(isNeeded);
    let next: bigint | undefined;
    let last: bigint | undefined;
    needed.forEach((path, index) => {
      const log = this.#facts<LogFacts>(path, 'log');
      if (log === undefined) return;
      if (log.tornAt !== null && this.#live) {
        const isLast = index === needed.length - 1;
        const message = isLast
          ? 'the last record is not complete'
          : 'a newer log follows an incomplete record';
        this.#add(path, 'LEVELDB_LOG_TORN', message, isLast ? 'warning' : 'error', log.tornAt);
      }
      if (log.first === null || log.next === null) return;
      const first = BigInt(log.first);
      const follows = next === undefined ? first <= BigInt(manifest.lastSequence) + 1n : first === next;
      if (!follows) {
        const expected = next ?? `at most ${BigInt(manifest.lastSequence) + 1n}`;
        this.#error(path, 'LEVELDB_LOG_GAP', `begins with sequence ${first}, expected ${expected}`);
      }
      next = BigInt(log.next);
      if (next > first) last = next - 1n;
    });
    return last;
  }

  /** Findings of the files in use, and files that are not in use. In a live directory the latter are normal: left over from a crash, or being written. */
  #checkMembers(kind: ContentFacts['kind'], belongs: (path: string) => boolean, code: string): void {
    for (const path of this.#paths(kind)) {
      if (belongs(path)) {
        this.#findings.push(...(this.#factsOf(path)?.deferred ?? []));
        continue;
      }
      this.#add(path, code, 'is no part of the state', this.#live ? 'warning' : 'error');
    }
  }

  /** Paths of a kind in the order of their numbers. */
  #paths(kind: ContentFacts['kind']): string[] {
    const numberOf = (path: string): number => parseFileName(path)!.number;
    return [...this.#checks.keys()]
      .filter((path) => parseFileName(path)?.kind === kind)
      .sort((a, b) => numberOf(a) - numberOf(b));
  }

  #facts<T extends ContentFacts>(path: string, kind: T['kind']): T | undefined {
    const content = this.#factsOf(path)?.content;
    return content?.kind === kind ? (content as T) : undefined;
  }

  #factsOf(path: string): LeveldbFacts | undefined {
    return this.#checks.get(path)?.facts as LeveldbFacts | undefined;
  }

  #error(path: string, code: string, message: string): void {
    this.#add(path, code, message, 'error');
  }

  #add(path: string, code: string, message: string, severity: Finding['severity'], offset?: number): void {
    this.#findings.push({ path, offset: offset ?? null, code, severity, message });
  }
}
