import { dirname, join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { createFile, makeFolders, readSmallFile, removeIfPresent, replaceFile } from '../../env/io.ts';
import { warn } from '../../env/safe-calls.ts';
import { newUlid, ULID } from '../../env/ulid.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import type { Environment } from '../environment.ts';
import { noteFormerHome } from './former-homes.ts';
import { type Layout, lineageFile } from './layout.ts';

/**
 * `.lifecycle/store.json`: which database this is, whatever its folder is called and wherever it is moved. A restore in place
 * keeps it. Fields that this version does not know are kept.
 */
const storeFileSchema = z.looseObject({
  version: z.literal(1),
  store_id: z.string().regex(ULID, 'is not a ULID'),
  created_at_ms: z.number().int().min(0),
});

export type StoreFile = z.infer<typeof storeFileSchema>;

const LIMIT_BYTES = 64 * 1024;
const LINEAGE_LIMIT_BYTES = 1024 * 1024;

export const storeFileOf = (layout: Layout): string => join(layout.lifecycle, 'store.json');

/** The store's identity, undefined when it has none yet; `STORE_INVALID` when the file cannot be understood. */
export async function readStoreFile(fs: FileSystem, layout: Layout): Promise<StoreFile | undefined> {
  const path = storeFileOf(layout);
  return readJson(fs, path, {
    schema: storeFileSchema,
    limitBytes: LIMIT_BYTES,
    refuse: (why, cause) => new StillpointError('STORE_INVALID', `${path}: ${why}`, { path, cause }),
  });
}

/**
 * The store's identity, made on first use. It needs no lock: the file gets its name by a hard link, which never replaces
 * another file, so of two processes that make one at the same time both read the same.
 */
export async function ensureStoreFile(
  { fs, clock, newId }: Pick<Environment, 'fs' | 'clock' | 'newId'>,
  layout: Layout,
): Promise<StoreFile> {
  const found = await readStoreFile(fs, layout);
  if (found !== undefined) return found;
  const path = storeFileOf(layout);
  const nowMs = clock.nowMs();
  const made: StoreFile = { version: 1, store_id: newUlid(nowMs), created_at_ms: nowMs };
  await makeFolders(fs, layout.lifecycle);
  const temporary = join(dirname(path), `.store.json.${newId()}.tmp`);
  await removeIfPresent(fs, temporary); // of a process that died, where ids repeat
  await createFile(fs, temporary, Buffer.from(`${JSON.stringify(made)}\n`));
  try {
    await fs.link(temporary, path);
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
    // Another process was faster: its identity counts.
  } finally {
    await removeIfPresent(fs, temporary);
    await fs.syncFolder(layout.lifecycle);
  }
  return (await readStoreFile(fs, layout)) ?? made;
}

/**
 * The snapshots are kept in another folder from now on: the database stays the same store, and what was published from it is known there
 * too, as are its jobs. A folder that has been another store stays that one. The caller holds the lock of the lifecycle folder of `to`.
 */
export async function carryIdentity(fs: FileSystem, from: Layout, to: Layout): Promise<void> {
  const store = await readStoreFile(fs, from);
  if (store === undefined) return;
  const known = await readStoreFile(fs, to);
  if (known !== undefined && known.store_id !== store.store_id) {
    warn(
      `${storeFileOf(to)} is that of another store than ${storeFileOf(from)}; backups go on with the first`,
    );
    return;
  }
  // Before the identity: a store that does not know its last backup is taken for a clone.
  if (await isNewer(fs, lineageFile(from), lineageFile(to))) {
    const published = await readSmallFile(fs, lineageFile(from), LINEAGE_LIMIT_BYTES);
    if (published !== undefined) await replaceFile(fs, lineageFile(to), published);
  }
  await noteFormerHome(fs, from, to).catch(warn); // a history that cannot follow makes it no other store
  if (known === undefined) await writeJson(fs, storeFileOf(to), store, 'compact');
}

/** A data directory that takes no change never says that it is kept elsewhere: what it has of its own is old. */
async function isNewer(fs: FileSystem, path: string, other: string): Promise<boolean> {
  const [stat, than] = [await fs.inspect(path), await fs.inspect(other)];
  return stat !== undefined && (than === undefined || stat.mtimeNs > than.mtimeNs);
}

/** Gives a store the identity `storeId`: for a copy that is to be a database of its own. */
export async function renewStoreFile(
  env: Pick<Environment, 'fs' | 'clock' | 'newId'>,
  layout: Layout,
  storeId: string,
): Promise<void> {
  const before = await ensureStoreFile(env, layout);
  const renewed: StoreFile = { ...before, store_id: storeId, created_at_ms: env.clock.nowMs() };
  await writeJson(env.fs, storeFileOf(layout), renewed, 'compact');
}
