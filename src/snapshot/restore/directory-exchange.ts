import { dirname, join, relative } from 'node:path';
import * as z from 'zod';
import type { Engine } from '../../engine/engine.ts';
import { engineByName } from '../../engine/index.ts';
import { RESTORE_JOURNAL } from '../../engine/unfinished-restore.ts';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { listFolder, listIfPresent, makeFolders, removeIfPresent, removeTree } from '../../env/io.ts';
import { StillpointError } from '../../errors.ts';
import { type Layout, ownLayout } from '../store/layout.ts';
import { withReserve } from '../store/reserve.ts';
import { removeUndoNote, writeUndoNote } from '../store/undo-note.ts';
import { isExchanged } from './check-exchange.ts';

/**
 * Exchanges the files of a data directory for others. A journal makes a crash at any instant end in exactly the old state or
 * exactly the new one.
 *
 *     staging ──▶ out ──▶ in ──▶ opening ──▶ (journal removed)
 *                                   │
 *                                   └──▶ back-in ──▶ back-out ──▶ (journal removed)
 *
 * - `staging`: the new files are being written; nothing of the database has been touched. After a crash they are removed.
 * - `out`: every file of the engine in the data directory is moved to the undo folder. No new file has come in yet, so all of them are
 *   old, and going on after a crash needs no list of names.
 * - `in`: everything old is out, so all files of the engine there are new. After a crash in `out` or `in`, recovery goes on.
 * - `opening`: the new state is whole and durable. After a crash, recovery is done.
 * - `back-in`, `back-out`: the same two moves in reverse, when the host could not open the new state.
 *
 * A phase is durable in the journal before its first move. The moves of a phase are durable before the next one is written.
 */

const JOURNAL_LIMIT_BYTES = 1024 * 1024;

const PHASES = ['staging', 'out', 'in', 'opening', 'back-in', 'back-out'] as const;

/** Recovery obeys the journal. Whatever it says, nothing outside the lifecycle folder may be moved. */
const isInside = (path: string): boolean =>
  path.split(/[/\\]/).every((part) => part !== '' && part !== '.' && part !== '..');
const innerPath = z.string().refine(isInside);
const innerName = innerPath.regex(/^[^/\\]+$/);

const journalSchema = z.object({
  id: innerName,
  phase: z.enum(PHASES),
  /** The folder of the new files, relative to the lifecycle folder. */
  from: innerPath,
  /** The undo folder, relative to the lifecycle folder. */
  undo: innerPath,
  /** Names at the root of the data directory that are never moved: the lock file of the engine. */
  keep: z.array(innerName),
  /** The engine, where it says which names are its own: no others are moved out of the data directory. */
  engine: z.string().optional(),
});

export type ExchangeJournal = z.infer<typeof journalSchema>;

export class DirectoryExchange {
  readonly #fs: FileSystem;
  readonly #layout: Layout;
  #journal: ExchangeJournal;
  #engine: Engine | undefined;

  private constructor(fs: FileSystem, layout: Layout, journal: ExchangeJournal) {
    this.#fs = fs;
    this.#layout = ownLayout(layout);
    this.#journal = journal;
  }

