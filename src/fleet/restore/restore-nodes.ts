import type { HoldReply } from '../../rpc/client.ts';

/** What one call to a node is part of. */
export interface RestoreContext {
  /** Of the restore; it names the hold on the node. */
  readonly restoreId: string;
  /** The same for the same attempt of the same step, also after the controller died in the middle of it. */
  readonly key: string;
  readonly signal: AbortSignal;
  readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

/** What does the work of a restore. Every function rejects when it did not do it, and may be called again. */
export interface RestoreNodes {
  /** Brings a copy to the node and proves it there. Resolves to what `restore` takes as its source. */
  send(nodeId: string, folder: string, context: RestoreContext): Promise<string>;
  /** Refuses writes until `release`, whatever happens to this process. With `dry` it only tells. */
  hold(nodeId: string, context: RestoreContext, options?: { readonly dry: boolean }): Promise<HoldReply>;
  /** Takes a snapshot of the present state. Resolves to its id. */
  snapshot(nodeId: string, context: RestoreContext): Promise<string>;
  /** Exchanges the database for what was sent. Resolves when the new state is open. */
  restore(nodeId: string, source: string, context: RestoreContext): Promise<void>;
  /** Takes that back. */
  undo(nodeId: string, context: RestoreContext): Promise<void>;
  /** Rejects unless the node is well, is held by this restore, and has the restored state. */
  probe(nodeId: string, context: RestoreContext): Promise<void>;
  /** The node takes writes again. Doing it twice is no error. */
  release(nodeId: string, context: RestoreContext): Promise<void>;
  /** Removes what was sent. */
  discard(nodeId: string, context: RestoreContext): Promise<void>;
}
