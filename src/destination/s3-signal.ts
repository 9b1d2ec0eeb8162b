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

/** Ends the requests of the client, and the answers that are still being read, soon after `signal` is aborted. */
export function endWith(client: S3Client, signal: AbortSignal, clock: Clock): void {
  const hard = new AbortController();
  const begin = () => {
    const stop = clock.every(GRACE_MS, () => {
      stop();
      hard.abort();
    });
  };
  if (signal.aborted) begin();
  else signal.addEventListener('abort', begin, { once: true });
  const send = client.send.bind(client) as unknown as Send;
  const sendUntil: Send = async (command, { abortSignal } = {}) => {
    const request = new AbortController();
    const end = () => request.abort();
    const ends = abortSignal === undefined ? [hard.signal] : [hard.signal, abortSignal];
    for (const one of ends) one.addEventListener('abort', end, { once: true });
    if (ends.some(({ aborted }) => aborted)) end();
    try {
      const answer = await send(command, { abortSignal: request.signal });
      if (answer.Body !== undefined) endBody(answer.Body, hard.signal);
      return answer;
    } finally {
      for (const one of ends) one.removeEventListener('abort', end);
    }
  };
  client.send = sendUntil as unknown as typeof client.send;
}

function endBody(body: Readable, hard: AbortSignal): void {
  const end = () => body.destroy(new StillpointError('CANCELLED', 'cancelled on request'));
  hard.addEventListener('abort', end, { once: true });
  body.once('close', () => hard.removeEventListener('abort', end));
}
