import { type Engine, NOT_OF_THE_DATABASE } from '../../engine/engine.ts';
import { detectEngine, engineByName } from '../../engine/index.ts';
import { believed, recognizeEngine, unknownFolder } from '../../engine/recognize.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { StillpointError } from '../../errors.ts';
import type { ParsedManifest } from '../store/manifest.ts';

/** What is known of a folder before its engine is chosen. */
export interface ProofSubject {
  readonly folder: string;
  readonly manifest: ParsedManifest | undefined;
  /** It should have a manifest and has no usable one. */
  readonly isDistrusted: boolean;
}

/**
 * The engine that proves a folder: the one asked for, else what the manifest says, else what the files look like.
 * `ENGINE_MISMATCH` when a directory without a manifest belongs to another engine or to none, `EMPTY_SOURCE` when it is empty.
 */
export async function proofEngine(
  fs: FileSystem,
  { folder, manifest, isDistrusted }: ProofSubject,
  wanted: Engine | undefined,
): Promise<Engine> {
  const isLive = manifest === undefined && !isDistrusted;
  if (wanted !== undefined) {
    return isLive ? believed(wanted, fs, folder) : wanted;
  }
  if (manifest?.snapshot !== undefined) return engineByName(manifest.snapshot.engine);
  const detected = await (isLive ? recognizeEngine(fs, folder) : detectEngine(fs, folder));
  if (detected !== undefined) return detected;
  // The files can be compared with a manifest even when no engine knows them, and a damaged manifest must be reported.
  if (!isLive) return engineByName('files');
  const isEmpty = (await fs.list(folder)).every(({ name }) => NOT_OF_THE_DATABASE.includes(name));
  if (isEmpty) {
    throw new StillpointError('EMPTY_SOURCE', `${folder} is empty`, {
      path: folder,
      hint: 'There is nothing to verify here; check the path.',
    });
  }
  throw await unknownFolder(
    fs,
    folder,
    'For a folder of other files add `--engine files` (`engine: "files"`); it only tells that they can be read.',
  );
}
