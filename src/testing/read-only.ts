import type { FileSystem, OpenFile } from '../env/file-system.ts';
import { nodeFileSystem } from '../env/node-file-system.ts';
import { StillpointError } from '../errors.ts';

/** The real file system for somebody who may look and not touch; `opened` has the paths of all files that were opened. */
export function readOnly(opened: Set<string>): FileSystem {
  const refuse = async (path: string): Promise<never> => {
    throw new StillpointError('INTERNAL', `${path} belongs to the database and must not be changed`);
  };
  return {
    ...nodeFileSystem,
    async open(path, how) {
      if (how !== 'read') return refuse(path);
      opened.add(path);
      return nodeFileSystem.open(path, how);
    },
    makeFolder: refuse,
    rename: refuse,
    link: refuse,
    clone: refuse,
    removeFile: refuse,
    removeFolder: refuse,
  };
}

/** A file whose `n`-th read fails as on a broken disk; `reads` counts them. */
export function failingFile(file: OpenFile, n: number, reads: { count: number }): OpenFile {
  return {
    fd: file.fd,
    path: file.path,
    async read(target, position) {
      reads.count++;
      if (reads.count === n) throw new StillpointError('IO_ERROR', 'EIO: i/o error, read');
      return file.read(target, position);
    },
    write: (source, position) => file.write(source, position),
    truncate: (sizeBytes) => file.truncate(sizeBytes),
    sync: () => file.sync(),
    syncData: () => file.syncData(),
    stat: () => file.stat(),
    ...(file.blockUse && { blockUse: () => file.blockUse!() }),
    close: () => file.close(),
  };
}
