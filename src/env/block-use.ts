/** How many blocks of a file hold data. Only for file systems whose block count proves it, and only once the file is synced. */
export interface BlockUse {
  readonly blockBytes: number;
  /**
   * At most this many blocks hold data; the others are holes.
   * @param runs A number of runs of data that are known to lie two blocks or more apart.
   */
  atMost(runs: number): number;
}

// Types from `statfs`. Other file systems compress, inline small data or count differently: their counts prove nothing.
export const EXT4 = 0xef53;
export const XFS = 0x58465342;
/** A page is a block: one without data has none, and one that was moved out to disk still counts. */
const TMPFS = 0x01021994;

/** An ext4 inode describes this many runs itself. For more it needs at least one block, which is in the count. */
const EXT4_RUNS_IN_INODE = 4;

/** @param fileSystem Type and block size from `statfs`. */
export function blockUse(
  fileSystem: { readonly type: number; readonly bsize: number },
  allocatedBytes: number,
): BlockUse | undefined {
  const { type, bsize: blockBytes } = fileSystem;
  if (type !== EXT4 && type !== XFS && type !== TMPFS) return undefined;
  const blocks = Math.ceil(allocatedBytes / blockBytes);
  return {
    blockBytes,
    atMost: (runs) => (type === EXT4 && runs > EXT4_RUNS_IN_INODE ? blocks - 1 : blocks),
  };
}
