import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import type { Engine } from '../engine/engine.ts';
import { Semaphore } from '../env/concurrency.ts';
import { readJson, writeJson } from '../env/durable-json.ts';
import { makeFolders, removeIfPresent } from '../env/io.ts';
import { StillpointError } from '../errors.ts';
import type { HoldState } from '../rpc/hold.ts';
import type { Environment } from '../snapshot/environment.ts';
import { newestUndoFolder } from '../snapshot/restore/restore.ts';
import { compareNames, type Layout, nameOf, placeOf } from '../snapshot/store/layout.ts';

const name = z.string().min(1).max(200);
const documentSchema = z.strictObject({
  version: z.literal(1),
  run: name,
  /** Writes are refused. Otherwise the run has let go of the node, and this says what it had done. */
  held: z.boolean(),
  at_ms: z.int().min(0),
  /** The newest undo folder when the hold began. */
  undo_before: name.nullable(),
  /** The undo folder of this run's restore, once it is known. */
  restored: name.nullable(),
  /** An undo of that restore was begun. */
  undoing: z.boolean(),
  /** A write was taken since the run's restore, or may have been. */
  written: z.boolean(),
  /**
   * Digest of the names, sizes and times of the files when the server had last opened, released or closed the database and nothing was
   * written; null while nobody knows.
   */
  closed: z.string().max(64).nullable().default(null),
});
type Document = z.infer<typeof documentSchema>;

const LIMIT_BYTES = 64 * 1024;
const RETRY_AFTER_MS = 60_000;

/** What a run that holds this database has done to it. */
export interface HoldReport {
  readonly state: HoldState;
  readonly held: boolean;
  /** Whether writes came after the run had let go of it, or may have come. */
  readonly written: boolean;
}

/**
 * `.lifecycle/restore-hold.json`: the run of a fleet's restore that keeps writes away from this database until it lets go. Unlike a
 * lease it has no end of its own and outlives the process: half a fleet on an old state must take no writes.
 *
 * Whether the run's restore is in place is read from the undo folders, which the exchange of files moves in the same step, and not from
 * what somebody noted about it afterwards: a crash between the two cannot make it wrong.
 */
export class RestoreHold {
  readonly #environment: Environment;
  readonly #layout: () => Promise<Layout>;
  readonly #engine: Engine;
  readonly #oneAtATime = new Semaphore(1);
  #document: Document | undefined;

  constructor(environment: Environment, layout: () => Promise<Layout>, engine: Engine) {
    this.#environment = environment;
    this.#layout = layout;
    this.#engine = engine;
  }

