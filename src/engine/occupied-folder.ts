import type { FileSystem } from '../env/file-system.ts';
import { listIfPresent } from '../env/io.ts';
import { StillpointError } from '../errors.ts';
import { type EngineName, NOT_OF_THE_DATABASE } from './engine.ts';
import { detectEngine } from './index.ts';
import { refuseUnfinishedRestore } from './unfinished-restore.ts';

const NAMES_SHOWN = 3;

/**
 * Keeps an engine from making a new database among files that are not its own: whoever names such a folder has mistyped a
 * path or named the wrong engine. `ENGINE_MISMATCH` says what was found; a folder that is absent or empty is free.
 *
 * @param isOwn Whether a file or folder of that name belongs to `engine`.
 */
export async function refuseOccupiedFolder(
  fs: FileSystem,
  dir: string,
  engine: EngineName,
  isOwn: (name: string) => boolean,
): Promise<void> {
  const names = (await listIfPresent(fs, dir)).map(({ name }) => name);
  const foreign = names.filter((name) => !NOT_OF_THE_DATABASE.includes(name) && !isOwn(name)).sort();
  if (foreign.length === 0) return;
  await refuseUnfinishedRestore(fs, dir);
  const other = await detectEngine(fs, dir);
  if (other !== undefined) {
    throw new StillpointError(
      'ENGINE_MISMATCH',
      `${dir} holds a database of ${other.name}, not of ${engine}`,
      {
        path: dir,
        hint: `Open it with \`--engine ${other.name}\` (in a process of yours \`backend: ${other.name}Backend()\`), or name another folder.`,
      },
    );
  }
  const shown = foreign.slice(0, NAMES_SHOWN).join(', ');
  const more = foreign.length > NAMES_SHOWN ? ` and ${foreign.length - NAMES_SHOWN} more` : '';
  throw new StillpointError(
    'ENGINE_MISMATCH',
    `${dir} holds no database of ${engine} but other files: ${shown}${more}`,
    { path: dir, hint: 'Name a folder that is empty or does not exist yet.' },
  );
}
