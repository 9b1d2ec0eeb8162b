import type { Engine } from '../engine/engine.ts';
import type { FileKind, FileSystem } from '../env/file-system.ts';
import type { RunControl } from '../env/run-control.ts';
import type { Store } from './store.ts';

/** What a damaged database still says, and what it does not say any more. */

/** The newest version of a key that one place has. */
export interface Entry {
  readonly key: Buffer;
  /** Of two versions of a key the higher one is newer. Up to 128 bits. */
  readonly version: bigint;
  /** Undefined: the key was deleted. */
  readonly value: Buffer | undefined;
}

/** Of several versions of a key the newest. */
export function newestOf(entries: readonly Entry[]): Entry[] {
  const newest = new Map<string, Entry>();
  for (const entry of entries) {
    const name = entry.key.toString('latin1');
    if ((newest.get(name)?.version ?? -1n) < entry.version) newest.set(name, entry);
  }
  return [...newest.values()];
}

/** Something that could not be read. */
export interface Loss {
  /** Relative to the folder. */
  readonly path: string;
  readonly offset: number | null;
  readonly what: string;
  /** The keys that may be missing, or have an older value, are this one … */
  readonly from?: Buffer | undefined;
  /** … and all behind it up to this one. Where both are absent, it may be any. */
  readonly upTo?: Buffer | undefined;
}

export interface Taking {
  /** Keys of one call are distinct. */
  readonly take: (entries: readonly Entry[]) => Promise<void>;
  readonly lose: (loss: Loss) => void;
  /** What is read where a checksum does not hold. Absent: nobody wants it. Keys of one call are distinct. */
  readonly doubt?: ((entries: readonly Entry[]) => Promise<void>) | undefined;
}

/** Something in the folder that has the name of a part of the database. */
export interface Part {
  /** Relative to the folder. */
  readonly path: string;
  readonly kind: FileKind;
}

export interface Source {
  readonly fs: FileSystem;
  readonly dir: string;
  /** The parts that are regular files. */
  readonly paths: readonly string[];
}

export interface ReadSource {
  readonly tables: number;
  readonly logs: number;
  readonly notes: readonly string[];
}

/** How the databases of one engine are read when they are damaged, and made anew. */
export interface Salvager {
  readonly engine: Engine;
  /** By their names alone: what is in them may be anything. Links are among them, and are not followed. */
  list(fs: FileSystem, dir: string): Promise<readonly Part[]>;
  /** Hands over all that the parts still say. What cannot be read is a loss and no failure. */
  read(source: Source, taking: Taking, control: RunControl): Promise<ReadSource>;
  /** A new database in a folder that does not exist, set up as the source `like`. */
  create(dir: string, like: Source | undefined): Promise<Store>;
}
