import { basename } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { readSmallFile, withFile } from '../../env/io.ts';
import { CURRENT, parseCurrent, parseFileName } from '../../format/leveldb/file-name.ts';
import {
  describeLog,
  describeManifest,
  type LogDescription,
  type ManifestDescription,
} from './inspect-log.ts';
import { describeTable, type TableDescription } from './inspect-table.ts';

export interface InspectOptions {
  /** At most so many records, blocks, table entries and operations of one record are listed. Default: 1000. */
  readonly limit?: number;
  /** List the entries of a table, and not only its blocks. Default: false. */
  readonly entries?: boolean;
}

export type LeveldbFileDescription =
  | LogDescription
  | ManifestDescription
  | TableDescription
  | CurrentDescription;

export interface CurrentDescription {
  readonly kind: 'current';
  /** Null when the file names no MANIFEST. */
  readonly manifest: string | null;
  readonly problems: readonly string[];
}

const DEFAULT_LIMIT = 1000;
const CURRENT_LIMIT_BYTES = 1024;

/**
 * What a single file of a LevelDB database holds, as plain JSON; its name says which kind it is. A table is looked
 * at from begin to end, however little is listed. Values are given as lengths, u64 as decimal strings. Damage is
 * told under `problems`, and what can be read is shown all the same. Memory is bounded by `limit`, a table's index
 * and the largest record or block. Undefined when it is no file of LevelDB, or none at all.
 */
export async function inspectLeveldbFile(
  fs: FileSystem,
  path: string,
  options: InspectOptions = {},
): Promise<LeveldbFileDescription | undefined> {
  const { limit = DEFAULT_LIMIT, entries = false } = options;
  if ((await fs.inspect(path))?.kind !== 'file') return undefined;
  const name = basename(path);
  if (name === CURRENT) {
    const content = await readSmallFile(fs, path, CURRENT_LIMIT_BYTES);
    const manifest = content && parseCurrent(content);
    const problems = manifest === undefined ? ['names no MANIFEST'] : [];
    return { kind: 'current', manifest: manifest ?? null, problems };
  }
  const kind = parseFileName(name)?.kind;
  if (kind === undefined) return undefined;
  return withFile(fs, path, 'read', async (file): Promise<LeveldbFileDescription> => {
    if (kind === 'log') return describeLog(file, limit);
    if (kind === 'manifest') return describeManifest(file, limit);
    return describeTable(file, limit, entries);
  });
}
