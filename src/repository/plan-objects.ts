import { randomHex } from '../env/random.ts';
import type { StoredFile, StoredFiles } from './backup-manifest.ts';
import type { DigestedFile } from './digests.ts';
import { objectKey, PACK_LIMIT_BYTES, packKey } from './layout.ts';

/** Files with less data go into packs: a request for each would take longer than its bytes. */
export const SMALL_BYTES = 256 * 1024;

export interface UploadPlan {
  /** Where each file lies once all is uploaded, in the order of the snapshot. */
  readonly files: readonly StoredFile[];
  /** Sizes of the packs that `files` name. */
  readonly packs: Readonly<Record<string, number>>;
  readonly uploads: readonly Upload[];
  readonly uploadBytes: number;
  /** Files whose data the backup before has, in objects that must not be used. */
  readonly filesAgain: number;
}

/** An object to be made of the data of these files, one behind the other. */
export interface Upload {
  readonly key: string;
  readonly files: readonly DigestedFile[];
  readonly bytes: number;
}

/** Where files lie, as a manifest says it. */
export type Stored = Pick<StoredFiles, 'files' | 'packs'>;

interface Location {
  readonly key: string;
  readonly offset: number;
  readonly bytes: number;
}

/**
 * Decides what is stored where: what the backup before has is used again, the rest becomes objects and packs.
 * @param request `previous` is where data lies already, `unusable` the keys of objects that are missing or damaged, `firstPack` the
 * number of the first new pack.
 */
export function planObjects(request: {
  readonly storeId: string;
  readonly backupId: string;
  readonly digested: readonly DigestedFile[];
  readonly previous: Stored | undefined;
  readonly unusable: ReadonlySet<string>;
  readonly firstPack: number;
  /** What an object is called by what it holds. */
  readonly idOf: (content: string) => string;
}): UploadPlan {
  const { storeId, backupId, digested, previous, unusable } = request;
  const locations = reusableLocations(digested, previous, unusable);
  const uploads: Upload[] = [];
  let packCount = request.firstPack;
  let pack: { key: string; files: DigestedFile[]; bytes: number } | undefined;
  // The order in which a restore asks for them.
  const bySize = [...digested].sort((a, b) => b.entry.size - a.entry.size);
  for (const file of bySize) {
    const { dataBytes: bytes } = file.digest;
    const content = contentOf(file.digest.sha256, bytes);
    if (bytes === 0 || locations.has(content)) continue;
    if (bytes >= SMALL_BYTES) {
      const key = objectKey(storeId, request.idOf(content), randomHex(16));
      uploads.push({ key, files: [file], bytes });
      locations.set(content, { key, offset: 0, bytes });
      continue;
    }
    if (pack === undefined || pack.bytes + bytes > PACK_LIMIT_BYTES) {
      pack = { key: packKey(storeId, backupId, packCount++), files: [], bytes: 0 };
      uploads.push(pack);
    }
    locations.set(content, { key: pack.key, offset: pack.bytes, bytes });
    pack.files.push(file);
    pack.bytes += bytes;
  }
  const files = digested.map(({ entry, digest: { sha256, dataBytes, ranges } }): StoredFile => {
    const stored = locations.get(contentOf(sha256, dataBytes));
    return {
      path: entry.path,
      sha256,
      ...(stored && { stored }),
      ...(ranges && { ranges: [...ranges].map(pair) }),
    };
  });
  const sizes = new Map(Object.entries(previous?.packs ?? {}));
  for (const { key, files, bytes } of uploads)
    if (files[0]!.digest.dataBytes < SMALL_BYTES) sizes.set(key, bytes);
  const packs: Record<string, number> = {};
  for (const { stored } of files) {
    const size = stored && sizes.get(stored.key);
    if (stored !== undefined && size !== undefined) packs[stored.key] = size;
  }
  const uploaded = new Set(uploads.map(({ key }) => key));
  const spoilt = contentsIn(previous, (key) => unusable.has(key));
  const isAgain = ({ sha256, stored }: StoredFile): boolean =>
    stored !== undefined && uploaded.has(stored.key) && spoilt.has(contentOf(sha256, stored.bytes));
  return {
    files,
    packs,
    uploads,
    uploadBytes: uploads.reduce((sum, { bytes }) => sum + bytes, 0),
    filesAgain: files.filter(isAgain).length,
  };
}

/** Where the backup before has what is needed now. A pack of which less than half is needed is left behind. */
function reusableLocations(
  digested: readonly DigestedFile[],
  previous: Stored | undefined,
  unusable: ReadonlySet<string>,
): Map<string, Location> {
  const there = contentsIn(previous, (key) => !unusable.has(key));
  const needed = new Map<string, Location>();
  for (const { digest } of digested) {
    const content = contentOf(digest.sha256, digest.dataBytes);
    const location = there.get(content);
    if (location !== undefined) needed.set(content, location);
  }
  const used = new Map<string, number>();
  for (const { key, bytes } of needed.values()) used.set(key, (used.get(key) ?? 0) + bytes);
  for (const [content, { key }] of needed) {
    const size = previous?.packs[key];
    if (size !== undefined && 2 * used.get(key)! < size) needed.delete(content);
  }
  return needed;
}

/** Where the contents lie that are stored in these objects. */
function contentsIn(stored: Stored | undefined, isWanted: (key: string) => boolean): Map<string, Location> {
  const contents = new Map<string, Location>();
  for (const { sha256, stored: location } of stored?.files ?? []) {
    if (location !== undefined && isWanted(location.key))
      contents.set(contentOf(sha256, location.bytes), location);
  }
  return contents;
}

const contentOf = (sha256: string, bytes: number): string => `${sha256} ${bytes}`;

const pair = ([offset, length]: readonly [number, number]): [number, number] => [offset, length];
