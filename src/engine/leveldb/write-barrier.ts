import { StillpointError } from '../../errors.ts';

/** Delays the writes of an open database for a moment, without losing or reordering any. */
export interface WriteBarrier {
  /** The database's folder, if it says so. */
  readonly location: string | undefined;
  /**
   * From now on new writes wait. Resolves, when running writes have ended, to the function that opens the barrier again;
   * call it in every case. With several holders it opens when the last one has called it.
   */
  close(): Promise<() => void>;
  /** Gives the database its own methods back. */
  detach(): void;
}

/** The private methods of `abstract-level` in which every public write ends, those of sublevels included. */
const WRITES = ['_put', '_del', '_batch', '_clear'] as const;
const CHAINED = '_chainedBatch';

type Method = (this: unknown, ...args: unknown[]) => unknown;
type Methods = Record<string, unknown>;

const barriers = new WeakMap<object, AttachedBarrier>();

/** The methods of a database whose writes can be held back. */
export const WRITE_METHODS: readonly string[] = [...WRITES, CHAINED];

/**
 * Puts a barrier in front of the write methods of an `abstract-level` database, such as `classic-level`. It does not wait
 * for writes that began before.
 */
export function attachWriteBarrier(database: object): WriteBarrier {
  const attached = barriers.get(database);
  if (attached !== undefined) return attached.share();
  const barrier = new AttachedBarrier(database as Methods);
  barriers.set(database, barrier);
  return barrier;
}

class AttachedBarrier implements WriteBarrier {
  readonly #database: Methods;
  readonly #restore: (() => void)[] = [];
  #users = 1;
  #closers = 0;
  #underWay = 0;
  #waiting: (() => void)[] = [];
  #drained: (() => void)[] = [];

  constructor(database: Methods) {
    this.#database = database;
    for (const name of WRITES) this.#wrap(database, name, (write) => this.#held(write));
    this.#wrap(database, CHAINED, (open) => {
      const barrier = this;
      return function (...args) {
        const chained = open.apply(this, args) as Methods;
        chained._write = barrier.#held(chained._write as Method);
        return chained;
      };
    });
  }

  get location(): string | undefined {
    const { location } = this.#database;
    return typeof location === 'string' ? location : undefined;
  }

  share(): this {
    this.#users++;
    return this;
  }

  async close(): Promise<() => void> {
    this.#closers++;
    if (this.#underWay > 0) await new Promise<void>((resolve) => this.#drained.push(resolve));
    let isClosed = true;
    return () => {
      if (!isClosed) return;
      isClosed = false;
      if (--this.#closers === 0) this.#admitWaiting();
    };
  }

  detach(): void {
    if (--this.#users > 0) return;
    for (const restore of this.#restore) restore();
    barriers.delete(this.#database);
  }

  #wrap(target: Methods, name: string, around: (original: Method) => Method): void {
    const isOwn = Object.hasOwn(target, name);
    const original = target[name] as Method;
    const wrapped = around(original);
    target[name] = wrapped;
    this.#restore.push(() => {
      if (target[name] !== wrapped) return; // somebody else wrapped it too: ours stays and lets everything pass
      if (isOwn) target[name] = original;
      else delete target[name];
    });
  }

  #held(write: Method): Method {
    const barrier = this;
    return function (...args) {
      if (barrier.#closers === 0) return barrier.#track(() => write.apply(this, args));
      return new Promise((resolve, reject) => {
        barrier.#waiting.push(() => {
          barrier.#track(() => barrier.#stillOpen(write, this, args)).then(resolve, reject);
        });
      });
    };
  }

  async #track(write: () => unknown): Promise<unknown> {
    this.#underWay++;
    try {
      return await write();
    } finally {
      if (--this.#underWay === 0) for (const resolve of this.#drained.splice(0)) resolve();
    }
  }

  // LevelDB does not check again: a write to a closed database would crash the process.
  #stillOpen(write: Method, database: unknown, args: unknown[]): unknown {
    if (this.#database.status !== 'open') {
      throw new StillpointError('DATABASE_CLOSED', 'the database was closed while this write waited');
    }
    return write.apply(database, args);
  }

  // All in one go and in call order: a newer write must not overtake an older one.
  #admitWaiting(): void {
    for (const admit of this.#waiting.splice(0)) admit();
  }
}
