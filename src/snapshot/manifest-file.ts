import { join } from 'node:path';
import { MANIFEST } from '../engine/engine.ts';
import type { FileSystem } from '../env/file-system.ts';
import { createFile, readSmallFile } from '../env/io.ts';
import { fromPieces, toPieces } from '../env/pieces.ts';
import { RunControl } from '../env/worker-pool.ts';
import { StillpointError } from '../errors.ts';
import type { Environment } from './environment.ts';
import {
  decodeManifest,
  encodeManifest,
  MANIFEST_LIMIT_BYTES,
  type Manifest,
  type ManifestEntry,
  type ParsedManifest,
} from './manifest.ts';

/**
 * The manifest in a folder. One of many files is read and written in a worker thread: parsing, checking and sealing tens of
 * thousands of entries would keep the host's event loop for a good part of a second.
 */

type Outside = Pick<Environment, 'fs' | 'pool'>;

const SMALL_BYTES = 32 * 1024;
const SMALL_ENTRIES = 128;

/** A manifest as it crosses to another thread. */
export interface InPieces<M extends Manifest> {
  readonly rest: Omit<M, 'entries'>;
  readonly entries: readonly string[];
}

export interface WriteManifestArgs {
  readonly folder: string;
  readonly manifest: InPieces<Manifest>;
}

/** The manifest in a folder, undefined when there is none; `MANIFEST_INVALID` when it cannot be trusted. */
export async function readManifest(env: Outside, folder: string): Promise<ParsedManifest | undefined> {
  const path = join(folder, MANIFEST);
  const stat = await env.fs.inspect(path);
  if (stat === undefined) return undefined;
  if (stat.kind !== 'file' || stat.sizeBytes > MANIFEST_LIMIT_BYTES) {
    const what =
      stat.kind === 'file' ? `has ${stat.sizeBytes} bytes, more than any manifest` : 'is not a regular file';
    throw new StillpointError('MANIFEST_INVALID', `${path} ${what}`, { path });
  }
  if (stat.sizeBytes <= SMALL_BYTES) return readHere(env.fs, path);
  const read = await env.pool.run('readManifest', path, new RunControl());
  return read && { ...read.rest, entries: await fromPieces<ManifestEntry>(read.entries) };
}

async function readHere(fs: FileSystem, path: string): Promise<ParsedManifest | undefined> {
  const bytes = await readSmallFile(fs, path, MANIFEST_LIMIT_BYTES);
  return bytes === undefined ? undefined : decodeManifest(bytes, path);
}

/** The other thread's part of `readManifest`. */
export async function readManifestInPieces(
  fs: FileSystem,
  path: string,
): Promise<InPieces<ParsedManifest> | undefined> {
  const manifest = await readHere(fs, path);
  if (manifest === undefined) return undefined;
  const { entries, ...rest } = manifest;
  return { rest, entries: await toPieces(entries) };
}

/** Writes the manifest into a captured folder, durably; from here on nothing in it changes. */
export async function writeManifest(env: Outside, folder: string, manifest: Manifest): Promise<void> {
  const { entries, ...rest } = manifest;
  if (entries.length <= SMALL_ENTRIES) return writeHere(env.fs, folder, manifest);
  const pieces = await toPieces(entries);
  await env.pool.run('writeManifest', { folder, manifest: { rest, entries: pieces } }, new RunControl());
}

async function writeHere(fs: FileSystem, folder: string, manifest: Manifest): Promise<void> {
  const temporary = join(folder, `${MANIFEST}.tmp`);
  await createFile(fs, temporary, encodeManifest(manifest));
  await fs.rename(temporary, join(folder, MANIFEST));
  await fs.syncFolder(folder);
}

/** The other thread's part of `writeManifest`. */
export async function writeManifestInPieces(
  fs: FileSystem,
  { folder, manifest }: WriteManifestArgs,
): Promise<void> {
  await writeHere(fs, folder, { ...manifest.rest, entries: await fromPieces(manifest.entries) });
}
