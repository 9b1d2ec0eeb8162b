import type { Engine, FileCheck, NewContent } from '../../engine/engine.ts';
import { createFile, replaceFile } from '../../env/io.ts';
import type { RunControl } from '../../env/run-control.ts';
import { StillpointError } from '../../errors.ts';
import { crc32 } from '../../format/crc32.ts';
import type { Level } from '../../options/choices.ts';
import type { Environment } from '../environment.ts';
import { placeOf } from '../store/layout.ts';
import type { ManifestEntry, ParsedManifest } from '../store/manifest.ts';
import { type Proof, prove } from '../verify/prove.ts';
import type { RestoreSource } from './restore-source.ts';

/** `INVALID_REQUEST` for a snapshot of an engine that keeps no list which could be written anew. */
export function requireRewritable({ engine, location }: Pick<RestoreSource, 'engine' | 'location'>): void {
  if (engine.rewriteManifest !== undefined) return;
  throw new StillpointError('INVALID_REQUEST', `${location} is of ${engine.name}, which has no MANIFEST`, {
    path: location,
    hint: 'Leave `--rewrite-manifest` (`rewriteManifest`) out: it is for LevelDB.',
  });
}

/**
 * Lets the engine write its list of files anew in a staged copy that has passed its proof, and proves the copy once more: what was changed is
 * read back. A crash leaves a staged folder, which never becomes a database.
 */
export async function rewriteStaged(
  env: Environment,
  folder: string,
  options: { engine: Engine; manifest: ParsedManifest; level: Level; control: RunControl },
  checks: ReadonlyMap<string, FileCheck>,
): Promise<Proof> {
  const { fs } = env;
  const { engine, manifest, level, control } = options;
  const { created, replaced, removed } = await engine.rewriteManifest!(fs, folder, {
    checkCancelled: () => control.checkCancelled(),
    addBytes: () => undefined, // the file was counted when it was copied
    skipBytes: () => undefined,
    pastCache: control.pastCache,
  });
  // In the order of an engine's own change: a list without files is never the one in use.
  for (const { path, bytes } of created) await createFile(fs, placeOf(folder, path), bytes);
  await fs.syncFolder(folder);
  for (const { path, bytes } of replaced) await replaceFile(fs, placeOf(folder, path), bytes);
  for (const path of removed) await fs.removeFile(placeOf(folder, path));
  await fs.syncFolder(folder);
  const written = [...created, ...replaced];
  const isOld = (path: string) => removed.includes(path) || written.some((file) => file.path === path);
  const entries = [...manifest.entries.filter(({ path }) => !isOld(path)), ...written.map(entryOf)];
  const known = new Map([...checks].filter(([path]) => !isOld(path)));
  return prove(env, folder, { manifest: { ...manifest, entries }, engine, level, control, known });
}

const entryOf = ({ path, bytes }: NewContent): ManifestEntry => ({
  path,
  size: bytes.byteLength,
  crc32: crc32(bytes),
});
