import { join } from 'node:path';
import { systemClock } from '../../env/clock.ts';
import { StillpointError } from '../../errors.ts';
import { CURRENT, encodeCurrent, logName, tableNames } from '../../format/leveldb/file-name.ts';
import type { TableEntry } from '../../format/leveldb/version-edit.ts';
import type { CaptureItem, CapturePlan, PlanContext } from '../engine.ts';
import { explainCurrent, listFiles, readCurrent } from './directory.ts';
import { cutLog } from './log-cut.ts';
import { ManifestFollower } from './manifest-follower.ts';
import { OpenLogs } from './open-logs.ts';
import type { WriteBarrier } from './write-barrier.ts';

export interface PlanOptions {
  readonly barrier?: WriteBarrier | undefined;
  /** How many moments without change to look for before the logs are captured first, which always ends. */
  readonly windowRounds: number;
}

const FALLBACK_ROUNDS = 256;
/** The same problem this many times in a row, with nothing changing, is damage and not a race. */
const LASTING = 4;
const PINS_AT_ONCE = 16;

/** Why a round failed. */
interface Setback {
  readonly reason: string;
  /** Damage, if it stays: concurrent writes do not explain it. */
  readonly isSuspicious?: boolean;
}

/**
 * Finds one state of a database that may be written to, without its help.
 *
 * First way, `window`: pin all files that the MANIFEST names, open the logs and take their sizes, newest first, then look at
 * CURRENT and the MANIFEST again. If neither changed, no needed log was deleted and the set of tables is the same, so the files
 * belong to one moment. Second way, `logs-first`, where edits come faster than that: capture the logs, then the tables. The
 * tables then hold what the logs held, or more.
 */
export async function planFromOutside(context: PlanContext, options: PlanOptions): Promise<CapturePlan> {
  const { fs, dir } = context;
  if ((await listFiles(fs, dir)).length === 0) {
    throw new StillpointError('ENGINE_MISMATCH', `${dir} holds no LevelDB database`, { path: dir });
  }
  await checkBarrier(context, options.barrier);
  const planning = new Planning(context, options);
  try {
    return await planning.run();
  } catch (error) {
    await planning.dispose();
    throw error;
  }
}

async function checkBarrier({ fs, dir }: PlanContext, barrier: WriteBarrier | undefined): Promise<void> {
  if (barrier?.location === undefined || (await fs.realPath(barrier.location)) === dir) return;
  throw new StillpointError('INVALID_REQUEST', `the database is in ${barrier.location} and not in ${dir}`, {
    path: dir,
  });
}

class Planning {
  readonly #context: PlanContext;
  readonly #options: PlanOptions;
  readonly #logs: OpenLogs;
  readonly #pinned = new Map<number, string>();
  readonly #reasons: string[] = [];
  #manifest: ManifestFollower | undefined;
  #windowBegan = 0;
  #windowMs = 0;
  #lasting = 0;

  constructor(context: PlanContext, options: PlanOptions) {
    this.#context = context;
    this.#options = options;
    this.#logs = new OpenLogs(context.fs, context.dir);
  }

