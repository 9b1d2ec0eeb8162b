/** What a damaged database still says, and what it does not say any more. */

/** The newest version of a key that one place has. */
export interface Entry {
  readonly key: Buffer;
  readonly sequence: bigint;
  /** Undefined: the key was deleted. */
  readonly value: Buffer | undefined;
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
  readonly take: (entries: readonly Entry[]) => Promise<void>;
  readonly lose: (loss: Loss) => void;
}
