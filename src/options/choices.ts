/** Values that options choose from. */

/**
 * How thoroughly files are proven:
 *
 * - `files`: the manifest agrees with the folder in both directions: nothing missing, nothing extra, sizes, CRCs.
 * - `open`: also the log is replayed and the tables are opened (footer, index, checksum of the file).
 * - `full`: also every block and every entry is read.
 */
export const LEVELS = ['files', 'open', 'full'] as const;
export type Level = (typeof LEVELS)[number];

/**
 * - `copy`: the snapshot shares no block with the database.
 * - `link`: files that the engine never changes are hard links.
 */
export const MODES = ['copy', 'link'] as const;
export type Mode = (typeof MODES)[number];

/**
 * - `auto`: whole files become copy-on-write clones where the file system can do that.
 * - `never`: every byte is written anew, so a bad block damages only one of the two files.
 */
export const CLONE_CHOICES = ['auto', 'never'] as const;
export type CloneChoice = (typeof CLONE_CHOICES)[number];

/**
 * - `fast`: through the memory of the operating system.
 * - `quiet`: past it, one small step at a time.
 */
export const PACES = ['fast', 'quiet'] as const;
export type Pace = (typeof PACES)[number];

/** Where a snapshot goes; each has a `latest` marker of its own. One in `transient` is removed by the next run, unless somebody reads it. */
export const SNAPSHOT_KINDS = ['backup', 'archive', 'export', 'transient'] as const;
export type SnapshotKind = (typeof SNAPSHOT_KINDS)[number];
