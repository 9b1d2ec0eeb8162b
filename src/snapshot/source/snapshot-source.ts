import type { ParsedManifest } from '../store/manifest.ts';

/**
 * Where a snapshot's manifest and files are read from: a folder, a backup in a repository, another node.
 *
 * A source is not trusted. Whoever restores from it compares sizes and checksums with the manifest while copying, and proves the
 * copy afterwards, whatever the source says. Whoever opens a source calls `release` exactly once.
 */
export interface SnapshotSource {
  /** Names the source in messages and records, in up to 4096 bytes: the path of a folder, a URL, the id of a backup. */
  readonly location: string;
  /** The folder that holds the files, if they lie in one on this machine. Then worker threads copy them, and `read` is not used. */
  readonly folder?: string;
  /** The engine that wrote the snapshot. Needed only where the manifest does not say it and there is no folder to detect it from. */
  readonly engine?: string;
  /** Decode the bytes with `decodeManifest`, which rejects hostile ones with `MANIFEST_INVALID`. */
  manifest(): Promise<ParsedManifest>;
  /**
   * The bytes of one file from its first to its last, as chunks of any size. `path` is an entry of the manifest.
   *
   * An error of the iteration fails the restore with that error. `signal` is aborted once no more bytes are wanted: the run
   * was cancelled, has failed, or the file is longer than its entry. Time limits and retries are the source's own: a
   * source that never answers is waited for until the run is cancelled.
   */
  read(path: string, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /** How many bytes of a file are no hole. Default: its size. With it, a sparse file is not refused for want of space. */
  storedBytes?(path: string): number;
  /** Puts on record that the content does not hold, although every byte is what the manifest says. Its failure causes a warning. */
  noteDamage?(): Promise<void>;
  /** The error of a restore from it, which may say what to restore instead. It must not reject. */
  explain?(error: unknown): Promise<unknown>;
  /**
   * Ends what the source holds: locks, connections, streams that were aborted. Called once the files are copied. A failure, or taking
   * longer than ten seconds, causes a warning of the process and fails nothing.
   */
  release(): Promise<void>;
}
