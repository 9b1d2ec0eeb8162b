import { join } from 'node:path';
import * as z from 'zod';
import { readJson, writeJson } from '../../env/durable-json.ts';
import type { FileSystem } from '../../env/file-system.ts';
import { StillpointError } from '../../errors.ts';
import { LAST_SNAPSHOT } from './layout.ts';

/**
 * `backup/last-snapshot.json`: the number of the last snapshot, and how far its database had come. It stands beside the snapshots, since
 * their own manifests may be damaged, unreadable or gone, and the next one must have a higher number and know of a setback all the same.
 */
export interface LastSnapshot {
  readonly name: string;
  readonly sequence: number;
  /** The engine whose word the position is. */
  readonly engine: string;
  /** What that engine's `history` said last; absent where it never said anything. */
  readonly position?: unknown;
}

const LIMIT_BYTES = 64 * 1024;
const schema = z.object({
  name: z.string(),
  sequence: z.number().int().min(0),
  engine: z.string(),
  position: z.unknown().optional(),
});

const fileIn = (parent: string): string => join(parent, LAST_SNAPSHOT);

/** Undefined where it is absent or damaged: the manifests tell the number then. */
export async function readLastSnapshot(fs: FileSystem, parent: string): Promise<LastSnapshot | undefined> {
  const refuse = (why: string) => new StillpointError('STORE_INVALID', why);
  return readJson(fs, fileIn(parent), { schema, limitBytes: LIMIT_BYTES, refuse }).catch((error) => {
    if (error instanceof StillpointError) return undefined;
    throw error;
  });
}

/** Durable before the snapshot is published. The caller holds the lifecycle lock. */
export const writeLastSnapshot = (fs: FileSystem, parent: string, last: LastSnapshot): Promise<void> =>
  writeJson(fs, fileIn(parent), last, 'lines');
