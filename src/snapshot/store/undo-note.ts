import { basename, dirname, join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { makeFolders, removeIfPresent } from '../../env/io.ts';
import { StillpointError } from '../../errors.ts';

/**
 * `.lifecycle/restore-notes/ts-….json`: which names were exchanged when the undo folder of that name was made. Its undo exchanges the
 * same ones, whatever the files look like.
 */

const LIMIT_BYTES = 64 * 1024;

const schema = z.object({
  /** The engine, where it says which names are its own; absent: all names were exchanged. */
  engine: z.string().optional(),
  /** Names that stayed: the lock file of the engine. */
  keep: z.array(z.string()),
});

export type UndoNote = Readonly<z.infer<typeof schema>>;

/** @param undo The folder with the undo folders. */
export const notesFolder = (undo: string): string => join(dirname(undo), 'restore-notes');

const noteOf = (undoFolder: string): string =>
  join(notesFolder(dirname(undoFolder)), `${basename(undoFolder)}.json`);

export async function writeUndoNote(fs: FileSystem, undoFolder: string, note: UndoNote): Promise<void> {
  await makeFolders(fs, dirname(noteOf(undoFolder)));
  await writeJson(fs, noteOf(undoFolder), note, 'lines');
}

export const removeUndoNote = (fs: FileSystem, undoFolder: string): Promise<void> =>
  removeIfPresent(fs, noteOf(undoFolder));

/** Undefined for an undo folder of an older version. */
export const readUndoNote = (fs: FileSystem, undoFolder: string): Promise<UndoNote | undefined> =>
  readJson(fs, noteOf(undoFolder), {
    schema,
    limitBytes: LIMIT_BYTES,
    refuse: (why, cause) =>
      new StillpointError('IO_ERROR', `${noteOf(undoFolder)} cannot be read: it ${why}`, {
        path: noteOf(undoFolder),
        cause,
        hint: 'Nothing was touched. It says what a restore replaced; the undo folder of that name has the files.',
      }),
  });
