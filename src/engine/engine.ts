import type { FileIdentity, FileSystem, OpenFile } from '../env/file-system.ts';
import type { TaskRun } from '../env/run-control.ts';
import type { Level } from '../options/choices.ts';
import type { Counts, Finding } from './report.ts';

/** The folder in a data directory that is stillpoint's own; never part of the database. */
export const LIFECYCLE = '.lifecycle';

/** Names at the root of a data directory that are no part of the database; `lost+found` is the file system's own. */
export const NOT_OF_THE_DATABASE: readonly string[] = [LIFECYCLE, 'lost+found'];
/** The file in a snapshot that lists all others. */
export const MANIFEST = 'snapshot.manifest';

/**
 * What a storage engine's data directory is made of, how it is captured while open, and how a copy is proven. An engine of
 * your own is the default export of a module that `registerEngine` is given; `testEngine` of `stillpoint/testing` shows
 * whether it keeps the contract. `src/engine/README.md` has a worked example.
 */
export interface Engine {
  /** Up to 50 lower-case letters, digits and hyphens, a letter first. Every snapshot's manifest has it. */
  readonly name: EngineName;
  /**
   * The file that the running engine keeps locked, relative to the data directory, if it has one. A restore takes that
   * lock before it replaces files, and leaves the file where it is. From its registration on, no file of that name is opened while this process
   * has it open: that would release a POSIX lock of the engine.
   */
  readonly lockFile?: string;
  /**
   * Whether a name at the root of the data directory is one that the engine gives: to its files, its lock, its text logs and what it
   * leaves half-written. A restore in place moves these names and no others. Absent: everything in the folder is the engine's.
   */
  readonly ownsName?: (name: string) => boolean;
  /**
   * Whether a path in one of its folders, with `/`, is one that the engine gives. A restore in place moves such a folder as it is, and tells
   * what else is in it. Absent: everything in its folders is the engine's.
   */
  readonly ownsInside?: (path: string) => boolean;
  /** Whether `link` mode is possible: are there files that the engine never changes once they stand? */
  readonly hasImmutableFiles: boolean;
  /**
   * Set where files name each other and are replaced all the time: then what looks like damage of a live directory counts
   * only if the directory stood still while it was read.
   */
  readonly requiresStableDirectory?: boolean;
  /** Whether `dir` holds this engine's files. Reads names and a few bytes, changes nothing. */
  detect(fs: FileSystem, dir: string): Promise<boolean>;
  /**
   * One consistent state of a directory that somebody may be writing to, found from outside, without the engine's help.
   * Rejects with `SOURCE_CHANGING` when none could be found within the engine's bound.
   */
  plan(context: PlanContext): Promise<CapturePlan>;
  /** The files of a data directory without a manifest, relative with `/`: what `verify` reads there. */
  listFiles(fs: FileSystem, dir: string): Promise<string[]>;
  /**
   * Whether a file that `listFiles` names is surely in the next snapshot, whole. Where even those do not fit on the disk, no checkpoint is
   * asked for. Absent: nobody knows before the plan.
   */
  readonly isSurelyCaptured?: (path: string) => boolean;
  /**
   * Reads one file of a copy once, from begin to end, for its checksums and for what the engine can say of its content.
   * Damage is a finding and never an exception; rejects only when the file cannot be read. Runs in a worker thread.
   */
  checkFile(file: OpenFile, request: FileCheckRequest, run: TaskRun): Promise<FileCheck>;
  /**
   * Set where files end with their own CRC-32, so that all of one size have the same: what is copied is then summed up with
   * CRC-32C, too, and not only what is read back.
   */
  readonly sealsWithCrc32?: boolean;
  /** Set where a large file of this path may be checked in parts by several threads at once. */
  readonly isDivisible?: (path: string) => boolean;
  /** Joins the checks of all parts of a file, in their order. Needed with `isDivisible`. */
  readonly joinParts?: (parts: readonly FileCheck[], request: FileCheckRequest) => FileCheck;
  /** Checks what holds between the files: nothing missing, sequences without gaps, tables as in the engine's own list. */
  checkConsistency(
    checks: ReadonlyMap<string, FileCheck>,
    request: Omit<FileCheckRequest, 'path'>,
  ): ConsistencyCheck;
  /**
   * Set where the list of the engine's files is a log of changes that grows. Resolves to a short list that says the same, in the place of
   * the old one. `dir` is a proven copy that nobody has open. Changes nothing.
   */
  readonly rewriteManifest?: (fs: FileSystem, dir: string, run: TaskRun) => Promise<RewrittenFiles>;
  /** How far a database had come, where its files say so. */
  readonly history?: History<unknown>;
  /**
   * Set where other engines write parts of the folder: the same engine for a folder of exactly these files. Its `partOf` says which part
   * a file belongs to, and so its `checkFile` is told. The built-in `parts` alone: of an engine of your own they are not used.
   */
  readonly forFiles?: (paths: Iterable<string>) => Engine;
  readonly partOf?: (path: string) => PartOfFolder | undefined;
}

