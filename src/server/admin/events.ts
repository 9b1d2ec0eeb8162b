import { Readable } from 'node:stream';
import type { BackupCoordinator } from '../../coordinator/backup.ts';
import type { RestoreCoordinator } from '../../coordinator/restore.ts';
import { isFinished, type OperationState } from '../../operation/operation-state.ts';
import type { ServerContext } from '../assemble-server.ts';
import { settledState } from './last-runs.ts';
import type { RunFeed } from './run-feed.ts';

const PROGRESS_MS = 200;
/** What a client that reads slowly may have waiting; beyond, progress is left out and changes of state are not. */
const BACKLOG_BYTES = 64 * 1024;

interface Followed {
  readonly coordinator: BackupCoordinator | RestoreCoordinator;
  readonly feed: RunFeed;
  readonly id: string;
  readonly first: OperationState;
  readonly describe: (state: OperationState) => unknown;
  /** The reply once the run has ended. */
  readonly whole: () => Promise<unknown>;
}

const event = (kind: 'state' | 'progress', data: unknown): string =>
  `event: ${kind}\ndata: ${JSON.stringify(data)}\n\n`;

/**
 * A run as server-sent events: `state` at once and at every change, `progress` five times a second while it runs; the data of
 * both is what `describe` makes of the state. Ends with the run, with the server, or with the client; nothing of it stays.
 */
export function streamRun(
  { environment, closing }: ServerContext,
  { coordinator, feed, id, first, describe, whole }: Followed,
): Readable {
  const stream = new Readable({ read() {}, highWaterMark: BACKLOG_BYTES });
  const send = (kind: 'state' | 'progress', state: OperationState) => {
    if (stream.destroyed || hasEnded) return;
    stream.push(event(kind, describe(state)));
  };
  let hasEnded = false;
  const cleanUp: (() => void)[] = [];
  const end = () => {
    if (!hasEnded && !stream.destroyed) stream.push(null);
    hasEnded = true;
    for (const undo of cleanUp.splice(0)) undo();
  };
  const fail = (error: unknown) => stream.destroy(error as Error);

  /** The last event waits until the place is free for the next run. */
  const finish = async () => {
    await settledState(coordinator, id);
    const reply = await whole();
    if (!stream.destroyed && !hasEnded) stream.push(event('state', reply));
    end();
  };
  if (isFinished(first)) {
    finish().catch(fail);
    return stream;
  }
  const unfollow = feed.follow(id, (state) => {
    if (isFinished(state)) finish().catch(fail);
    else send('state', state);
  });
  const stopTicking = environment.clock.every(PROGRESS_MS, () => {
    if (stream.readableLength > BACKLOG_BYTES) return;
    coordinator.status(id).then((state) => !isFinished(state) && send('progress', state), fail);
  });
  closing.signal.addEventListener('abort', end, { once: true });
  cleanUp.push(unfollow, stopTicking, () => closing.signal.removeEventListener('abort', end));
  stream.once('close', end);
  send('state', first);
  return stream;
}
