import { StillpointError } from '../errors.ts';
import type { LifecycleMode } from '../operation/lifecycle.ts';
import type { Database } from './database.ts';

/**
 * The one way from the requests to the open database, so that it can be closed and opened again beneath them.
 *
 * ```
 *   closed ──open──▶ opening ──▶ open ──close──▶ draining ──▶ closing ──▶ closed
 *      ▲                │         ▲                  │
 *      └──── failed ────┘         └──── given up ────┘
 * ```
 *
 * What is under way when `close` is called ends before the database is closed, so a write that was acknowledged is in the
 * files as they stand then. What comes after is refused with `UNAVAILABLE` until it is open again; it is never kept
 * waiting, since nobody could say for how long.
 */
export class DatabaseHandle {
  readonly #openDatabase: () => Promise<Database>;
  readonly #mode: () => LifecycleMode;
  readonly #writeGuard: WriteGuard;
  #state: 'closed' | 'opening' | 'open' | 'draining' | 'closing' = 'closed';
  #database: Database | undefined;
  readonly #all = new UnderWayCount();
  readonly #writes = new UnderWayCount();

  constructor(
    openDatabase: () => Promise<Database>,
    mode: () => LifecycleMode,
    writeGuard: WriteGuard = { refuse() {}, admit: () => undefined },
  ) {
    this.#openDatabase = openDatabase;
    this.#mode = mode;
    this.#writeGuard = writeGuard;
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** Whether it is open and nothing is wrong with it. */
  get isSound(): boolean {
    return this.isOpen && this.failure === undefined;
  }

  /** Why the open database takes no more writes, if it does not. */
  get failure(): StillpointError | undefined {
    return this.#database?.failure;
  }

  async open(): Promise<void> {
    this.#expect('closed');
    this.#state = 'opening';
    try {
      this.#database = await this.#openDatabase();
      this.#state = 'open';
    } catch (error) {
      this.#state = 'closed';
      throw error;
    }
  }

  /**
   * Resolves when what was under way has ended and the database is closed; at once when it is closed already. When the signal is
   * aborted, whoever called has gone on: then the database is open when this rejects.
   */
  async close({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#state === 'closed') return;
    this.#expect('open');
    this.#state = 'draining';
    try {
      await this.#all.idle(signal);
    } catch (error) {
      this.#state = 'open';
      throw error;
    }
    this.#state = 'closing';
    try {
      await this.#database?.close();
      this.#setClosed();
      signal?.throwIfAborted();
    } catch (error) {
      this.#setClosed();
      // Whoever closes it counts on the old state when this fails. If opening fails too, requests are told that it is closed.
      await this.open().catch(() => undefined);
      throw error;
    }
  }

  /** Rejects with `UNAVAILABLE` while the database is not open. */
  async read<T>(work: (database: Database) => Promise<T>): Promise<T> {
    const database = this.#database;
    if (this.#state !== 'open' || database === undefined) {
      throw new StillpointError(
        'UNAVAILABLE',
        `the database is ${this.#state === 'open' ? 'closed' : STATE_TEXT[this.#state]}`,
      );
    }
    return this.#all.count(() => work(database));
  }

  /** As `read`, and `CONFLICT` while the mode blocks writes. */
  async write<T>(work: (database: Database) => Promise<T>): Promise<T> {
    this.#refuseWrite();
    const admitted = this.#writeGuard.admit();
    return this.#writes.count(async () => {
      if (admitted !== undefined) {
        await admitted;
        this.#refuseWrite(); // much may have happened meanwhile
      }
      return this.read(work);
    });
  }

  #refuseWrite(): void {
    const mode = this.#mode();
    if (mode !== 'normal') throw new StillpointError('CONFLICT', `writes are blocked in ${mode} mode`);
    this.#writeGuard.refuse();
  }

  /** Resolves when the writes that were under way have ended. Whoever calls it sees to it that no new ones are admitted. */
  writesEnded(signal?: AbortSignal): Promise<void> {
    return this.#writes.idle(signal);
  }

  #setClosed(): void {
    this.#database = undefined;
    this.#state = 'closed';
  }

  #expect(state: 'closed' | 'open'): void {
    if (this.#state === state) return;
    throw new StillpointError('CONFLICT', `the database is ${STATE_TEXT[this.#state]}`);
  }
}

/** What stands before each write. */
interface WriteGuard {
  /** Throws when it is refused. */
  refuse(): void;
  /** Something to wait for before it, if there is anything. */
  admit(): Promise<void> | undefined;
}

/** How many pieces of work are under way, and when there are none. */
class UnderWayCount {
  #count = 0;
  readonly #waiting = new Set<() => void>();

  async count<T>(work: () => Promise<T>): Promise<T> {
    this.#count++;
    try {
      return await work();
    } finally {
      this.#count--;
      if (this.#count === 0) for (const resolve of this.#waiting) resolve();
    }
  }

  /** Rejects with the signal's reason when that is aborted first. */
  idle(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      if (this.#count === 0) return resolve();
      const end = () => {
        this.#waiting.delete(onIdle);
        signal?.removeEventListener('abort', onAbort);
      };
      const onIdle = () => {
        end();
        resolve();
      };
      const onAbort = () => {
        end();
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(onIdle);
    });
  }
}

const STATE_TEXT = {
  closed: 'closed',
  opening: 'being opened',
  open: 'open',
  draining: 'being closed',
  closing: 'being closed',
} as const;
