import { join } from 'node:path';
import { MANIFEST } from '../../engine/engine.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { createFile, readSmallFile } from '../../env/io.ts';
import { fromChunks, toChunks } from '../../env/json-chunks.ts';
import {
  decodeManifest,
  encodeManifest,
  MANIFEST_LIMIT_BYTES,
  type Manifest,
  type ParsedManifest,
} from './manifest.ts';

/** Reads and writes the bytes of a manifest, on whichever thread calls it. */

/** A manifest in the form that is sent to another thread. */
export interface InChunks<M extends Manifest> {
  readonly rest: Omit<M, 'entries'>;
  readonly entries: readonly string[];
}

export interface WriteManifestArgs {
  readonly folder: string;
  readonly manifest: InChunks<Manifest>;
}

export async function readManifestHere(fs: FileSystem, path: string): Promise<ParsedManifest | undefined> {
  const bytes = await readSmallFile(fs, path, MANIFEST_LIMIT_BYTES);
  return bytes === undefined ? undefined : decodeManifest(bytes, path);
}

/** The worker thread's part of `readManifest`. */
export async function readManifestInChunks(
  fs: FileSystem,
  path: string,
): Promise<InChunks<ParsedManifest> | undefined> {
  const manifest = await readManifestHere(fs, path);
  if (manifest === undefined) return undefined;
  const { entries, ...rest } = manifest;
  return { rest, entries: await toChunks(entries) };
}

export async function writeManifestHere(fs: FileSystem, folder: string, manifest: Manifest): Promise<void> {
  const temporary = join(folder, `${MANIFEST}.tmp`);
  await createFile(fs, temporary, encodeManifest(manifest));
  await fs.rename(temporary, join(folder, MANIFEST));
  await fs.syncFolder(folder);
}

/** The worker thread's part of `writeManifest`. */
export async function writeManifestInChunks(
  fs: FileSystem,
  { folder, manifest }: WriteManifestArgs,
): Promise<void> {
  await writeManifestHere(fs, folder, { ...manifest.rest, entries: await fromChunks(manifest.entries) });
}
