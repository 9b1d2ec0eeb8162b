import type { IncomingMessage } from 'node:http';
import * as z from 'zod';
import { ERROR_CODES, type ErrorCode, StillpointError } from '../errors.ts';
import { MANIFEST_LIMIT_BYTES } from '../snapshot/store/manifest.ts';
import { holdReplySchema, incomingFileReplySchema, incomingReplySchema, releaseReplySchema } from './hold.ts';
import { HttpConnection, type HttpReply, type HttpRequest } from './http.ts';
import {
  identityReplySchema,
  pinReplySchema,
  type quiesceBodySchema,
  quiesceReplySchema,
  resumeReplySchema,
} from './node.ts';
import { jobSchema, pushReplySchema, repositoriesReplySchema } from './offsite.ts';
import { backupReplySchema, healthReplySchema, restoreReplySchema, statusReplySchema } from './replies.ts';

export interface AdminClientOptions {
  /** `http://` or `https://`, host and port. */
  readonly url: string;
  /** The API key; never sent over plain HTTP beyond this machine. */
  readonly key?: string | undefined;
  /** PEM of the authority that the server's certificate must come from. */
  readonly ca?: string | Buffer | undefined;
  /** For a whole reply, and for a stream on which nothing moves. Default 30 * 1000. */
  readonly timeoutMs?: number;
}

export type Identity = z.infer<typeof identityReplySchema>;
export type BackupReply = z.infer<typeof backupReplySchema>;
export type RestoreReply = z.infer<typeof restoreReplySchema>;
export type HoldReply = z.infer<typeof holdReplySchema>;
export type IncomingReply = z.infer<typeof incomingReplySchema>;
export type QuiesceBody = z.input<typeof quiesceBodySchema>;

/** The options of a backup that a controller sets; `POST /api/admin/backup` has more. */
export interface BackupBody {
  readonly key?: string;
  readonly epoch?: string;
  readonly run?: string;
  readonly level?: 'files' | 'open' | 'full';
}

export interface OpenFileReply {
  /** Where the bytes begin: what was asked for, or 0 when the server sends the whole file. */
  readonly from: number;
  readonly etag: string | undefined;
  readonly stream: IncomingMessage;
}

const REPLY_LIMIT_BYTES = 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 30 * 1000;

/**
 * The admin RPC of one server: the only place that knows its routes. Each function rejects with the server's own code, with
 * `NODE_UNREACHABLE`, or with `NODE_REPLY_INVALID` when what answers does not keep to the contract. Nothing is retried.
 */
export class AdminClient {
  readonly #connection: HttpConnection;

  /** `INVALID_REQUEST` for a URL that cannot be used, and for a key that would cross the network readable. */
  constructor({ url, key, ca, timeoutMs = DEFAULT_TIMEOUT_MS }: AdminClientOptions) {
    this.#connection = new HttpConnection({ url, key, ca, timeoutMs });
  }

  close(): void {
    this.#connection.close();
  }

  identity(signal?: AbortSignal): Promise<Identity> {
    return this.#json({ method: 'GET', path: '/api/admin/identity', signal }, identityReplySchema);
  }

  /** Rejects with `UNAVAILABLE` while the database is closed. */
  async health(signal?: AbortSignal): Promise<void> {
    await this.#json({ method: 'GET', path: '/api/admin/health', signal }, healthReplySchema);
  }

  status(signal?: AbortSignal): Promise<z.infer<typeof statusReplySchema>> {
    return this.#json({ method: 'GET', path: '/api/admin/status', signal }, statusReplySchema);
  }

  quiesce(body: QuiesceBody, signal?: AbortSignal): Promise<z.infer<typeof quiesceReplySchema>> {
    return this.#json({ method: 'POST', path: '/api/admin/quiesce', body, signal }, quiesceReplySchema);
  }

  async resume(body: { readonly run: string; readonly epoch: string }, signal?: AbortSignal): Promise<void> {
    await this.#json({ method: 'POST', path: '/api/admin/resume', body, signal }, resumeReplySchema);
  }

