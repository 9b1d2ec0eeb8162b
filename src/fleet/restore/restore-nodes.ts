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
  /** Whether what was sent is still there: the copy of another restore takes its place. */
  hasCopy(nodeId: string, context: RestoreContext): Promise<boolean>;
  /** What the restore has done to the node. */
  report(nodeId: string, context: RestoreContext): Promise<HoldReply>;
  /** Refuses writes for the time of a lease, which is renewed while this process lives. A node that is held stays so. */
  quiesce(nodeId: string, context: RestoreContext): Promise<void>;
  /** Takes a snapshot of the present state, and keeps it from being pruned. Resolves to its id. */
  snapshot(nodeId: string, context: RestoreContext): Promise<string>;
  /** Refuses writes until `release`, whatever happens to this process. `LEASE_LOST` when writes came since `quiesce`. */
  hold(nodeId: string, context: RestoreContext): Promise<HoldReply>;
  /** Exchanges the database for what was sent. Resolves when the new state is open. */
  restore(nodeId: string, source: string, context: RestoreContext): Promise<void>;
  /** Takes that back. */
  undo(nodeId: string, context: RestoreContext): Promise<void>;
  /** Rejects unless the node is well, is held by this restore, and has the restored state. */
  probe(nodeId: string, context: RestoreContext): Promise<void>;
  /** The node takes writes again, whether it is quiesced or held. Doing it twice is no error. */
  release(nodeId: string, context: RestoreContext): Promise<void>;
  /** Removes what was sent. */
  discard(nodeId: string, context: RestoreContext): Promise<void>;
  /** From now on the snapshot may be pruned; with `discard` the node deletes it as soon as it can. */
  unpin(
    nodeId: string,
    snapshotId: string,
    context: RestoreContext,
    options: { readonly discard: boolean },
  ): Promise<void>;
}