/** A database that is part of a folder. */
export interface PartOfFolder {
  /** Its folder, relative to the data directory, with `/`; empty for the data directory itself. */
  readonly dir: string;
  readonly engine: EngineName;
}

/**
 * How far a database had come, as something that only rises in its life: the number of its last write. A position is data that JSON can
 * hold: backups keep it.
 */
export interface History<Position> {
  /**
   * The position of a state, by what `checkFile` gave as facts of its files, by path; undefined where they do not say. They may come back from
   * a file, so look at them before use.
   */
  positionOf(facts: ReadonlyMap<string, unknown>): Position | undefined;
  /**
   * Why the state `now` cannot have come after `before`: it is older, or of a database that was begun anew. Undefined when it can, or
   * nobody knows. `before` may come back from a file, too.
   */
  setbackOf(now: Position, before: unknown): string | undefined;
}

/** A built-in engine, or one of `registerEngine`. */
export type EngineName = 'lsm' | 'leveldb' | 'parts' | 'files' | (string & {});

export interface PlanContext {
  readonly fs: FileSystem;
  /** Absolute, real path of the data directory. */
  readonly dir: string;
  /**
   * Keeps an immutable file (path relative to `dir`) from vanishing until the capture is over: a hard link, or an open
   * descriptor where links are impossible. False when the file is gone. Pins outlive a failed round; pinning twice is free.
   */
  pin(path: string): Promise<boolean>;
  /**
   * Whether the pinned file is still at its path and unchanged. If not, the pin is dropped; the next `pin` takes the file that
   * is there then.
   */
  confirmPin(path: string): Promise<boolean>;
  /** Call it as soon as the number of files is known, before they are pinned: throws when no snapshot holds so many. */
  expectFiles(count: number): void;
  /** Throws once the run is cancelled; call it every round. */
  checkCancelled(): void;
}

/** An ordered list; the order is part of its meaning. Paths are relative to the data directory, with `/`. */
export interface CapturePlan {
  readonly items: readonly CaptureItem[];
  /** The last write of the state, as a decimal u64. */
  readonly checkpoint?: { readonly lsn: string };
  /**
   * Called when all immutable files are pinned and all images are copied. Resolves to undefined if the plan is one state, else to
   * the reason; then everything is planned again.
   */
  confirm?(): Promise<string | undefined>;
  /** How the plan was made, for reports and benchmarks. */
  readonly rounds?: PlanRounds;
  /** Closes what the plan keeps open. Called exactly once, when all images are copied or the capture has failed. */
  dispose?(): Promise<void>;
}

export interface PlanRounds {
  /** Attempts, the successful one included. */
  readonly count: number;
  /** How long nothing must have changed in the successful attempt. */
  readonly windowMs: number;
  /** Why each of the other attempts failed. */
  readonly reasons: readonly string[];
  /** `window`, or `logs-first` where edits came faster than windows. */
  readonly way: 'window' | 'logs-first';
}

