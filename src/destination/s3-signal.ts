import { setMaxListeners } from 'node:events';
import type { Readable } from 'node:stream';
import type { S3Client } from '@aws-sdk/client-s3';
import type { Clock } from '../env/clock.ts';
import { StillpointError } from '../errors.ts';

interface SendOptions {
  readonly abortSignal?: AbortSignal;
}
type Send = (command: unknown, options?: SendOptions) => Promise<{ readonly Body?: Readable }>;

/** What is nearly done may end by itself: a manifest that is on its way, the parts of an upload that are to go. */
const GRACE_MS = 1_000;

/**
 * Ends the requests of the client, and the answers that are still being read, soon after `signal` is aborted. Listens only while there are
 * some: the signal may live for months, and clients come and go.
 */
export function endWith(client: S3Client, signal: AbortSignal, clock: Clock): void {
  setMaxListeners(0, signal); // one for each request
  let endMs: number | undefined;
  /** Calls `end` when the grace is over. Returns how to stop waiting for that. */
  const whenOver = (end: () => void): (() => void) => {
    let stop = () => {};
    const begin = () => {
      endMs ??= clock.monotonicMs() + GRACE_MS; // the first that sees the cancel counts for all
      const leftMs = endMs - clock.monotonicMs();
      if (leftMs <= 0) return end();
      stop = clock.every(leftMs, () => {
        stop();
        end();
      });
    };
    if (signal.aborted) begin();
    else signal.addEventListener('abort', begin, { once: true });
    return () => {
      stop();
      signal.removeEventListener('abort', begin);
    };
  };
  const send = client.send.bind(client) as unknown as Send;
  const sendUntil: Send = async (command, { abortSignal } = {}) => {
    const request = new AbortController();
    const end = () => request.abort();
    const stopWaiting = whenOver(end);
    abortSignal?.addEventListener('abort', end, { once: true });
    if (abortSignal?.aborted) end();
    try {
      const answer = await send(command, { abortSignal: request.signal });
      if (answer.Body !== undefined) endBody(answer.Body, whenOver);
      return answer;
    } finally {
      stopWaiting();
      abortSignal?.removeEventListener('abort', end);
    }
  };
  client.send = sendUntil as unknown as typeof client.send;
}

function endBody(body: Readable, whenOver: (end: () => void) => () => void): void {
  body.once(
    'close',
    whenOver(() => body.destroy(new StillpointError('CANCELLED', 'cancelled on request'))),
  );
}
