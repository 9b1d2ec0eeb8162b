import { StillpointError } from '../../errors.ts';

/** Holds back the writes of an open database for moments, without losing or reordering any. */
export interface WriteBarrier {
  /** The database's folder, if it says so. */
  readonly location: string | undefined;
  /**
   * From now on new writes wait. Resolves once those under way have ended, to the function that lets all go on; call it
   * in every case. Several may hold the gate at once: it opens when the last one lets go.
   */
  close(): Promise<() => void>;
  /** Gives the database its own methods back. */
  detach(): void;
}

/** What `abstract-level` asks its implementations to provide: every public write, sublevels included, ends in these. */
const WRITES = ['_put', '_del', '_batch', '_clear'] as const;
const CHAINED = '_chainedBatch';

type Method = (this: unknown, ...args: unknown[]) => unknown;
type Methods = Record<string, unknown>;

const gates = new WeakMap<object, AttachedBarrier>();

/** The methods of a database whose writes can be held back. */
export const WRITE_METHODS: readonly string[] = [...WRITES, CHAINED];

/**
 * Puts a gate in front of the write methods of an `abstract-level` database (`classic-level` is one). Writes that began
 * before are not known to it.
 */
export function attachWriteBarrier(database: object): WriteBarrier {
  const attached = gates.get(database);
  if (attached !== undefined) return attached.share();
  const gate = new AttachedBarrier(database as Methods);
  gates.set(database, gate);
  return gate;
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
    for (const name of WRITES) this.#wrap(database, name, (write) => this.#gated(write));
    this.#wrap(database, CHAINED, (open) => {
      const gate = this;
      return function (...args) {
        const chained = open.apply(this, args) as Methods;
        chained._write = gate.#gated(chained._write as Method);
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
    gates.delete(this.#database);
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

  #gated(write: Method): Method {
    const gate = this;
    return function (...args) {
      if (gate.#closers === 0) return gate.#track(() => write.apply(this, args));
      return new Promise((resolve, reject) => {
        gate.#waiting.push(() => {
          gate.#track(() => gate.#stillOpen(write, this, args)).then(resolve, reject);
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

  // The engine itself does not look again, and a write to a closed database would bring the process down.
  #stillOpen(write: Method, database: unknown, args: unknown[]): unknown {
    if (this.#database.status !== 'open') {
      throw new StillpointError('DATABASE_CLOSED', 'the database was closed while this write waited');
    }
    return write.apply(database, args);
  }

  // All at once and in the order of their calls: a write made meanwhile must not overtake an older one.
  #admitWaiting(): void {
    for (const admit of this.#waiting.splice(0)) admit();
  }
}
