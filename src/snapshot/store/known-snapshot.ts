import type { Mode } from '../../options/choices.ts';
import type { FileUse } from './disk-use.ts';

/** A published snapshot as `list` shows it. */
export interface SnapshotSummary {
  readonly name: string;
  /** Null for a snapshot that another tool took. */
  readonly id: string | null;
  readonly sequence: number | null;
  readonly createdAtMs: number;
  readonly engine: string | null;
  /** `link`: it may share files with the database. Null when that is not on record. */
  readonly mode: Mode | null;
  readonly entries: number | null;
  readonly totalBytes: number | null;
  readonly location: string;
  /** Why the manifest cannot be trusted; null when it can. */
  readonly problem: string | null;
}

/** What is known of a snapshot without reading its files. */
export interface Standing {
  readonly snapshot: SnapshotSummary;
  /** Why it is known to be damaged; undefined when nothing says so. */
  readonly damage: string | undefined;
  /** Why nothing at all is known of it: the system would not let this process look. Undefined otherwise. */
  readonly refusal: string | undefined;
  /** How deep its proof went, as an index into `LEVELS`; -1 when nobody knows. */
  readonly depth: number;
  /** Whether parts of it could not be read by the proof. */
  readonly isUnread: boolean;
  /** The oldest proof among its files, for a damaged one the newest; null when that is not on record. */
  readonly verifiedAtMs: number | null;
  /** The oldest proof among its files that read the device itself, and not memory; null when a file has none. */
  readonly mediumAtMs: number | null;
  /** Its files on the disk. */
  readonly files: readonly FileUse[];
}
