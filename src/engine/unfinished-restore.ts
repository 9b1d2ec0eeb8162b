import { join } from 'node:path';
import { parseJson } from '../env/durable-json.ts';
import type { FileSystem } from '../env/file-system.ts';
import { listIfPresent, readSmallFile } from '../env/io.ts';
import { StillpointError } from '../errors.ts';
import { LIFECYCLE } from './engine.ts';

/** Below the lifecycle folder: `restore/<id>/journal.json` says how far an exchange of the files has come. */
export const RESTORE_FOLDER = 'restore';
export const RESTORE_JOURNAL = 'journal.json';
const LIMIT_BYTES = 1024 * 1024;

/**
 * Keeps an engine of ours from opening a data directory that is half exchanged: it would take what is missing for a new
 * database. `CONFLICT` when a restore was cut off in the middle of its moves.
 */
export async function refuseUnfinishedRestore(fs: FileSystem, dir: string): Promise<void> {
  const folder = join(dir, LIFECYCLE, RESTORE_FOLDER);
  for (const { name } of await listIfPresent(fs, folder)) {
    const bytes = await readSmallFile(fs, join(folder, name, RESTORE_JOURNAL), LIMIT_BYTES);
    if (bytes === undefined || isWhole(bytes)) continue;
    throw new StillpointError('CONFLICT', `a restore of ${dir} was interrupted and is not finished yet`, {
      path: folder,
      hint: 'Run `stillpoint recover DIR`, or call `lifecycle.recover()` before opening the database.',
    });
  }
}

/** Before the first move the old state stands whole, and when the host is asked to open it, the new one does. */
function isWhole(bytes: Buffer): boolean {
  const { phase } = (parseJson(bytes.toString('utf8')) ?? {}) as { phase?: unknown };
  return phase === 'staging' || phase === 'opening';
}
