import { dirname, join } from 'node:path';
import type { FileSystem } from '../../env/file-system.ts';
import { foldersOf, listRegularFiles, walk } from '../../env/folder-tree.ts';
import { makeFolders, removeTree, withFile } from '../../env/io.ts';
import { StillpointError } from '../../errors.ts';
import { placeOf } from '../../snapshot/store/layout.ts';
import type { ArtifactRow } from '../journal/operation-states.ts';
import type { PlanTarget } from '../plan/plan.ts';
import { folderDigest } from './digest.ts';

/** The folders of a backup: each target's copy is made in `<folder>.tmp` and gets its name when the backup is finished. */

const ARTIFACTS = 'artifacts';

/** Relative to the layout folder, with `/`. */
export const artifactPathOf = ({ folder }: PlanTarget): string => `${ARTIFACTS}/${folder}`;

export const temporaryFolderOf = (layout: string, target: PlanTarget): string =>
  `${placeOf(layout, artifactPathOf(target))}.tmp`;

/** The temporary folder, there and, unless what is in it may be of use, empty. */
export async function prepareDownload(
  fs: FileSystem,
  layout: string,
  target: PlanTarget,
  keepsContent: boolean,
): Promise<string> {
  const folder = temporaryFolderOf(layout, target);
  if (!keepsContent) await removeTree(fs, folder);
  await makeFolders(fs, folder);
  return folder;
}

/** Brings every file and folder of a download to disk. `UNSUPPORTED_FILE` for a link or special file in it. */
export async function syncTree(fs: FileSystem, root: string): Promise<void> {
  const files = await listRegularFiles(fs, root);
  for (const path of files) await withFile(fs, placeOf(root, path), 'read', (file) => file.sync());
  const folders = new Set(foldersOf(files));
  for await (const { path, kind } of walk(fs, root)) if (kind === 'folder') folders.add(path);
  for (const folder of [...folders].sort().reverse()) await fs.syncFolder(placeOf(root, folder));
  await fs.syncFolder(root);
  await fs.syncFolder(dirname(root));
}

/**
 * Gives a verified copy its name. Refused with `TARGET_NOT_EMPTY` where something else stands; when the crash of an earlier run was
 * between the renaming and its record, what stands there has the recorded digest, and that is enough.
 */
export async function makeDurable(
  fs: FileSystem,
  layout: string,
  target: PlanTarget,
  row: ArtifactRow,
): Promise<ArtifactRow> {
  const path = artifactPathOf(target);
  const temporary = temporaryFolderOf(layout, target);
  const place = placeOf(layout, path);
  const isFinal = (await fs.inspect(place)) !== undefined;
  const isTemporary = (await fs.inspect(temporary)) !== undefined;
  if (isFinal && isTemporary) {
    throw new StillpointError(
      'TARGET_NOT_EMPTY',
      `${place} stands where the copy of ${target.target_id} belongs`,
      {
        path: place,
        hint: 'Move it away, then run the command again.',
      },
    );
  }
  if (isTemporary) {
    await fs.rename(temporary, place);
  } else if (!isFinal) {
    throw new StillpointError('NOT_FOUND', `the copy of ${target.target_id} is gone: ${temporary}`, {
      path: temporary,
    });
  } else if ((await folderDigest(fs, place)) !== row.checksum) {
    throw new StillpointError('COPY_DAMAGED', `${place} does not have the digest that was recorded for it`, {
      path: place,
    });
  }
  await fs.syncFolder(join(layout, ARTIFACTS));
  return { ...row, state: 'Durable', artifact_path: path };
}
