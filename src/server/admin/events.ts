import { Readable } from 'node:stream';
import { isFinished, type OperationState } from '../../operation/operation-state.ts';
import type { ServerContext } from '../assemble-server.ts';
import { settledState } from './last-runs.ts';

const PROGRESS_MS = 200;
/** What a client that reads slowly may have waiting; beyond, progress is left out and changes of state are not. */
const BACKLOG_BYTES = 64 * 1024;

/**
 * A run as server-sent events: `state` at once and at every change, `progress` five times a second while it runs; the data of
 * both is what `describe` makes of the state. Ends with the run, with the server, or with the client; nothing of it stays.
 */
export function streamRun(
  { backups, backupFeed, environment, closing }: ServerContext,
  id: string,
  first: OperationState,
  describe: (state: OperationState) => unknown,
): Readable {
  const stream = new Readable({ read() {}, highWaterMark: BACKLOG_BYTES });
  const send = (event: 'state' | 'progress', state: OperationState) => {
    if (stream.destroyed || hasEnded) return;
    stream.push(`event: ${event}\ndata: ${JSON.stringify(describe(state))}\n\n`);
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
    const state = await settledState(backups, id);
    send('state', state);
    end();
  };
  if (isFinished(first)) {
    finish().catch(fail);
    return stream;
  }
  const unfollow = backupFeed.follow(id, (state) => {
    if (isFinished(state)) finish().catch(fail);
    else send('state', state);
  });
  const stopTicking = environment.clock.every(PROGRESS_MS, () => {
    if (stream.readableLength > BACKLOG_BYTES) return;
    backups.status(id).then((state) => !isFinished(state) && send('progress', state), fail);
  });
  closing.signal.addEventListener('abort', end, { once: true });
  cleanUp.push(unfollow, stopTicking, () => closing.signal.removeEventListener('abort', end));
  stream.once('close', end);
  send('state', first);
  return stream;
}
