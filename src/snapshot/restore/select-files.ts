import type { Engine } from '../../engine/engine.ts';
import { StillpointError } from '../../errors.ts';
import type { ManifestEntry } from '../store/manifest.ts';
import type { RestoreSource } from './restore-source.ts';

/**
 * The same source with only the files that `names` name: files, and folders with all that is in them. `INVALID_REQUEST` for the files of
 * a database, which say something only together; `NOT_FOUND` for a name that the snapshot does not have.
 */
export function selectFiles(source: RestoreSource, names: readonly string[]): RestoreSource {
  if (names.length === 0) return source;
  const { engine, location, manifest } = source;
  const partOf = engine.forFiles?.(manifest.entries.map(({ path }) => path)).partOf;
  if (engine.name !== 'files' && partOf === undefined) {
    throw new StillpointError(
      'INVALID_REQUEST',
      `the files of a database of ${engine.name} are restored together`,
      {
        path: location,
        hint: 'Restore all of it with `--into DIR`, and take from there what you need.',
      },
    );
  }
  const wanted = names.map((name) => name.replace(/^(\.?\/)+|\/+$/g, ''));
  const found = new Set<string>();
  const entries = manifest.entries.filter(({ path }) => {
    const named = wanted.filter((name) => path === name || path.startsWith(`${name}/`));
    for (const name of named) found.add(name);
    return named.length > 0;
  });
  const absent = wanted.filter((name) => !found.has(name));
  if (absent.length > 0) {
    throw new StillpointError(
      'NOT_FOUND',
      `${location} has no ${absent.map((name) => JSON.stringify(name)).join(', ')}`,
      {
        path: location,
        hint: 'Name files and folders as `stillpoint show` lists them, without what stands before them.',
      },
    );
  }
  const cut = cutPart(manifest.entries, entries, partOf);
  if (cut !== undefined) {
    throw new StillpointError(
      'INVALID_REQUEST',
      `the files of the database in ${cut || 'the folder itself'} are restored together`,
      { path: location, hint: 'Name the folder of the database, or restore all with `--into DIR`.' },
    );
  }
  const bytes = entries.reduce((sum, { size }) => sum + size, 0);
  return { ...source, manifest: { ...manifest, entries }, bytes };
}

/** The folder of a database of which only some files are chosen. */
function cutPart(
  all: readonly ManifestEntry[],
  chosen: readonly ManifestEntry[],
  partOf: Engine['partOf'],
): string | undefined {
  const count = (entries: readonly ManifestEntry[], dir: string) =>
    entries.filter(({ path }) => partOf?.(path)?.dir === dir).length;
  const dirs = new Set(chosen.flatMap(({ path }) => partOf?.(path)?.dir ?? []));
  return [...dirs].find((dir) => count(chosen, dir) < count(all, dir));
}
