/** How much of a file is on disk, where the file system's count of blocks proves it: once the file has been synced. */
export interface BlockUse {
  readonly blockBytes: number;
  /**
   * No more blocks than this hold data; all else is a hole.
   * @param runs At least so many stretches of data are known that lie two blocks or more apart.
   */
  atMost(runs: number): number;
}

// From `statfs`. Others compress, keep small data elsewhere, or count in ways of their own: their counts prove nothing.
const EXT4 = 0xef53;
const XFS = 0x58465342;

/** So many stretches an inode of ext4 describes by itself; for more it takes at least one block, which is counted, too. */
const EXT4_RUNS_IN_INODE = 4;

/** @param fileSystem As `statfs` tells it. */
export function blockUse(
  fileSystem: { readonly type: number; readonly bsize: number },
  allocatedBytes: number,
): BlockUse | undefined {
  const { type, bsize: blockBytes } = fileSystem;
  if (type !== EXT4 && type !== XFS) return undefined;
  const blocks = Math.ceil(allocatedBytes / blockBytes);
  return {
    blockBytes,
    atMost: (runs) => (type === EXT4 && runs > EXT4_RUNS_IN_INODE ? blocks - 1 : blocks),
  };
}
