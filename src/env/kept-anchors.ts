import { closeSync, readlinkSync } from 'node:fs';

export const DESCRIPTORS = '/proc/self/fd';

/** One descriptor of a folder. */
export interface Anchor {
  readonly folder: string;
  readonly fd: number;
  /** How many calls use it now. */
  users: number;
}

/** Descriptors of folders between one call and the next. */
export interface KeptAnchors {
  /** One that is kept, if it still is that folder's; the caller releases it. */
  take(folder: string): Anchor | undefined;
  /** For a descriptor that was opened just now; the caller releases it. */
  add(folder: string, fd: number): Anchor;
  release(anchor: Anchor): void;
}

/** Each call opens its own. */
export const NONE_KEPT: KeptAnchors = {
  take: () => undefined,
  add: (folder, fd) => ({ folder, fd, users: 1 }),
  release: ({ fd }) => closeSync(fd),
};

/** A walk through many folders would keep all of them open. */
const MOST_IDLE = 16;

/**
 * Calls in one folder follow each other, thousands of them in a snapshot. They share a descriptor as long as the kernel still has the
 * same name for it: a folder that was moved, removed or replaced is looked up again. All are closed once a turn of the event loop
 * ends without a call under way.
 */
export class TurnAnchors implements KeptAnchors {
  /** The last used is the last. */
  readonly #byFolder = new Map<string, Anchor>();
  /** Calls under way. */
  #calls = 0;
  #isClosing = false;

  take(folder: string): Anchor | undefined {
    const anchor = this.#byFolder.get(folder);
    if (anchor === undefined) return undefined;
    const name = readlinkSync(`${DESCRIPTORS}/${anchor.fd}`);
    this.#byFolder.delete(folder);
    if (name !== folder) {
      if (anchor.users === 0) closeSync(anchor.fd);
      return undefined;
    }
    this.#byFolder.set(folder, anchor);
    anchor.users++;
    this.#calls++;
    return anchor;
  }

  add(folder: string, fd: number): Anchor {
    const anchor = { folder, fd, users: 1 };
    this.#calls++;
    if (!this.#byFolder.has(folder)) this.#byFolder.set(folder, anchor);
    return anchor;
  }

  release(anchor: Anchor): void {
    anchor.users--;
    this.#calls--;
    if (anchor.users === 0 && this.#byFolder.get(anchor.folder) !== anchor) closeSync(anchor.fd);
    this.#closeIdle(MOST_IDLE);
    if (this.#calls > 0 || this.#isClosing) return;
    this.#isClosing = true;
    setImmediate(() => {
      this.#isClosing = false;
      if (this.#calls === 0) this.#closeIdle(0);
    });
  }

  /** All but the `most` that were used last. */
  #closeIdle(most: number): void {
    let excess = this.#byFolder.size - most;
    for (const anchor of this.#byFolder.values()) {
      if (excess-- <= 0) return;
      if (anchor.users > 0) continue;
      this.#byFolder.delete(anchor.folder);
      closeSync(anchor.fd);
    }
  }
}
