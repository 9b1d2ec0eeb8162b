import { StillpointError } from '../../errors.ts';
import { manifestProblem, type ParsedManifest } from '../store/manifest.ts';
import type { SnapshotSource } from './snapshot-source.ts';

/** Messages and records carry the location. */
const LOCATION_LIMIT_BYTES = 4096;

/**
 * What a function of the host opened, checked: `HOOK_INVALID` when it is not a source, or gives something else than a manifest. An
 * unusable source that can be released goes to `release`.
 */
export async function checkForeignSource(
  value: unknown,
  release: (source: Pick<SnapshotSource, 'location' | 'release'>) => Promise<void>,
): Promise<SnapshotSource> {
  const problem = sourceProblem(value);
  const source = value as SnapshotSource;
  if (problem === undefined) return guarded(source);
  if (typeof source?.release === 'function')
    await release({ location: 'an unusable source', release: () => source.release() });
  throw new StillpointError('HOOK_INVALID', `the function that opens a snapshot returned ${problem}`, {
    hint: 'Return a `SnapshotSource`.',
  });
}

function sourceProblem(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'no source';
  const source = value as Partial<SnapshotSource>;
  const { location, folder, engine } = source;
  if (typeof location !== 'string' || location === '') return 'a source without `location`';
  if (Buffer.byteLength(location) > LOCATION_LIMIT_BYTES)
    return `a source with a \`location\` of more than ${LOCATION_LIMIT_BYTES} bytes`;
  for (const [name, text] of Object.entries({ folder, engine }))
    if (text !== undefined && typeof text !== 'string') return `a source whose \`${name}\` is no text`;
  const missing = (['manifest', 'read', 'release'] as const).find(
    (name) => typeof source[name] !== 'function',
  );
  return missing && `a source without \`${missing}()\``;
}

/** Takes `location`, `folder` and `engine` as they were when they were checked. */
function guarded(source: SnapshotSource): SnapshotSource {
  const { location, folder, engine } = source;
  return {
    location,
    ...(folder !== undefined && { folder }),
    ...(engine !== undefined && { engine }),
    async manifest(): Promise<ParsedManifest> {
      const manifest = await source.manifest();
      const problem = manifestProblem(manifest);
      if (problem === undefined) return manifest;
      throw new StillpointError('HOOK_INVALID', `${location} gives no manifest: ${problem}`, {
        hint: 'Return what `decodeManifest` makes of its bytes.',
      });
    },
    ...(typeof source.noteDamage === 'function' && { noteDamage: async () => source.noteDamage!() }),
    ...(typeof source.explain === 'function' && { explain: async (error) => source.explain!(error) }),
    ...(typeof source.storedBytes === 'function' && {
      storedBytes: (path: string) => source.storedBytes!(path),
    }),
    read: (path, signal) => source.read(path, signal),
    release: () => source.release(),
  };
}
