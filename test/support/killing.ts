import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Lifecycle, RestoreCoordinator, Snapshots, verifySnapshot } from '../../src/index.ts';
import { compareNames } from '../../src/snapshot/store/layout.ts';
import { type Death, type Flow, Host } from './host.ts';
import { type EngineUnderTest, type Heads, headsIn, headsOf, openDatabase } from './host-database.ts';
import { inlineEnvironment } from './inline.ts';
import { seeded } from './seeded.ts';

export interface KillingOptions {
  /** An empty folder, for the data directory and for clones of it. */
  readonly root: string;
  readonly engine: EngineUnderTest;
  readonly kills: number;
  readonly seed: number;
  /** Which flow comes first; after that they take turns. Default 0. */
  readonly first?: number;
  readonly onKill?: (summary: KillingSummary) => void;
}

export interface KillingSummary {
  kills: number;
  /** Writes that were acknowledged and asked for afterwards. */
  acknowledged: number;
  snapshotsVerified: number;
  /** Restores and undos whose new state stood after the kill. */
  exchanged: number;
  /** Runs that read as interrupted afterwards. */
  interrupted: number;
  undos: number;
  /** How many deaths fell into which phase of which flow. */
  readonly deaths: Record<string, number>;
}

const SNAPSHOT = ['checkpoint', 'capture', 'copy', 'seal', 'prove', 'publish', 'mark', 'end'];
const EXCHANGE = ['close', 'swap', 'open', 'end'];

/** What is done under load, with the phases that it tells of. Where there is none, the changes on disk are counted. */
export const FLOWS: readonly { name: string; flow: Flow; phases?: readonly string[]; command?: object }[] = [
  { name: 'full', flow: 'snapshot', phases: SNAPSHOT, command: { options: { reuse: false } } },
  { name: 'incremental', flow: 'snapshot', phases: SNAPSHOT, command: { options: { keep: 3 } } },
  { name: 'link', flow: 'snapshot', phases: SNAPSHOT, command: { options: { mode: 'link' } } },
  { name: 'export', flow: 'snapshot', phases: SNAPSHOT, command: { options: { kind: 'export' } } },
  { name: 'restore', flow: 'restore', phases: ['stage', ...EXCHANGE] },
  { name: 'undo', flow: 'undo', phases: EXCHANGE },
  { name: 'into', flow: 'into' },
  { name: 'verify', flow: 'verify' },
  { name: 'prune', flow: 'prune', command: { keep: 2 } },
  { name: 'delete', flow: 'delete' },
  { name: 'compact', flow: 'compact' },
];

/**
 * One process after another that hosts a database under writes and does one flow, killed by SIGKILL at a named phase of it, at a
 * change on disk, or at a random moment. After each death: what was acknowledged is there, or in the undo folder of a restore that
 * came to its end; a restored state is exactly that of its source; `latest` is the old value or the new one; nothing partial is
 * left; every snapshot verifies and holds what had been acknowledged; no run reads as running; and now and then an undo, and its
 * undo. Throws at the first broken promise, with the seed.
 */
export async function killAgainAndAgain(options: KillingOptions): Promise<KillingSummary> {
  const killing = new Killing(options);
  try {
    return await killing.run();
  } catch (error) {
    const { engine, seed } = options;
    throw new Error(
      `${engine}, kill ${killing.summary.kills + 1}, seed ${seed}, ${killing.now}: ${error instanceof Error ? error.stack : error}`,
    );
  }
}

/** How things stood when the flow began. */
interface Before {
  readonly latest: string | null;
  readonly names: readonly string[];
  readonly undo: readonly string[];
  /** How often a database had been opened. */
  readonly openings: number;
  readonly promised: Heads;
}

class Killing {
  readonly summary: KillingSummary = {
    kills: 0,
    acknowledged: 0,
    snapshotsVerified: 0,
    exchanged: 0,
    interrupted: 0,
    undos: 0,
    deaths: {},
  };
  /** What is being tried, for whoever reads of a failure. */
  now = '';
  readonly #options: KillingOptions;
  readonly #engine: EngineUnderTest;
  readonly #dir: string;
  readonly #random: () => number;
  /** How many changes on disk each flow made when nobody killed it. */
  readonly #operations = new Map<string, number>();
  /** The state in each snapshot, undo folder and export that is known. */
  readonly #heads = new Map<string, Heads>();
  #next: Host;

  constructor(options: KillingOptions) {
    this.#options = options;
    this.#engine = options.engine;
    this.#dir = join(options.root, 'data');
    this.#random = seeded(options.seed);
    this.#next = new Host();
  }

