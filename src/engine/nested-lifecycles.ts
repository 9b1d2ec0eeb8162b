import { LIFECYCLE } from './engine.ts';

// A folder of that name alone may be anybody's.
const INSIDE = new RegExp(`^(.+?/${LIFECYCLE.replace('.', '\\.')})/(lock$|backup/)`);

/**
 * The lifecycle folders among files, each with the snapshots of a database that is one of these files. They are no files of the folder
 * around it.
 *
 * @param paths Relative to that folder.
 */
export function nestedLifecycles(paths: Iterable<string>): string[] {
  const found = new Set<string>();
  for (const path of paths) {
    const folder = INSIDE.exec(path)?.[1];
    if (folder !== undefined) found.add(folder);
  }
  return [...found].sort();
}
