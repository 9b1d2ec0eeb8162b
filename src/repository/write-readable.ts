import { dirname } from 'node:path';
import type { OpenFile } from '../env/file-system.ts';
import { makeFolders, writeFully } from '../env/io.ts';
import type { RunControl } from '../env/run-control.ts';
import { placeOf } from '../snapshot/store/layout.ts';
import type { BackupManifest, StoredFile } from './backup-manifest.ts';
import { type ObjectDamage, readObjects, type Segment, type SegmentSink } from './read-objects.ts';
import type { StoreBackups } from './store-backups.ts';

/**
 * Writes the files of a damaged backup into a folder, as far as they can be read: each has its size, and zeros where nothing was read; one of which nothing was found is left out. Bytes
 * of an object that changed are written too: checksums of the engine tell which blocks of it are good. Resolves to what is damaged.
 */
export async function writeReadable(
  store: StoreBackups,
  manifest: BackupManifest,
  folder: string,
  control: RunControl,
): Promise<ObjectDamage[]> {
  const { fs } = store.environment;
  await makeFolders(fs, folder);
  const sizes = new Map(manifest.snapshot.entries.map(({ path, size }) => [path, size]));
  const create = async (path: string): Promise<OpenFile> => {
    const place = placeOf(folder, path);
    await makeFolders(fs, dirname(place));
    const file = await fs.open(place, 'create');
    await file.truncate(sizes.get(path)!);
    return file;
  };
  for (const { path, stored } of manifest.files) if (stored === undefined) await (await create(path)).close();
  const damages: ObjectDamage[] = [];
  await readObjects(store, {
    manifest,
    signal: control.signal,
    open: (segment) => openSink(create, segment),
    onBytes: (count) => {
      control.checkCancelled();
      control.addBytes(count);
    },
    onDamage: (damage) => damages.push(damage),
  });
  return damages;
}

type Ranges = NonNullable<StoredFile['ranges']>;

/** Every file that has the content of the segment gets it. */
async function openSink(create: (path: string) => Promise<OpenFile>, { files, bytes }: Segment) {
  const open: { readonly file: OpenFile; readonly ranges: Ranges }[] = [];
  const whole: Ranges = [[0, bytes]];
  const close = async () => {
    for (const { file } of open) await file.close();
  };
  try {
    for (const { path, ranges = whole } of files) open.push({ file: await create(path), ranges });
  } catch (error) {
    await close();
    throw error;
  }
  let position = 0;
  return {
    async write(chunk) {
      for (const { file, ranges } of open) await writeAt(file, ranges, position, chunk);
      position += chunk.byteLength;
    },
    done: async () => {},
    close,
  } satisfies SegmentSink;
}

/** @param position Of the chunk in the data of the file, which lies in `ranges`. */
async function writeAt(file: OpenFile, ranges: Ranges, position: number, chunk: Uint8Array): Promise<void> {
  let begin = 0;
  for (const [offset, length] of ranges) {
    const from = Math.max(position, begin);
    const to = Math.min(position + chunk.byteLength, begin + length);
    if (from < to)
      await writeFully(file, chunk.subarray(from - position, to - position), offset + from - begin);
    begin += length;
  }
}