  async run(): Promise<KillingSummary> {
    mkdirSync(this.#dir, { recursive: true });
    try {
      while (this.summary.kills < this.#options.kills) {
        await this.#liveAndDie((this.#options.first ?? 0) + this.summary.kills);
        this.summary.kills++;
        this.#options.onKill?.(this.summary);
      }
    } finally {
      await this.#next.kill();
    }
    return this.summary;
  }

  async #liveAndDie(round: number): Promise<void> {
    const { name, flow, phases, command } = FLOWS[round % FLOWS.length]!;
    const host = this.#next;
    await host.start(this.#engine, this.#dir);
    // While this one lives, the next one loads its modules.
    this.#next = new Host();
    await this.#prepare(host, flow);
    await setTimeout(this.#random() * 100);
    const death = this.#death(name, phases);
    this.now = `${name} ${JSON.stringify(death)}`;
    const before = await this.#look(host);
    const target = join(this.#options.root, 'restored');
    const reply = await host.ask({ do: flow, death, ...command, ...(flow === 'into' && { target }) });
    if (reply !== undefined) {
      if (reply.code !== undefined) throw new Error(`failed: ${reply.code}: ${reply.message}`);
      this.#operations.set(name, reply.operations);
      await setTimeout(this.#random() * 20);
    }
    await (reply === undefined ? host.ended : host.kill());
    if (!host.wasKilled) throw new Error(`the host ended of itself: ${host.errors}`);
    const place = `${name} ${reply === undefined ? host.phase : 'after'}`;
    this.summary.deaths[place] = (this.summary.deaths[place] ?? 0) + 1;
    if (host.refused.length > 0) throw new Error(`writes were refused: ${host.refused}`);
    await this.#check(host, flow, before, reply?.value);
    if (flow === 'into') await this.#checkTarget(target, reply !== undefined);
  }

  /** What the flow needs to find: snapshots, or something to undo. */
  async #prepare(host: Host, flow: Flow): Promise<void> {
    const wanted = { prune: 4, delete: 2, snapshot: 0 }[flow as string] ?? 1;
    // A death between publishing and marking leaves a snapshot that is whole, and that `latest` does not name.
    for (;;) {
      const { latest, snapshots } = await new Snapshots({ dataDir: this.#dir }).list();
      if (snapshots.length >= wanted && (wanted === 0 || latest !== null)) break;
      await host.do({ do: 'snapshot' });
    }
    if (flow === 'undo' && this.#undoFolders().length === 0) await host.do({ do: 'restore' });
  }

  #death(name: string, phases: readonly string[] | undefined): Death {
    const kind = this.#random();
    if (phases !== undefined && kind < 0.5) {
      const phase = phases[Math.floor(this.#random() * phases.length)]!;
      return this.#random() < 0.5 ? { phase } : { phase, afterMs: Math.floor(this.#random() * 15) };
    }
    if (kind < 0.85) {
      const last = this.#operations.get(name) ?? 20;
      return { operation: 1 + Math.floor(this.#random() * last), isAfter: this.#random() < 0.5 };
    }
    return { afterMs: Math.floor(this.#random() * 150) };
  }

  async #look(host: Host): Promise<Before> {
    for (const folder of this.#heads.keys()) if (!existsSync(folder)) this.#heads.delete(folder);
    const { latest, snapshots } = await new Snapshots({ dataDir: this.#dir }).list();
    const undo = this.#undoFolders();
    for (const { location } of snapshots) await this.#headsOfFolder(location);
    for (const folder of undo) await this.#headsOfFolder(folder);
    const { openings, acknowledged } = host;
    const names = snapshots.map(({ name }) => name);
    return { latest, names, undo, openings: openings.length, promised: [...acknowledged] };
  }

  async #check(host: Host, flow: Flow, before: Before, value: unknown): Promise<void> {
    const lifecycle = new Lifecycle({ dataDir: this.#dir, environment: inlineEnvironment });
    this.summary.interrupted += (await lifecycle.recover()).interrupted.length;
    const database = await openDatabase(this.#engine, this.#dir);
    const present = headsOf(await database.entries());
    await database.close();
    const records = await lifecycle.runs();
    for (const { kind, state } of records) {
      if (state.status === 'completed' || state.code === 'INTERRUPTED') continue;
      throw new Error(`a ${kind} reads as ${state.status} (${state.code}: ${state.reason})`);
    }
    const source = records.findLast(({ kind }) => kind === 'restore' || kind === 'undo')?.location;
    await this.#checkState(host, before, present, source);
    this.#checkOrder();
    await this.#checkSnapshots(host, flow, before, value);
    if (this.summary.kills % 10 === 9 && this.#undoFolders().length > 0) await this.#checkUndo(lifecycle);
    for (const folder of this.#undoFolders().slice(0, -3)) rmSync(folder, { recursive: true });
    this.summary.acknowledged += sum(host.acknowledged) - sum(host.openings.at(-1)!.found);
  }

  /** The database is what it was, with every acknowledged write, or exactly what was restored, with every one since. */
  async #checkState(host: Host, before: Before, present: Heads, source: string | undefined): Promise<void> {
    const opening = host.openings[before.openings];
    const replaced = this.#undoFolders().find((folder) => !before.undo.includes(folder) && !isEmpty(folder));
    if (opening !== undefined && replaced === undefined)
      throw new Error('a restored state was opened, and what it replaced is gone');
    within('the database', present, opening === undefined && replaced ? [] : host.acknowledged);
    if (replaced === undefined) return;
    this.summary.exchanged++;
    within('the undo folder', await this.#headsOfFolder(replaced), opening?.before ?? host.acknowledged);
    const restored = String(this.#heads.get(source!));
    if (String(opening?.found ?? present) !== restored)
      throw new Error(`restored is ${opening?.found ?? present}, and ${source} holds ${restored}`);
  }

  #checkOrder(): void {
    const lifecycle = join(this.#dir, '.lifecycle');
    const names = (folder: string) => (existsSync(folder) ? readdirSync(folder) : []);
    const left = [
      ...names(join(lifecycle, 'restore')),
      ...['backup', 'export', 'archive'].flatMap((kind) =>
        names(join(lifecycle, kind)).filter((name) => name.startsWith('.')),
      ),
    ];
    if (left.length > 0) throw new Error(`left over after a restart: ${left}`);
  }

  async #checkSnapshots(host: Host, flow: Flow, before: Before, value: unknown): Promise<void> {
    const { latest, snapshots } = await new Snapshots({ dataDir: this.#dir }).list();
    const isNew = (name: string) => !before.names.includes(name);
    for (const { name, location, problem } of snapshots) {
      if (problem !== null) throw new Error(`${name}: ${problem}`);
      const { ok, findings } = await verifySnapshot(location, { environment: inlineEnvironment });
      if (!ok) throw new Error(`${name} does not verify: ${JSON.stringify(findings)}`);
      this.summary.snapshotsVerified++;
      if (!isNew(name)) continue;
      if (flow !== 'snapshot') throw new Error(`${name} came out of nothing`);
      within(name, await this.#headsOfFolder(location), before.promised, next(host.acknowledged));
    }
    if (latest !== before.latest && (flow !== 'snapshot' || latest === null || !isNew(latest)))
      throw new Error(`latest was ${before.latest} and is ${latest}`);
    const { name, location } = (flow === 'snapshot' && (value as { name: string; location: string })) || {};
    if (name !== undefined && !location!.includes('/export/') && latest !== name)
      throw new Error(`${name} was reported, and latest is ${latest}`);
    const all = snapshots.map((snapshot) => snapshot.name);
    if (
      flow !== 'snapshot' &&
      value === undefined &&
      flow !== 'prune' &&
      flow !== 'delete' &&
      all.length < before.names.length
    )
      throw new Error(`snapshots vanished: ${before.names} were there, ${all} are`);
  }

  /** There and back: what is undone twice is as before. */
  async #checkUndo(lifecycle: Lifecycle): Promise<void> {
    const restore = new RestoreCoordinator({ dataDir: this.#dir, lifecycle });
    const scratch = join(this.#options.root, 'undone');
    const now = await headsIn(this.#engine, this.#dir, scratch);
    const [newest] = this.#undoFolders()
      .filter((folder) => !isEmpty(folder))
      .slice(-1);
    const expected = await this.#headsOfFolder(newest!);
    for (const wanted of [expected, now]) {
      await restore.undo();
      const found = await headsIn(this.#engine, this.#dir, scratch);
      if (String(found) !== String(wanted)) throw new Error(`undo leads to ${found}, not to ${wanted}`);
      this.summary.undos++;
    }
    this.#heads.clear(); // the names of undo folders have been given anew
  }

  async #checkTarget(target: string, isDone: boolean): Promise<void> {
    if (existsSync(target)) {
      const { latest } = await new Snapshots({ dataDir: this.#dir }).list();
      const wanted = await this.#headsOfFolder(join(this.#dir, '.lifecycle/backup', latest!));
      const found = await headsIn(this.#engine, target, join(this.#options.root, 'read'));
      if (String(found) !== String(wanted)) throw new Error(`restored is ${found}, not ${wanted}`);
    } else if (isDone) throw new Error('a restore into a folder was reported, and there is none');
    // What a killed restore leaves beside its target is nobody's.
    for (const name of readdirSync(this.#options.root)) {
      if (name === 'restored' || name.startsWith('.partial-restored'))
        rmSync(join(this.#options.root, name), { recursive: true });
    }
  }

  async #headsOfFolder(folder: string): Promise<Heads> {
    const known = this.#heads.get(folder);
    if (known !== undefined) return known;
    if (isEmpty(folder)) return [];
    const heads = await headsIn(this.#engine, folder, join(this.#options.root, 'read'));
    this.#heads.set(folder, heads);
    return heads;
  }

  /** Oldest first. */
  #undoFolders(): string[] {
    const folder = join(this.#dir, '.lifecycle/restore-backup');
    if (!existsSync(folder)) return [];
    return readdirSync(folder)
      .sort(compareNames)
      .map((name) => join(folder, name));
  }
}

const sum = (heads: Heads): number => heads.reduce((all, head) => all + head, 0);
/** The write that was under way may be there or not. */
const next = (heads: Heads): Heads => heads.map((head) => head + 1);
const isEmpty = (folder: string): boolean => readdirSync(folder).length === 0;

function within(what: string, found: Heads, least: Heads, most: Heads = next(least)): void {
  if (least.every((head, writer) => found[writer]! >= head && found[writer]! <= most[writer]!)) return;
  throw new Error(`${what} is at ${found}, and between ${least} and ${most} were acknowledged`);
}
