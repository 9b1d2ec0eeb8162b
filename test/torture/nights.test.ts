import {
  appendFileSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { FileSystem, OpenFile } from '../../src/env/file-system.ts';
import { inlinePool } from '../../src/env/worker-pool.ts';
import { BackupCoordinator, Lifecycle, openLsm, Snapshots, StillpointError } from '../../src/index.ts';
import { LEVELS, type Level } from '../../src/options/choices.ts';
import type { Environment } from '../../src/snapshot/environment.ts';
import { TASKS } from '../../src/snapshot/tasks/tasks.ts';
import { chanceFrom } from '../support/chance.ts';
import { inlineEnvironment } from '../support/inline.ts';
import { temporaryFolder } from '../support/temp.ts';
import { perTier, SEED } from '../support/tier.ts';

/*
 * Night after night by a fast clock: a snapshot of some level, a proof, a prune, damage, a full disk, in any mixture. There is never
 * a moment without the newest snapshot of the deepest proof that is not known to be damaged (invariant 12), and what is known is true.
 */

const NIGHTS = perTier(20, 1000);
const DAY_MS = 86_400_000;
const GEOMETRY = { segmentBytes: 2048, segmentCount: 4 };

/** A file system whose disk takes no more than `room` bytes. */
class Disk {
  room = Number.POSITIVE_INFINITY;

  around(fs: FileSystem): FileSystem {
    const take = (bytes: number): void => {
      if (bytes > this.room) throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
      this.room -= bytes;
    };
    const give = async (path: string): Promise<void> => {
      const stat = await fs.inspect(path);
      if (stat?.kind === 'file' && stat.links === 1) this.room += stat.sizeBytes;
    };
    return {
      ...fs,
      removeFile: async (path) => {
        await give(path);
        await fs.removeFile(path);
      },
      rename: async (from, to) => {
        await give(to);
        await fs.rename(from, to);
      },
      freeBytes: async (path) => Math.min(this.room, await fs.freeBytes(path)),
      open: async (path, how, pastCache) => {
        if (how === 'create') take(1);
        const file = await fs.open(path, how, pastCache);
        return Object.assign(Object.create(file) as OpenFile, {
          write: async (source: Uint8Array, position: number) => {
            take(source.byteLength);
            return file.write(source, position);
          },
        });
      },
    };
  }
}

/** What a snapshot was when it was published, by which file on the disk each of its paths is. */
interface Taken {
  readonly level: Level;
  readonly sizes: ReadonlyMap<string, number>;
}

interface Best {
  readonly name: string;
  readonly depth: number;
}

class Nights {
  readonly #chance: () => number;
  readonly #what: string;
  readonly #taken = new Map<string, Taken>();
  /** Files on the disk whose bytes were changed; `true` once a proof has read them since. Snapshots share files. */
  readonly #rotten = new Map<number, boolean>();
  readonly #disk = new Disk();
  readonly #environment: Environment;
  #nowMs = Date.now();
  #dir = '';
  readonly counts = { nights: 0, taken: 0, refused: 0, full: 0, damaged: 0, pruned: 0 };

  constructor(seed: number) {
    this.#chance = chanceFrom(seed);
    this.#what = `seed ${seed}`;
    const fs = this.#disk.around(inlineEnvironment.fs);
    const clock = { ...inlineEnvironment.clock, nowMs: () => this.#nowMs };
    this.#environment = { ...inlineEnvironment, fs, clock, pool: inlinePool(TASKS, fs) };
  }

  #below = (limit: number): number => Math.floor(this.#chance() * limit);
  #pick = <T>(from: readonly T[]): T => from[this.#below(from.length)]!;

  async run(nights: number): Promise<void> {
    this.#dir = join(await temporaryFolder(), 'data');
    const options = { walGeometry: GEOMETRY, compactAtTables: 6 };
    const database = await openLsm(this.#dir, options);
    const environment = this.#environment;
    const lifecycle = new Lifecycle({ dataDir: this.#dir, environment });
    const backup = new BackupCoordinator({
      dataDir: this.#dir,
      lifecycle,
      checkpoint: () => database.hold(),
    });
    const store = new Snapshots({ dataDir: this.#dir, environment });
    await this.#snapshot(backup);
    for (let night = 0; night < nights; night++) {
      this.#nowMs += this.#below(20) === 0 ? -3_600_123 : DAY_MS + this.#below(1000);
      this.counts.nights++;
      const told = `${this.#what}, night ${night}`;
      await database.put(`key ${this.#below(40)}`, Buffer.alloc(this.#below(200), `${night}`));
      if (this.#below(3) === 0) await database.checkpoint();
      const works = [
        () => this.#snapshot(backup),
        () => this.#prove(store),
        () => this.#prune(store),
        () => this.#damage(),
      ];
      // A snapshot each night, the others in any order around it.
      let best = await this.#best(store, told);
      for (const work of [this.#pick(works), works[0]!, this.#pick(works), this.#pick(works)]) {
        this.#disk.room = this.#below(6) === 0 ? this.#below(12_000) : Number.POSITIVE_INFINITY;
        if (this.#disk.room < 12_000) this.counts.full++;
        const hurt = await work();
        this.#disk.room = Number.POSITIVE_INFINITY;
        const after = await this.#best(store, told);
        if (best !== undefined && !hurt) this.#expectKept(best, after, told);
        best = after;
      }
    }
    await database.close();
  }

  get #backups(): string {
    return join(this.#dir, '.lifecycle/backup');
  }

  #place(name: string, path: string): string {
    return join(this.#backups, name, path);
  }

  async #snapshot(backup: BackupCoordinator): Promise<void> {
    const level = this.#pick(LEVELS);
    const keep = this.#below(2) === 0 ? { keep: 1 + this.#below(4) } : {};
    const mode = this.#pick(['copy', 'copy', 'link'] as const);
    try {
      const taken = await backup.backup({ level, mode, reuse: this.#below(3) > 0, ...keep });
      this.#remember(taken.name, level);
      this.counts.taken++;
    } catch (error) {
      this.#expectRefused(error);
    }
    // One that failed behind its publication stands there, too, whole and proven.
    for (const name of readdirSync(this.#backups))
      if (name.startsWith('ts-') && !this.#taken.has(name)) this.#remember(name, level);
  }

  #expectRefused(error: unknown): void {
    expect(error, this.#what).toBeInstanceOf(StillpointError);
    expect(['NO_SPACE', 'IO_ERROR', 'VERIFY_FAILED', 'SOURCE_DAMAGED'], `${this.#what}: ${error}`).toContain(
      (error as StillpointError).code,
    );
    this.counts.refused++;
  }

  #remember(name: string, level: Level): void {
    const paths = readdirSync(join(this.#backups, name), { recursive: true, encoding: 'utf8' });
    const files = paths.filter((path) => statSync(this.#place(name, path)).isFile());
    const sizes = new Map(files.map((path) => [path, statSync(this.#place(name, path)).size]));
    this.#taken.set(name, { level, sizes });
  }

  async #prove(store: Snapshots): Promise<void> {
    const level = this.#pick(LEVELS);
    if (this.#below(2) === 0) {
      const report = await store.verifyAll({ level }).catch((error) => this.#expectRefused(error));
      if (report !== undefined) for (const file of this.#rotten.keys()) this.#rotten.set(file, true);
      return;
    }
    const names = this.#names();
    if (names.length === 0) return;
    const name = this.#pick(names);
    const isWhole = this.#isWhole(name);
    const report = await store.verify(name, { level }).catch((error) => this.#expectRefused(error));
    if (report === undefined) return;
    expect(report.ok, `${this.#what}: ${name}, ${JSON.stringify(report.findings)}`).toBe(isWhole);
    for (const file of this.#filesOf(name)) if (this.#rotten.has(file)) this.#rotten.set(file, true);
  }

  async #prune(store: Snapshots): Promise<void> {
    const before = this.#names().length;
    await store.prune({ keep: 1 + this.#below(5) }).catch((error) => this.#expectRefused(error));
    this.counts.pruned += before - this.#names().length;
  }

  /** Resolves to true: what was hurt need not be whole any more. */
  async #damage(): Promise<true> {
    const names = this.#names();
    // Not everything at once, or nothing would be left to promise anything of.
    if (names.length < 2 || this.#below(3) > 0) return true;
    const name = this.#pick(names);
    const path = this.#pick([...this.#taken.get(name)!.sizes.keys()]);
    const place = this.#place(name, path);
    const stat = statSync(place, { throwIfNoEntry: false });
    if (stat === undefined || stat.size === 0 || stat.nlink > 3) return true;
    // A snapshot in mode `link` shares its tables with the database, which must live on.
    if (
      path.startsWith('sst/') &&
      readdirSync(join(this.#dir, 'sst')).some((table) => {
        const live = statSync(join(this.#dir, 'sst', table), { throwIfNoEntry: false });
        return live?.ino === stat.ino;
      })
    )
      return true;
    this.counts.damaged++;
    const how = this.#below(4);
    if (how === 0) rmSync(place);
    else if (how === 1) truncateSync(place, this.#below(stat.size));
    else if (how === 2) appendFileSync(place, 'more');
    else {
      const bytes = readFileSync(place);
      bytes[this.#below(bytes.length)]! ^= 1 << this.#below(8);
      writeFileSync(place, bytes, { flag: 'r+' });
    }
    if (how > 0) this.#rotten.set(stat.ino, false);
    return true;
  }

  #names(): string[] {
    return readdirSync(this.#backups).filter((name) => this.#taken.has(name));
  }

  #filesOf(name: string): number[] {
    return [...this.#taken.get(name)!.sizes.keys()].flatMap((path) => {
      return statSync(this.#place(name, path), { throwIfNoEntry: false })?.ino ?? [];
    });
  }

  #isWhole(name: string): boolean {
    return this.#hasAllSizes(name) && this.#filesOf(name).every((file) => !this.#rotten.has(file));
  }

  #hasAllSizes(name: string): boolean {
    return [...this.#taken.get(name)!.sizes].every(
      ([path, size]) => statSync(this.#place(name, path), { throwIfNoEntry: false })?.size === size,
    );
  }

  /** It is there and whole, or a newer one is whose proof is as deep. */
  #expectKept(before: Best, after: Best = { name: 'none', depth: -1 }, told: string): void {
    if (after.name === before.name) return;
    const what = `${told}: ${before.name} of depth ${before.depth} gave way to ${after.name}`;
    expect(after.depth, what).toBeGreaterThanOrEqual(before.depth);
  }

  /** The snapshot that must not go: the newest of the deepest proof that is whole, unless damage that nobody has seen is in the way. */
  async #best(store: Snapshots, told: string): Promise<Best | undefined> {
    const { snapshots, latestGood } = await store.list();
    for (const { name, state, damage } of snapshots) {
      if (!this.#taken.has(name)) continue;
      const wrong = `${told}: ${name} is ${state} (${damage})`;
      if (this.#isWhole(name)) expect(state, wrong).not.toBe('damaged');
      const isSeen = this.#filesOf(name).some((file) => this.#rotten.get(file) === true);
      if (isSeen || !this.#hasAllSizes(name)) expect(state, wrong).not.toBe('good');
    }
    // A clock that was set back gives later ones smaller names.
    const good = snapshots.filter(({ state }) => state === 'good').sort((a, b) => a.sequence! - b.sequence!);
    const depth = Math.max(...good.map(({ level }) => LEVELS.indexOf(level!)));
    const best = good.filter(({ level }) => LEVELS.indexOf(level!) === depth).at(-1)?.name;
    expect(latestGood, told).toBe(best ?? null);
    return best !== undefined && this.#taken.has(best) && this.#isWhole(best)
      ? { name: best, depth }
      : undefined;
  }
}

const seeds = Array.from({ length: perTier(1, 200) }, (_, i) => SEED + i);
const totals: Nights['counts'][] = [];

test.each(seeds)(
  `seed %i: the newest good snapshot outlives ${NIGHTS} nights (invariant 12)`,
  async (seed) => {
    const nights = new Nights(seed);
    await nights.run(NIGHTS);
    console.log(JSON.stringify({ seed, ...nights.counts }));
    totals.push(nights.counts);
  },
);

test('and each thing happened in some night', () => {
  const kinds = Object.keys(totals[0]!) as (keyof Nights['counts'])[];
  for (const kind of kinds) {
    const sum = totals.reduce((all, counts) => all + counts[kind], 0);
    expect(sum, kind).toBeGreaterThan(0);
  }
});
