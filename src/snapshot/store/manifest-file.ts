import { join } from 'node:path';
import { MANIFEST } from '../../engine/engine.ts';
import { fromChunks, toChunks } from '../../env/json-chunks.ts';
import { RunControl } from '../../env/run-control.ts';
import { StillpointError } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { MANIFEST_LIMIT_BYTES, type Manifest, type ManifestEntry, type ParsedManifest } from './manifest.ts';
import { readManifestHere, writeManifestHere } from './manifest-bytes.ts';

/**
 * The manifest in a folder. A large one is read and written in a worker thread: parsing, checking and sealing tens of thousands of
 * entries would block the host's event loop for a good part of a second.
 */

type Outside = Pick<Environment, 'fs' | 'pool'>;

const SMALL_BYTES = 32 * 1024;
const SMALL_ENTRIES = 128;

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
  if (stat.sizeBytes <= SMALL_BYTES) return readManifestHere(env.fs, path);
  const read = await env.pool.run('readManifest', path, new RunControl());
  return read && { ...read.rest, entries: await fromChunks<ManifestEntry>(read.entries) };
}

/** Writes the manifest into a captured folder, durably; from here on nothing in it changes. */
export async function writeManifest(env: Outside, folder: string, manifest: Manifest): Promise<void> {
  const { entries, ...rest } = manifest;
  if (entries.length <= SMALL_ENTRIES) return writeManifestHere(env.fs, folder, manifest);
  const pieces = await toChunks(entries);
  await env.pool.run('writeManifest', { folder, manifest: { rest, entries: pieces } }, new RunControl());
}
