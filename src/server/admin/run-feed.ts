import type { BackupCoordinator } from '../../coordinator/backup.ts';
import type { RestoreCoordinator } from '../../coordinator/restore.ts';
import type { OperationState } from '../../operation/operation-state.ts';

type Listener = (state: OperationState) => void;

/** Passes the changes of a run to its followers, with a single listener on the coordinator. */
export class RunFeed {
  readonly #followers = new Map<string, Set<Listener>>();

  constructor(coordinator: BackupCoordinator | RestoreCoordinator) {
    coordinator.on('state', (id, state) => {
      for (const listener of this.#followers.get(id) ?? []) listener(state);
    });
  }

  /** How many follow any run. */
  get size(): number {
    let size = 0;
    for (const listeners of this.#followers.values()) size += listeners.size;
    return size;
  }

  /** Returns the function that ends it. */
  follow(id: string, listener: Listener): () => void {
    const listeners = this.#followers.get(id) ?? new Set();
    this.#followers.set(id, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#followers.get(id) === listeners) this.#followers.delete(id);
    };
  }
}