export type CaptureItem = ImmutableItem | ImageItem | BytesItem;

/** A whole file that the engine never changes again. May be hard-linked, reused from the last snapshot, or reflinked. */
export interface ImmutableItem {
  readonly kind: 'immutable';
  readonly path: string;
  /** The size that the engine itself has on record; another one on disk is damage of the source. */
  readonly sizeBytes?: number;
}

/** `sizeBytes` zeros, with extents of the source and then patches laid over them. What neither covers stays a hole. */
export interface ImageItem {
  readonly kind: 'image';
  readonly path: string;
  readonly sizeBytes: number;
  /** Bytes that the source occupies on disk, if known. Less than its extents: it has holes. */
  readonly allocatedBytes?: number;
  readonly extents: readonly Extent[];
  readonly patches: readonly Patch[];
  /** Read from this descriptor instead of the path: the file may have lost its name. Closed by the plan's `dispose`. */
  readonly source?: OpenFile;
  /**
   * Set where nothing but the bytes tells whether the source changed while it was copied, since a write through a shared mapping leaves no
   * time. Then it is read once more before `confirm`, and must have the checksums of what was copied; the image must be the whole file.
   */
  readonly needsComparison?: true;
}

/** Content that the plan provides. */
export interface BytesItem {
  readonly kind: 'bytes';
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface Extent {
  readonly offset: number;
  readonly length: number;
}

export interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** What a checkpoint hook may return: until `release`, the files that its plan names stay valid. */
export interface Hold {
  readonly plan?: CapturePlan;
  /** Whether the held database lies in that folder (absolute, real path). If not, the run fails with `FOLDER_REPLACED`. Absent: not checked. */
  isIn?(dataDir: string): boolean | Promise<boolean>;
  /**
   * Called once, when no later write is in the snapshot: all that may change is copied, and the rest is pinned. Where files cannot be
   * pinned by hard links, that is after the last captured byte. The run fails if it rejects.
   */
  release(): void | Promise<void>;
}

export interface FileCheckRequest {
  /** Relative to the folder, with `/`: what findings name. */
  readonly path: string;
  readonly level: Level;
  /** The folder may be in use: a torn end of the log is a warning here and an error in a snapshot. */
  readonly live: boolean;
  /** Only this part, where the engine says that the file is divisible. Default: all of it. */
  readonly part?: Part;
  /** The database that the file is part of, by `Engine.partOf`. */
  readonly within?: PartOfFolder;
}

/** The `index`-th of `count` parts of about the same size. */
export interface Part {
  readonly index: number;
  readonly count: number;
}

export interface FileCheck {
  readonly sizeBytes: number;
  /** 0 where it was not asked for: a live folder has no manifest to compare it with, and an engine may leave it out there. */
  readonly crc32: number;
  /** Absent in a live folder. */
  readonly crc32c?: number | undefined;
  readonly findings: readonly Finding[];
  readonly counts: Partial<Counts>;
  /** What `checkConsistency` needs to know of this file; plain JSON, bounded in size. */
  readonly facts?: unknown;
  /** Identity of the file before it was read, if all parts agree. Engines need not set it. */
  readonly identity?: FileIdentity | undefined;
  /** Whether all that was read came from the device, and not from memory. Engines need not set it. */
  readonly medium?: boolean | undefined;
  /** When, if that was earlier. Engines need not set it. */
  readonly mediumAtMs?: number | undefined;
}

/** How files of a copy are to change. Paths are relative to the folder. */
export interface RewrittenFiles {
  readonly created: readonly NewContent[];
  readonly replaced: readonly NewContent[];
  readonly removed: readonly string[];
}

export interface NewContent {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface ConsistencyCheck {
  readonly findings: readonly Finding[];
  /** Counts of the whole database; they replace the sums of the files' counts. */
  readonly counts?: Partial<Counts>;
}
