import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { addAbortSignal } from 'node:stream';
import { withTimeLimit } from '../env/time-limit.ts';
import { StillpointError, systemCode } from '../errors.ts';
import { isLoopbackName } from './loopback.ts';

export interface HttpOptions {
  /** `http://` or `https://`, host and port; a path before the routes is kept. */
  readonly url: string;
  /** Sent as `x-api-key`; never over plain HTTP beyond this machine. */
  readonly key?: string | undefined;
  /** PEM of the authority that the server's certificate must come from. Default: those that Node.js knows. */
  readonly ca?: string | Buffer | undefined;
  /** For a connection on which nothing moves, and for a whole reply that is not a stream. */
  readonly timeoutMs: number;
}

export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** Sent as JSON, unless it is bytes. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

export interface HttpReply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
}

/**
 * Requests to one server. What answers is not trusted: replies are bounded, redirects are not followed, nothing is waited for
 * without a limit. What goes wrong on the way is `NODE_UNREACHABLE`.
 */
export class HttpConnection {
  /** For messages: without what a URL may have in it that is secret. */
  readonly name: string;
  readonly #base: URL;
  readonly #options: HttpOptions;
  readonly #agent: HttpAgent | HttpsAgent;

  constructor(options: HttpOptions) {
    this.#base = requireSafeUrl(options);
    this.name = this.#base.origin;
    this.#options = options;
    const keep = { keepAlive: true, maxSockets: 8, maxFreeSockets: 2 };
    this.#agent =
      this.#base.protocol === 'https:'
        ? new HttpsAgent({ ...keep, minVersion: 'TLSv1.2', ...(options.ca && { ca: options.ca }) })
        : new HttpAgent(keep);
  }

  close(): void {
    this.#agent.destroy();
  }

  /** The whole reply. One of more than `limitBytes` is `NODE_REPLY_INVALID`. */
  call(request: HttpRequest, limitBytes: number): Promise<HttpReply> {
    return withTimeLimit(this.#options.timeoutMs, request.signal, async (signal) =>
      this.#read(request, await this.open({ ...request, signal }), limitBytes),
    );
  }

  /** What is left of a reply that was opened, within the limits of a whole one. */
  rest(request: HttpRequest, reply: IncomingMessage, limitBytes: number): Promise<HttpReply> {
    return withTimeLimit(this.#options.timeoutMs, request.signal, (signal) =>
      this.#read({ ...request, signal }, addAbortSignal(signal, reply), limitBytes),
    );
  }

  async #read(request: HttpRequest, reply: IncomingMessage, limitBytes: number): Promise<HttpReply> {
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of reply as AsyncIterable<Buffer>) {
        size += chunk.byteLength;
        if (size > limitBytes)
          throw new StillpointError(
            'NODE_REPLY_INVALID',
            `${this.name}: the reply to ${request.method} ${request.path} is longer than ${limitBytes} bytes`,
          );
        chunks.push(chunk);
      }
    } catch (error) {
      if (error instanceof StillpointError) throw error;
      throw this.#unreachable(request, error);
    } finally {
      reply.destroy();
    }
    return { status: reply.statusCode ?? 0, headers: reply.headers, bytes: Buffer.concat(chunks) };
  }

  /** The reply as a stream of bytes, which the caller reads to its end or destroys. */
  open(request: HttpRequest): Promise<IncomingMessage> {
    const { method, path, body, headers = {}, signal } = request;
    const { key, timeoutMs } = this.#options;
    const url = new URL(this.#base);
    const [pathname = '', query] = path.split('?');
    url.pathname = `${url.pathname.replace(/\/$/, '')}${pathname}`;
    url.search = query === undefined ? '' : `?${query}`;
    const isBytes = Buffer.isBuffer(body);
    const content = body === undefined || isBytes ? body : JSON.stringify(body);
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    return new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = send(url, {
        method,
        agent: this.#agent,
        headers: {
          ...headers,
          // As UTF-8: a header takes no letters beyond Latin-1.
          ...(key !== undefined && { 'x-api-key': Buffer.from(key).toString('latin1') }),
          ...(content !== undefined && {
            'content-type': isBytes ? 'application/octet-stream' : 'application/json',
            'content-length': Buffer.byteLength(content),
          }),
        },
        ...(signal && { signal }),
      });
      const onTimeout = () =>
        outgoing.destroy(new StillpointError('NODE_UNREACHABLE', `nothing came for ${timeoutMs} ms`));
      outgoing.setTimeout(timeoutMs, onTimeout);
      outgoing.once('error', (error) => reject(this.#unreachable(request, error)));
      outgoing.once('response', resolve);
      outgoing.end(content);
    });
  }

  #unreachable({ method, path, signal }: HttpRequest, cause: unknown): StillpointError {
    const code = systemCode(cause);
    const why =
      signal?.aborted && isTimeout(signal.reason)
        ? `no whole reply within ${this.#options.timeoutMs} ms`
        : code !== undefined && !(cause instanceof StillpointError)
          ? code
          : cause instanceof Error
            ? cause.message
            : String(cause);
    return new StillpointError('NODE_UNREACHABLE', `${this.name} does not answer ${method} ${path}: ${why}`, {
      cause,
    });
  }
}

const isTimeout = (reason: unknown): boolean =>
  reason instanceof DOMException && reason.name === 'TimeoutError';

/** `INVALID_REQUEST` for a URL that a key must not be sent to. */
function requireSafeUrl({ url, key }: HttpOptions): URL {
  const refuse = (why: string, hint?: string) =>
    new StillpointError('INVALID_REQUEST', why, hint === undefined ? {} : { hint });
  if (!URL.canParse(url)) throw refuse(`${JSON.stringify(url)} is no URL`);
  const base = new URL(url);
  if (base.protocol !== 'http:' && base.protocol !== 'https:')
    throw refuse(`${base.origin} is neither http nor https`);
  if (base.username !== '' || base.password !== '')
    throw refuse(`the URL of ${base.host} has a user or a password in it`, 'Give the key on its own.');
  if (base.search !== '' || base.hash !== '')
    throw refuse(`the URL of ${base.host} has a query or a fragment`);
  if (key !== undefined && base.protocol === 'http:' && !isLoopbackName(base.hostname))
    throw refuse(`a key is not sent to ${base.origin} over plain HTTP`, 'Use https, or leave out the key.');
  return base;
}
