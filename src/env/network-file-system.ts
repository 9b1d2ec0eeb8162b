import { statfs } from 'node:fs/promises';

/** Numbers of Linux (`man 2 statfs`) of file systems whose server, or program, is elsewhere. */
const NETWORK: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [0x517b, 'SMB'],
  [0x65735546, 'FUSE'],
  [0x01021997, '9P'],
  [0x00c36400, 'Ceph'],
]);

/** The name of the network file system that `path` lies on; undefined for a local one, and where nobody can tell. */
export async function networkFileSystem(path: string): Promise<string | undefined> {
  if (process.platform !== 'linux') return undefined;
  try {
    return NETWORK.get((await statfs(path)).type);
  } catch {
    return undefined;
  }
}