  startBackup(body: BackupBody, signal?: AbortSignal): Promise<BackupReply> {
    return this.#json({ method: 'POST', path: '/api/admin/backup', body, signal }, backupReplySchema);
  }

  backup(handle: string, signal?: AbortSignal): Promise<BackupReply> {
    return this.#json(
      { method: 'GET', path: `/api/admin/backup/${part(handle)}`, signal },
      backupReplySchema,
    );
  }

  pin(
    name: string,
    body: { readonly run: string; readonly ttl_ms: number; readonly discard?: boolean },
    signal?: AbortSignal,
  ): Promise<z.infer<typeof pinReplySchema>> {
    const path = `/api/admin/backups/${part(name)}/pin`;
    return this.#json({ method: 'POST', path, body, signal }, pinReplySchema);
  }

  /** Has the server upload a snapshot into a repository of its own settings file. */
  push(
    name: string,
    body: { readonly key: string; readonly repository: string },
    signal?: AbortSignal,
  ): Promise<z.infer<typeof pushReplySchema>> {
    const path = `/api/admin/backups/${part(name)}/push`;
    return this.#json({ method: 'POST', path, body, signal }, pushReplySchema);
  }

  job(id: string, signal?: AbortSignal): Promise<z.infer<typeof jobSchema>> {
    return this.#json({ method: 'GET', path: `/api/admin/jobs/${part(id)}`, signal }, jobSchema);
  }

  repositories(signal?: AbortSignal): Promise<z.infer<typeof repositoriesReplySchema>> {
    return this.#json({ method: 'GET', path: '/api/admin/repositories', signal }, repositoriesReplySchema);
  }

  hold(
    body: { readonly run: string; readonly epoch?: string; readonly dry?: boolean },
    signal?: AbortSignal,
  ): Promise<HoldReply> {
    return this.#json({ method: 'POST', path: '/api/admin/hold', body, signal }, holdReplySchema);
  }

  async release(run: string, signal?: AbortSignal): Promise<void> {
    const request: HttpRequest = { method: 'POST', path: '/api/admin/release', body: { run }, signal };
    await this.#json(request, releaseReplySchema);
  }

  startRestore(
    body: { readonly key: string; readonly run: string; readonly source: string },
    signal?: AbortSignal,
  ): Promise<RestoreReply> {
    return this.#json({ method: 'POST', path: '/api/admin/restore', body, signal }, restoreReplySchema);
  }

  startUndo(
    body: { readonly key: string; readonly run: string },
    signal?: AbortSignal,
  ): Promise<RestoreReply> {
    return this.#json({ method: 'POST', path: '/api/admin/restore/undo', body, signal }, restoreReplySchema);
  }

  restore(handle: string, signal?: AbortSignal): Promise<RestoreReply> {
    const path = `/api/admin/restore/${part(handle)}`;
    return this.#json({ method: 'GET', path, signal }, restoreReplySchema);
  }

  /** How much of a file of an incoming snapshot has arrived. */
  async arrived(run: string, path: string, signal?: AbortSignal): Promise<number> {
    const request: HttpRequest = { method: 'GET', path: incomingFile(run, path), signal };
    return (await this.#json(request, incomingFileReplySchema)).bytes;
  }

  /** Sends a part of a file of at most `PART_BYTES`; with `size` the file is then so long. */
  async send(
    run: string,
    path: string,
    { from, bytes, size }: { readonly from: number; readonly bytes: Buffer; readonly size?: number },
    signal?: AbortSignal,
  ): Promise<void> {
    const query = `from=${from}${size === undefined ? '' : `&size=${size}`}`;
    const place = `${incomingFile(run, path)}?${query}`;
    await this.#json({ method: 'PUT', path: place, body: bytes, signal }, incomingFileReplySchema);
  }

  proveIncoming(run: string, signal?: AbortSignal): Promise<IncomingReply> {
    const path = `/api/admin/incoming/${part(run)}/prove`;
    return this.#json({ method: 'POST', path, body: {}, signal }, incomingReplySchema);
  }

  async removeIncoming(run: string, signal?: AbortSignal): Promise<void> {
    const path = `/api/admin/incoming/${part(run)}`;
    await this.#json({ method: 'DELETE', path, signal }, releaseReplySchema);
  }

  /** The bytes of a snapshot's manifest; `decodeManifest` tells whether they can be trusted. */
  async manifest(name: string, signal?: AbortSignal): Promise<Buffer> {
    const request: HttpRequest = { method: 'GET', path: `/api/admin/backups/${part(name)}/manifest`, signal };
    const reply = await this.#connection.call(request, MANIFEST_LIMIT_BYTES);
    if (reply.status === 200) return reply.bytes;
    throw this.#failure(request, reply);
  }

  /** A file of a snapshot from a byte on. When it is not the file of `etag`, it comes whole. */
  async file(
    name: string,
    path: string,
    {
      from,
      etag,
      signal,
    }: { readonly from: number; readonly etag: string | undefined; readonly signal?: AbortSignal },
  ): Promise<OpenFileReply> {
    const isPart = from > 0 && etag !== undefined;
    const request: HttpRequest = {
      method: 'GET',
      path: `/api/admin/backups/${part(name)}/files/${part(path)}`,
      ...(isPart && { headers: { range: `bytes=${from}-`, 'if-range': etag } }),
      signal,
    };
    const stream = await this.#connection.open(request);
    const { statusCode: status = 0, headers } = stream;
    if (status === 200) return { from: 0, etag: headers.etag, stream };
    if (status === 206 && isPart && headers['content-range']?.startsWith(`bytes ${from}-`) === true)
      return { from, etag: headers.etag, stream };
    stream.destroy();
    if (status === 206) throw this.#invalid(request, 'another range than was asked for');
    throw this.#failure(request, { status, headers, bytes: Buffer.alloc(0) });
  }

  async #json<T>(request: HttpRequest, schema: z.ZodType<T>): Promise<T> {
    const reply = await this.#connection.call(request, REPLY_LIMIT_BYTES);
    if (reply.status !== 200) throw this.#failure(request, reply);
    const parsed = schema.safeParse(parse(reply.bytes));
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw this.#invalid(request, `${issue?.path.join('.') ?? ''} ${issue?.message ?? 'does not fit'}`.trim());
  }

  #invalid({ method, path }: HttpRequest, why: string): StillpointError {
    return new StillpointError(
      'NODE_REPLY_INVALID',
      `${this.#connection.name}: the reply to ${method} ${path} is not that of the admin RPC: ${why}`,
    );
  }

  #failure(request: HttpRequest, { status, headers, bytes }: HttpReply): StillpointError {
    if (status >= 300 && status < 400)
      return this.#invalid(request, `a redirect (${status}), which is not followed`);
    const envelope = envelopeSchema.safeParse(parse(bytes));
    const code = envelope.success ? envelope.data.error.code : undefined;
    const seconds = Number(headers['retry-after']);
    const data = { status, ...(Number.isSafeInteger(seconds) && { retryAfterMs: 1000 * seconds }) };
    if (envelope.success && code !== undefined && Object.hasOwn(ERROR_CODES, code)) {
      const message = `${this.#connection.name}: ${envelope.data.error.message.slice(0, 500)}`;
      const { hint } = envelope.data.error;
      return new StillpointError(code as ErrorCode, message, {
        data,
        ...(hint !== undefined && { hint: hint.slice(0, 500) }),
      });
    }
    const { method, path } = request;
    const message = `${this.#connection.name} answers ${method} ${path} with status ${status}`;
    return new StillpointError(status >= 500 ? 'NODE_UNREACHABLE' : 'NODE_REPLY_INVALID', message, { data });
  }
}

/** A later server may have codes that are not known here. */
const envelopeSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().exactOptional() }),
});

const part = encodeURIComponent;

const incomingFile = (run: string, path: string): string =>
  `/api/admin/incoming/${part(run)}/files/${part(path)}`;

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
