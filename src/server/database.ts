import type { EngineName, Hold } from '../engine/engine.ts';
import type { StillpointError } from '../errors.ts';

/** What the server needs of an open database. Keys and values are bytes; keys are ordered bytewise. */
export interface Database {
  /** Undefined when there is no such key. */
  get(key: Buffer): Promise<Buffer | undefined>;
  /** All operations or none. Resolves when they are durable, and not before. */
  write(ops: readonly WriteOp[]): Promise<Written>;
  /** The pairs of a range over one state of the database. Ending the walk early frees what it uses. */
  iterate(range: KeyRange): AsyncIterable<readonly [Buffer, Buffer]>;
  /** Brings what was written to where a snapshot finds it cheaply. */
  checkpoint?(options: { readonly signal: AbortSignal }): Promise<unknown>;
  /** Holds the state of this moment for a capture; without it a snapshot is made from outside. */
  hold?(): Promise<Hold>;
  compact?(): Promise<void>;
  /** What went wrong for good, if anything did: it takes no more writes until it is opened again. */
  readonly failure?: StillpointError | undefined;
  /** What opening it brought back from its log; null when the engine does not tell. */
  readonly entriesReplayed: number | null;
  /** Frees the folder for others. No other call is under way then. */
  close(): Promise<void>;
}

export type WriteOp =
  | { readonly type: 'put'; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: 'delete'; readonly key: Buffer };

export interface Written {
  /** The place of the commit in the order of all, a decimal u64; null when the engine has no such number. */
  readonly lsn: string | null;
}

export interface KeyRange {
  /** The first key that belongs to it. */
  readonly gte?: Buffer;
  /** The first key behind it. */
  readonly lt?: Buffer;
  /** Descending. */
  readonly reverse: boolean;
  /** At most so many pairs. */
  readonly limit: number;
}

/** How the database of a data directory is opened. */
export interface Backend {
  readonly engine: EngineName;
  /** Makes a new database in a folder without one. Rejects with a `StillpointError`. */
  open(dir: string): Promise<Database>;
}