  async run(): Promise<CapturePlan> {
    for (let round = 0; round < this.#options.windowRounds; round++) {
      if (this.#isSettled(await this.#tryWindow())) return this.#makePlan('window');
    }
    const open = await this.#options.barrier?.close();
    try {
      for (let round = 0; round < FALLBACK_ROUNDS; round++) {
        if (this.#isSettled(await this.#tryLogsFirst())) return await this.#makePlan('logs-first');
      }
    } finally {
      open?.();
    }
    throw this.#gaveUp();
  }

  async dispose(): Promise<void> {
    await this.#logs.close();
    await this.#manifest?.close();
    this.#manifest = undefined;
  }

  #isSettled(setback: Setback | undefined): boolean {
    if (setback === undefined) return true;
    this.#context.checkCancelled();
    const isSame = setback.reason === this.#reasons.at(-1);
    this.#lasting = setback.isSuspicious ? (isSame ? this.#lasting + 1 : 1) : 0;
    this.#reasons.push(setback.reason);
    if (this.#lasting >= LASTING) {
      throw new StillpointError('SOURCE_DAMAGED', `${this.#context.dir}: ${setback.reason}`, {
        path: this.#context.dir,
        data: { reasons: this.#reasons },
      });
    }
    return false;
  }

  async #tryWindow(): Promise<Setback | undefined> {
    let setback = await this.#readAndPin();
    if (setback !== undefined) return setback;
    const open = await this.#options.barrier?.close();
    try {
      // Writes that were running when the barrier closed may have caused edits.
      if (open !== undefined) setback = await this.#readAndPin();
      if (setback !== undefined) return setback;
      const manifest = this.#manifest!;
      const missed = await this.#logs.open(manifest.version);
      if (missed !== undefined) return { reason: missed };
      const [current, hasMore] = await Promise.all([
        readCurrent(this.#context.fs, this.#context.dir),
        manifest.hasMore(),
      ]);
      if (current !== manifest.name) return { reason: `${CURRENT} was replaced` };
      if (!(await this.#isSameFile(current, manifest))) return { reason: `${manifest.name} was replaced` };
      if (hasMore) return { reason: `${manifest.name} got another edit` };
      this.#windowMs = systemClock.monotonicMs() - this.#windowBegan;
      return undefined;
    } finally {
      open?.();
    }
  }

  /** Reads what was appended to the MANIFEST and pins the tables that it names. */
  async #readAndPin(): Promise<Setback | undefined> {
    const setback = await this.#readManifest();
    if (setback !== undefined) return setback;
    const { tables } = this.#manifest!.version;
    this.#context.expectFiles(tables.length);
    const missing = tables.filter(({ number }) => !this.#pinned.has(number));
    let gone: TableEntry | undefined;
    for (let at = 0; at < missing.length && gone === undefined; at += PINS_AT_ONCE) {
      this.#context.checkCancelled();
      const some = missing.slice(at, at + PINS_AT_ONCE);
      const arePinned = await Promise.all(some.map((table) => this.#pin(table.number)));
      gone = some.find((_, index) => !arePinned[index]);
    }
    if (gone === undefined) return undefined;
    return { reason: `${tableNames(gone.number)[0]} is gone`, isSuspicious: true };
  }

  async #pin(number: number): Promise<boolean> {
    for (const name of tableNames(number)) {
      if (!(await this.#context.pin(name))) continue;
      this.#pinned.set(number, name);
      return true;
    }
    return false;
  }

  async #readManifest(): Promise<Setback | undefined> {
    const { fs, dir } = this.#context;
    const name = await readCurrent(fs, dir);
    if (name === undefined) return { reason: await explainCurrent(fs, dir), isSuspicious: true };
    if (this.#manifest === undefined || !(await this.#isSameFile(name, this.#manifest))) {
      await this.#manifest?.close();
      this.#manifest = await ManifestFollower.open(fs, dir, name);
      if (this.#manifest === undefined) return { reason: `${name} is gone`, isSuspicious: true };
      // The numbers start again when another database has replaced this one.
      for (const [number, table] of this.#pinned) {
        if (!(await this.#context.confirmPin(table))) this.#pinned.delete(number);
      }
    }
    this.#windowBegan = systemClock.monotonicMs();
    const damage = await this.#manifest.readOn();
    if (damage !== undefined) return { reason: damage, isSuspicious: true };
    const missing = this.#manifest.version.missingFields;
    if (missing.length > 0) return { reason: `${name} has no ${missing.join(', ')}`, isSuspicious: true };
    return undefined;
  }

  async #isSameFile(name: string, manifest: ManifestFollower): Promise<boolean> {
    if (name !== manifest.name) return false;
    const { fs, dir } = this.#context;
    const [now, open] = [await fs.inspect(join(dir, name)), await manifest.file.stat()];
    return now !== undefined && now.ino === open.ino && now.dev === open.dev;
  }

  async #tryLogsFirst(): Promise<Setback | undefined> {
    if (!this.#logs.areTaken) {
      const setback = await this.#readManifest();
      if (setback !== undefined) return setback;
      const missed = await this.#logs.open(this.#manifest!.version);
      if (missed !== undefined) return { reason: missed };
    }
    return this.#readAndPin();
  }

  async #makePlan(way: 'window' | 'logs-first'): Promise<CapturePlan> {
    const manifest = this.#manifest!;
    const { version } = manifest;
    const items: CaptureItem[] = version.tables.map(({ number, sizeBytes }) => ({
      kind: 'immutable',
      path: this.#pinned.get(number)!,
      sizeBytes,
    }));
    let reached = version.lastSequence!;
    for (const { number, file, sizeBytes } of await this.#logs.keepNeeded(version)) {
      const cut = await cutLog(file, sizeBytes);
      items.push(prefix(logName(number), cut.sizeBytes, file));
      if (cut.lastSequence !== undefined && cut.lastSequence > reached) reached = cut.lastSequence;
    }
    const log = version.logNumber!;
    if (way === 'logs-first' && log > this.#logs.newest) {
      // The log is newer than the tables: none of it belongs to this state.
      items.push({ kind: 'bytes', path: logName(log), bytes: new Uint8Array() });
    }
    items.push(prefix(manifest.name, manifest.end, manifest.file));
    items.push({ kind: 'bytes', path: CURRENT, bytes: encodeCurrent(manifest.name) });
    return {
      items,
      checkpoint: { lsn: String(reached) },
      rounds: {
        count: this.#reasons.length + 1,
        windowMs: this.#windowMs,
        reasons: this.#reasons,
        way,
      },
      dispose: () => this.dispose(),
    };
  }

  #gaveUp(): StillpointError {
    const { dir } = this.#context;
    const reasons = this.#reasons;
    return new StillpointError(
      'SOURCE_CHANGING',
      `${dir} kept changing in ${reasons.length} rounds: ${[...new Set(reasons)].slice(0, 10).join('; ')}`,
      { path: dir, data: { reasons } },
    );
  }
}

/** Also a damaged database can be kept as it is, for whoever repairs it. */
function prefix(path: string, sizeBytes: number, source: ManifestFollower['file']): CaptureItem {
  const extents = sizeBytes === 0 ? [] : [{ offset: 0, length: sizeBytes }];
  return { kind: 'image', path, sizeBytes, extents, patches: [], source };
}