  /** Reads what an earlier process left. `STORE_INVALID` when nobody can tell who holds the database. */
  async load(): Promise<void> {
    const path = fileOf(await this.#layout());
    const refuse = (why: string, cause?: unknown) =>
      new StillpointError('STORE_INVALID', `${path}: ${why}`, {
        path,
        cause,
        hint: 'It says that the restore of a fleet keeps writes away. Remove it once no such restore is under way.',
      });
    this.#document = await readJson(this.#environment.fs, path, {
      schema: documentSchema,
      limitBytes: LIMIT_BYTES,
      refuse,
    });
  }

  /**
   * Called before the server opens the database: files that changed while it had them closed count as writes since the restore. After a
   * server that died they count if they are not as they were when it opened: nobody can tell its own work on them, such as a compaction, from
   * a write of another process. On a node that was held they do not count: its death may have cut off the exchange itself.
   */
  opening(): Promise<void> {
    return this.#oneAtATime.run(async () => {
      const document = this.#document;
      if (document === undefined || document.written) return;
      const { closed, held } = document;
      if (closed === null && held) return;
      const isTouched = closed === null || closed !== (await this.#digest());
      const written = isTouched && (await this.#stateOf(document)).state === 'restored';
      await this.#write({ ...document, closed: null, written });
    });
  }

  /** Called when the server has opened the database. What is held may be exchanged, and its files then say nothing of writes. */
  async opened(): Promise<void> {
    if (this.#document?.held === false) await this.closed();
  }

  /** Called when the server has closed the database for good. */
  closed(): Promise<void> {
    return this.#oneAtATime.run(async () => {
      const document = this.#document;
      if (document === undefined || document.written) return;
      await this.#write({ ...document, closed: await this.#digest() });
    });
  }

  /** The run that keeps writes away. */
  get run(): string | undefined {
    return this.#document?.held === true ? this.#document.run : undefined;
  }

  /** Takes hold of the database for a run, durably; again is no error. `CONFLICT` while another run has it. */
  take(run: string): Promise<void> {
    return this.#oneAtATime.run(async () => {
      const document = this.#document;
      if (document?.held === true && document.run !== run) throw heldBy(document.run);
      if (document?.held === true) return;
      // Held again by the run that had let go: what it did before still counts.
      if (document?.run === run) return this.#write({ ...document, held: true, closed: null });
      await this.#write({
        version: 1,
        run,
        held: true,
        at_ms: this.#environment.clock.nowMs(),
        undo_before: await this.#newestUndo(),
        restored: null,
        undoing: false,
        written: false,
        closed: null,
      });
    });
  }

  /** Lets go, durably; again is no error. `CONFLICT` while another run has the database. */
  release(run: string): Promise<void> {
    return this.#oneAtATime.run(async () => {
      const document = this.#document;
      if (document?.held !== true) return;
      if (document.run !== run) throw heldBy(document.run);
      const { state, restored } = await this.#stateOf(document);
      // Only of a restore that stands can there be an undo, which must know of writes.
      if (state === 'restored')
        await this.#write({ ...document, restored, held: false, closed: await this.#digest() });
      else await this.#forget();
    });
  }

  /** What a run has done here. One that never held the database, or not last, has done nothing that could be undone. */
  async report(run: string): Promise<HoldReport> {
    const document = this.#document;
    if (document?.run !== run) return { state: 'before', held: false, written: true };
    const { state } = await this.#stateOf(document);
    return { state, held: document.held, written: document.written };
  }

  /** `LEASE_LOST` unless the run has the database. */
  require(run: string): void {
    if (this.run === run) return;
    throw new StillpointError('LEASE_LOST', `the run ${run} does not hold this database any more`, {
      hint: 'It was let go of, or another restore has it. Look at `stillpoint fleet restore --help`.',
    });
  }

  /** Before an undo begins: from now on another newest undo folder means that it was done. */
  noteUndo(): Promise<void> {
    return this.#oneAtATime.run(async () => {
      const document = this.#document;
      if (document === undefined || document.undoing) return;
      const { restored } = await this.#stateOf(document);
      await this.#write({ ...document, restored, undoing: true });
    });
  }

  /** `QUIESCED` while a run has the database. */
  refuseWrite(): void {
    if (this.run === undefined) return;
    throw new StillpointError('QUIESCED', `writes are refused while the fleet is restored (${this.run})`, {
      data: { retry_after_ms: RETRY_AFTER_MS },
    });
  }

  /** Called before each write. Something to wait for only before the first since a restore was let go. */
  admitWrite(): Promise<void> | undefined {
    if (this.#document === undefined || this.#document.held || this.#document.written) return undefined;
    return this.#oneAtATime.run(async () => {
      const document = this.#document;
      if (document === undefined || document.held || document.written) return;
      await this.#write({ ...document, written: true });
    });
  }

  async #stateOf(document: Document): Promise<{ state: HoldState; restored: string | null }> {
    const newest = await this.#newestUndo();
    const { undo_before: before, restored, undoing } = document;
    const isNew = newest !== null && (before === null || compareNames(before, newest) < 0);
    if (restored === null) return { state: isNew ? 'restored' : 'before', restored: isNew ? newest : null };
    if (newest === restored) return { state: 'restored', restored };
    return { state: undoing ? 'undone' : 'replaced', restored };
  }

  async #digest(): Promise<string> {
    const { fs } = this.#environment;
    const { dataDir } = await this.#layout();
    const lines: string[] = [];
    for (const path of (await this.#engine.listFiles(fs, dataDir)).toSorted()) {
      const found = await fs.inspect(placeOf(dataDir, path));
      lines.push(JSON.stringify([path, found?.sizeBytes, String(found?.mtimeNs)]));
    }
    return createHash('sha256').update(lines.join('\n')).digest('hex');
  }

  async #newestUndo(): Promise<string | null> {
    const folder = await newestUndoFolder(this.#environment, await this.#layout());
    return folder === undefined ? null : nameOf(folder);
  }

  async #write(document: Document): Promise<void> {
    const layout = await this.#layout();
    await makeFolders(this.#environment.fs, layout.lifecycle);
    await writeJson(this.#environment.fs, fileOf(layout), document, 'lines');
    this.#document = document;
  }

  async #forget(): Promise<void> {
    const layout = await this.#layout();
    await removeIfPresent(this.#environment.fs, fileOf(layout));
    await this.#environment.fs.syncFolder(layout.lifecycle);
    this.#document = undefined;
  }
}

const fileOf = ({ lifecycle }: Layout): string => join(lifecycle, 'restore-hold.json');

const heldBy = (run: string): StillpointError =>
  new StillpointError('CONFLICT', `the restore ${run} holds this database`, { data: { run } });
