import { crc32c } from '../../format/crc32c.ts';
import type { Finding } from '../report.ts';

/** What the checks between files need to know of one file. Plain JSON: it crosses threads and may be stored. */
export interface LeveldbFacts {
  /** Null where too much of the file is unreadable. */
  readonly content: ContentFacts | null;
  /**
   * Findings that count only if the file is part of the state. A live folder, or one after a crash, may hold half-written files
   * that nobody will ever read.
   */
  readonly deferred: readonly Finding[];
}

export type ContentFacts = CurrentFacts | ManifestFacts | LogFacts | TableFacts;

export interface CurrentFacts {
  readonly kind: 'current';
  /** The MANIFEST that it names; null when it names none. */
  readonly manifest: string | null;
  /** What it holds, for where it names none. */
  readonly holds: string;
}

export interface ManifestFacts {
  readonly kind: 'manifest';
  readonly comparator: string;
  readonly logNumber: number;
  readonly prevLogNumber: number;
  readonly lastSequence: string;
  readonly tables: readonly TableListing[];
}

export interface TableListing {
  readonly level: number;
  readonly number: number;
  readonly sizeBytes: number;
  readonly smallest: string;
  readonly largest: string;
}

export interface LogFacts {
  readonly kind: 'log';
  /** Sequence of the first operation; null when the log holds none. */
  readonly first: string | null;
  /** The sequence that the next operation would have; null with `first`. */
  readonly next: string | null;
  readonly tornAt: number | null;
}

export interface TableFacts {
  readonly kind: 'table';
  /** Identities of the first and the last key; null where not every block could be read. */
  readonly smallest: string | null;
  readonly largest: string | null;
  readonly maxSequence: string;
  /** Findings that count only if keys are ordered bytewise, which the MANIFEST alone knows. */
  readonly order: readonly Finding[];
}

const WHOLE_KEY_BYTES = 256;

/** A short text that is equal for equal keys, however long they are. */
export function keyIdentity(key: Buffer): string {
  if (key.length <= WHOLE_KEY_BYTES) return key.toString('base64');
  return `${key.subarray(0, 32).toString('base64')}…${key.length}:${crc32c(key)}`;
}
