import type { Engine } from '../../engine/engine.ts';
import { detectEngine, engineByName } from '../../engine/index.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { foreignNames } from '../foreign-names.ts';
import { readUndoNote } from '../store/undo-note.ts';
import { type Exchanged, keptNames } from './check-exchange.ts';

export const exchangedBy = (engine: Engine | undefined): Exchanged => ({ engine, keep: keptNames(engine) });

/** What was exchanged when an undo folder was made: it is exchanged back, whatever engine the files look like. */
export async function exchangedAt(
  fs: FileSystem,
  undoFolder: string,
  wanted: () => Promise<Engine | undefined>,
): Promise<Exchanged> {
  const note = await readUndoNote(fs, undoFolder);
  if (note !== undefined)
    return { engine: note.engine === undefined ? undefined : engineByName(note.engine), keep: note.keep };
  const engine = (await detectEngine(fs, undoFolder)) ?? (await wanted());
  // Made by an older version. A name that is not the engine's shows that all were moved.
  const isOfAll = (await foreignNames(fs, undoFolder, engine)).length > 0;
  return isOfAll ? { engine: undefined, keep: [] } : exchangedBy(engine);
}
