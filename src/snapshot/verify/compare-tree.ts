import { MANIFEST } from '../../engine/engine.ts';
import type { Finding } from '../../engine/report.ts';
import { mapConcurrent } from '../../env/concurrency.ts';
import type { FileKind, FileStat, FileSystem } from '../../env/file-system.ts';
import { walk } from '../../env/folder-tree.ts';
import type { RunControl } from '../../env/run-control.ts';
import { placeOf } from '../store/layout.ts';
import type { ManifestEntry } from '../store/manifest.ts';
import type { SizedPath } from './check-files.ts';

/** Most of the time of a look is the way to Node's I/O threads and back. */
const LOOKS_AT_ONCE = 16;

export interface FoundFile extends SizedPath {
  readonly stat?: FileStat | undefined;
}

/** Compares a folder with its manifest, both ways. Resolves to the files that are worth reading, with their real sizes. */
export async function compareTree(
  fs: FileSystem,
  folder: string,
  entries: readonly ManifestEntry[],
  control: RunControl,
): Promise<{ files: FoundFile[]; findings: Finding[] }> {
  const missing = new Map(entries.map((entry) => [entry.path, entry]));
  const found: ManifestEntry[] = [];
  const files: FoundFile[] = [];
  const findings: Finding[] = [];
  for await (const { path, kind } of walk(fs, folder)) {
    control.checkCancelled();
    if (path === MANIFEST || kind === 'folder') continue;
    const entry = missing.get(path);
    missing.delete(path);
    if (entry === undefined) {
      findings.push(copyDamage(path, null, 'FILE_EXTRA', 'stands in the folder and not in the manifest'));
      continue;
    }
    if (kind !== 'file') {
      findings.push(notAFile(path, kind));
      continue;
    }
    found.push(entry);
  }
  const stats = await mapConcurrent(found, LOOKS_AT_ONCE, ({ path }) => {
    control.checkCancelled();
    return fs.inspect(placeOf(folder, path));
  });
  for (const [index, { path, size }] of found.entries()) {
    const stat = stats[index];
    const sizeBytes = stat?.sizeBytes ?? 0;
    files.push({ path, sizeBytes, stat, ...(stat && { allocatedBytes: stat.allocatedBytes }) });
    if (sizeBytes !== size) {
      const message = `has ${sizeBytes} bytes; the manifest says ${size}`;
      findings.push(copyDamage(path, Math.min(sizeBytes, size), 'FILE_SIZE', message));
    }
  }
  for (const path of missing.keys()) {
    findings.push(copyDamage(path, null, 'FILE_MISSING', 'stands in the manifest and not in the folder'));
  }
  return { files, findings };
}

export function copyDamage(path: string, offset: number | null, code: string, message: string): Finding {
  return { path, offset, code, severity: 'error', message, verdict: 'copy-damaged' };
}

export const notAFile = (path: string, kind: FileKind): Finding =>
  copyDamage(path, null, 'NOT_A_FILE', `is ${kind === 'link' ? 'a symbolic link' : 'a special file'}`);