  /** Writes the journal's first entry. `from` and `undo` are absolute and lie in the lifecycle folder. */
  static async begin(
    fs: FileSystem,
    layout: Layout,
    options: { id: string; from: string; undo: string; keep: readonly string[]; engine?: Engine | undefined },
  ): Promise<DirectoryExchange> {
    const inside = (path: string) => relative(ownLayout(layout).lifecycle, path);
    const exchange = new DirectoryExchange(fs, layout, {
      id: options.id,
      phase: 'staging',
      from: inside(options.from),
      undo: inside(options.undo),
      keep: [...options.keep],
      ...(options.engine?.ownsName && { engine: options.engine.name }),
    });
    exchange.#engine = options.engine;
    await makeFolders(fs, dirname(exchange.#file));
    await exchange.#enter('staging');
    return exchange;
  }

  /** The exchange that a crash cut off, if there is one. A damaged journal is `IO_ERROR`, never taken for none. */
  static async findInterrupted(fs: FileSystem, layout: Layout): Promise<DirectoryExchange | undefined> {
    for (const { name } of await listIfPresent(fs, layout.restore)) {
      const path = join(layout.restore, name, RESTORE_JOURNAL);
      const journal = await readJson(fs, path, {
        schema: journalSchema,
        limitBytes: JOURNAL_LIMIT_BYTES,
        refuse: (why, cause) =>
          new StillpointError(
            'IO_ERROR',
            `the journal of an interrupted restore cannot be read: ${path} ${why}`,
            {
              path,
              cause,
              hint: 'Nothing was touched. Keep the folder and look at it: the undo folder beside it holds the old files.',
            },
          ),
      });
      if (journal !== undefined) return new DirectoryExchange(fs, layout, journal);
    }
    return undefined;
  }

  get id(): string {
    return this.#journal.id;
  }

  get phase(): ExchangeJournal['phase'] {
    return this.#journal.phase;
  }

  /** The lock files that stay in place. Hold them while calling `forward` or `back`. */
  get keep(): readonly string[] {
    return this.#journal.keep;
  }

  get undoFolder(): string {
    return join(this.#layout.lifecycle, this.#journal.undo);
  }

  get #from(): string {
    return join(this.#layout.lifecycle, this.#journal.from);
  }

  get #folder(): string {
    return join(this.#layout.restore, this.#journal.id);
  }

  get #file(): string {
    return join(this.#folder, RESTORE_JOURNAL);
  }

  /** Moves the old files out and the new ones in. Afterwards the phase is `opening`. Recovery makes the same call. */
  async forward(): Promise<void> {
    if (this.phase === 'staging') await this.#enter('out');
    if (this.phase === 'out') {
      await this.#moveAll(this.#layout.dataDir, this.undoFolder);
      await this.#enter('in');
    }
    if (this.phase === 'in') {
      await this.#moveAll(this.#from, this.#layout.dataDir);
      const { keep, engine } = this.#journal;
      await this.#withReserve(() => writeUndoNote(this.#fs, this.undoFolder, { keep, engine }));
      await this.#enter('opening');
    }
  }

  /** Moves the new files away and the old ones back. From any phase but `staging`. */
  async back(): Promise<void> {
    // In `out` nothing new has come in: only the move out must be undone.
    if (this.phase === 'out') await this.#enter('back-out');
    if (this.phase === 'in' || this.phase === 'opening') await this.#enter('back-in');
    if (this.phase === 'back-in') {
      await this.#moveAll(this.#layout.dataDir, this.#from);
      await this.#enter('back-out');
    }
    // It is absent when a crash came between emptying it and removing the journal.
    if (this.phase === 'back-out' && (await this.#fs.inspect(this.undoFolder)) !== undefined) {
      await this.#moveAll(this.undoFolder, this.#layout.dataDir);
      await removeUndoNote(this.#fs, this.undoFolder);
      await removeTree(this.#fs, this.undoFolder);
    }
  }

  /** Ends the exchange: removes the journal first, then what is left of the staged files. A used undo folder goes when it is empty. */
  async finish(): Promise<void> {
    const wasUndo = !this.#from.startsWith(this.#folder);
    await removeIfPresent(this.#fs, this.#file);
    await this.#fs.syncFolder(this.#folder);
    const isEmpty = (await listIfPresent(this.#fs, this.#from)).length === 0;
    if (wasUndo && isEmpty) {
      await removeUndoNote(this.#fs, this.#from);
      await removeTree(this.#fs, this.#from);
    }
    await removeTree(this.#fs, this.#folder);
  }

  /** After a crash: makes the moves that are left in the direction of its phase. Resolves to the state that is in place. */
  async complete(): Promise<'old' | 'new'> {
    const phase = this.phase;
    const isNew = phase === 'out' || phase === 'in' || phase === 'opening';
    if (isNew) await this.forward();
    else if (phase !== 'staging') await this.back();
    return isNew ? 'new' : 'old';
  }

  async #enter(phase: ExchangeJournal['phase']): Promise<void> {
    const next = { ...this.#journal, phase };
    await this.#withReserve(() => writeJson(this.#fs, this.#file, next, 'lines'));
    this.#journal = next;
  }

  #withReserve(work: (isAgain: boolean) => Promise<void>): Promise<void> {
    return withReserve(this.#fs, this.#layout, work);
  }

  /** Of the names in the data directory. What is not the engine's is not touched. */
  #isMoved(name: string): boolean {
    const { keep, engine } = this.#journal;
    if (engine !== undefined) this.#engine ??= engineByName(engine); // after a crash
    return isExchanged(name, keep, engine === undefined ? undefined : this.#engine);
  }

  async #moveAll(from: string, to: string): Promise<void> {
    await this.#withReserve(async (isAgain) => {
      await makeFolders(this.#fs, to);
      // It may have been made the first time, and its name not have been synced.
      if (isAgain) for (const path of [dirname(to), this.#layout.lifecycle]) await this.#fs.syncFolder(path);
    });
    // A folder that cannot be listed is an error: taken for empty, a state without files would count as restored.
    for (const { name } of await listFolder(this.#fs, from)) {
      if (from === this.#layout.dataDir && !this.#isMoved(name)) continue;
      const place = join(to, name);
      // A rename would silently replace a file of that name. One is there only if somebody wrote during the exchange.
      if ((await this.#fs.inspect(place)) !== undefined) {
        throw new StillpointError('CONFLICT', `${place} is in the way of a restore`, {
          path: place,
          hint: 'Somebody wrote into the data directory during the restore. Move that file away and start again.',
        });
      }
      await this.#withReserve(() => this.#fs.rename(join(from, name), place));
    }
    await this.#fs.syncFolder(to);
    if ((await this.#fs.inspect(from)) !== undefined) await this.#fs.syncFolder(from);
  }
}

/** A name that is not UTF-8 cannot be renamed. `UNSUPPORTED_FILE` before the exchange, rather than half way. */
export async function refuseUnnamable(fs: FileSystem, dataDir: string): Promise<void> {
  const bad = (await fs.list(dataDir)).find(({ name }) => name.includes('\ufffd'));
  if (bad === undefined) return;
  throw new StillpointError(
    'UNSUPPORTED_FILE',
    `the name ${JSON.stringify(bad.name)} in ${dataDir} is not UTF-8`,
    {
      path: dataDir,
      hint: 'Rename or remove that file, then restore again.',
    },
  );
}
