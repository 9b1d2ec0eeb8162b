import { RateLimiter } from '../env/rate-limiter.ts';
import { StillpointError } from '../errors.ts';
import type { Destination } from './destination.ts';

export interface BandwidthLimits {
  /** Bytes a second. */
  readonly upload?: number | undefined;
  readonly download?: number | undefined;
}

/** The same destination, with a limit on what is sent to it and what is read from it, over all requests together. */
export function limited(inner: Destination, { upload, download }: BandwidthLimits): Destination {
  if (upload === undefined && download === undefined) return inner;
  const up = limiter(upload);
  const down = limiter(download);
  return {
    url: inner.url,
    put: (key, body, options = {}) => {
      const open = () => held(body.open(), up, options.signal);
      return inner.put(key, { sizeBytes: body.sizeBytes, open }, options);
    },
    async get(key, options = {}) {
      const chunks = await inner.get(key, options);
      return chunks && held(chunks, down, options.signal);
    },
    head: (key) => inner.head(key),
    list: (prefix, options) => inner.list(prefix, options),
    delete: (keys) => inner.delete(keys),
    abortStale: (olderThanMs) => inner.abortStale(olderThanMs),
    probe: () => inner.probe(),
  };
}

function limiter(bytesPerSecond: number | undefined): RateLimiter {
  const made = new RateLimiter(new SharedArrayBuffer(RateLimiter.SIZE_BYTES), 0);
  if (bytesPerSecond !== undefined) made.start(bytesPerSecond);
  return made;
}

async function* held(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  rate: RateLimiter,
  signal = new AbortController().signal,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    await rate.wait(chunk.byteLength, signal).catch((error) => {
      if (!signal.aborted) throw error;
      throw new StillpointError('CANCELLED', 'cancelled on request', { cause: error });
    });
    yield chunk;
  }
}
