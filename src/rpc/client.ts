import type { IncomingMessage } from 'node:http';
import type * as z from 'zod';
import type { Level } from '../options/choices.ts';
import { MANIFEST_LIMIT_BYTES } from '../snapshot/store/manifest.ts';
import { holdReplySchema, incomingFileReplySchema, incomingReplySchema, releaseReplySchema } from './hold.ts';
import { HttpConnection, type HttpRequest } from './http.ts';
import {
  identityReplySchema,
  pinReplySchema,
  type quiesceBodySchema,
  quiesceReplySchema,
  resumeReplySchema,
} from './node.ts';
import {
  jobSchema,
  jobsReplySchema,
  plansReplySchema,
  pushReplySchema,
  recordsReplySchema,
  repositoriesReplySchema,
  storedBackupsReplySchema,
} from './offsite.ts';
import { failureOf, invalidReply, readReply } from './read-reply.ts';
import {
  backupReplySchema,
  capabilitiesReplySchema,
  compactionReplySchema,
  healthReplySchema,
  lifecycleReplySchema,
  metricsReplySchema,
  reportSchema,
  restoreReplySchema,
  snapshotListSchema,
  statusReplySchema,
} from './replies.ts';
import {
  deletedSchema,
  pruneReplySchema,
  pruneUndoReplySchema,
  runsReplySchema,
  verifyAllReplySchema,
} from './upkeep.ts';

export interface AdminClientOptions {
  /** `http://` or `https://`, host and port. */
  readonly url: string;
  /** The API key; never sent over plain HTTP beyond this machine. */
  readonly key?: string | undefined;
  /** PEM of the authority that the server's certificate must come from. */
  readonly ca?: string | Buffer | undefined;
  /**
   * For a whole reply, and for a stream on which nothing moves. Default 30 * 1000. Too short for what answers only when its work is done:
   * `verifyBackup`, `verifyAll`, `prune`, `lifecycle`, `compact`.
   */
  readonly timeoutMs?: number;
}

export type Identity = z.infer<typeof identityReplySchema>;
export type BackupReply = z.infer<typeof backupReplySchema>;
export type RestoreReply = z.infer<typeof restoreReplySchema>;
export type HoldReply = z.infer<typeof holdReplySchema>;
export type IncomingReply = z.infer<typeof incomingReplySchema>;
export type Job = z.infer<typeof jobSchema>;
export type QuiesceBody = z.input<typeof quiesceBodySchema>;

/** The options of a backup that a controller sets; `POST /api/admin/backup` has more. */
export interface BackupBody {
  readonly key?: string;
  readonly epoch?: string;
  readonly run?: string;
  readonly level?: Level;
}

export interface OpenFileReply {
  /** Where the bytes begin: what was asked for, or 0 when the server sends the whole file. */
  readonly from: number;
  readonly etag: string | undefined;
  readonly stream: IncomingMessage;
}

const REPLY_LIMIT_BYTES = 1024 * 1024;
const LIST_LIMIT_BYTES = 16 * REPLY_LIMIT_BYTES;
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
    return this.#get('/api/admin/identity', identityReplySchema, signal);
  }

  /** Rejects with `UNAVAILABLE` while the database is closed. */
  async health(signal?: AbortSignal): Promise<void> {
    await this.#get('/api/admin/health', healthReplySchema, signal);
  }

  status(signal?: AbortSignal): Promise<z.infer<typeof statusReplySchema>> {
    return this.#get('/api/admin/status', statusReplySchema, signal);
  }

  capabilities(signal?: AbortSignal): Promise<z.infer<typeof capabilitiesReplySchema>> {
    return this.#get('/api/admin/capabilities', capabilitiesReplySchema, signal);
  }

  metrics(signal?: AbortSignal): Promise<z.infer<typeof metricsReplySchema>> {
    return this.#get('/api/admin/metrics', metricsReplySchema, signal);
  }

  quiesce(body: QuiesceBody, signal?: AbortSignal): Promise<z.infer<typeof quiesceReplySchema>> {
    return this.#post('/api/admin/quiesce', body, quiesceReplySchema, signal);
  }

  async resume(body: { readonly run: string; readonly epoch: string }, signal?: AbortSignal): Promise<void> {
    await this.#post('/api/admin/resume', body, resumeReplySchema, signal);
  }

  startBackup(body: BackupBody, signal?: AbortSignal): Promise<BackupReply> {
    return this.#post('/api/admin/backup', body, backupReplySchema, signal);
  }

  backup(handle: string, signal?: AbortSignal): Promise<BackupReply> {
    return this.#get(`/api/admin/backup/${part(handle)}`, backupReplySchema, signal);
  }

  /** Resolves when it has ended; one that had ended before stays as it is. */
  cancelBackup(handle: string, signal?: AbortSignal): Promise<BackupReply> {
    return this.#delete(`/api/admin/backup/${part(handle)}`, backupReplySchema, signal);
  }

  /** The snapshots, oldest first. */
  backups(signal?: AbortSignal): Promise<z.infer<typeof snapshotListSchema>> {
    return this.#list('/api/admin/backups', snapshotListSchema, signal);
  }

  /** Reads a snapshot again, by its name or id. */
  verifyBackup(
    name: string,
    body: { readonly level?: Level } = {},
    signal?: AbortSignal,
  ): Promise<z.infer<typeof reportSchema>> {
    return this.#post(`/api/admin/backups/${part(name)}/verify`, body, reportSchema, signal);
  }

  /** Reads all snapshots again. */
  verifyAll(
    body: { readonly level?: Level } = {},
    signal?: AbortSignal,
  ): Promise<z.infer<typeof verifyAllReplySchema>> {
    const request: HttpRequest = { method: 'POST', path: '/api/admin/verify', body, signal };
    return this.#json(request, verifyAllReplySchema, LIST_LIMIT_BYTES);
  }

  deleteBackup(name: string, signal?: AbortSignal): Promise<z.infer<typeof deletedSchema>> {
    return this.#delete(`/api/admin/backups/${part(name)}`, deletedSchema, signal);
  }

  /** Removes all but the newest snapshots. */
  prune(
    body: { readonly keep: number; readonly dry_run?: boolean },
    signal?: AbortSignal,
  ): Promise<z.infer<typeof pruneReplySchema>> {
    return this.#post('/api/admin/prune', body, pruneReplySchema, signal);
  }

  /** Gives up what restores in place replaced. */
  pruneUndo(
    body: { readonly keep: number; readonly dry_run?: boolean; readonly discard_writes?: boolean },
    signal?: AbortSignal,
  ): Promise<z.infer<typeof pruneUndoReplySchema>> {
    return this.#post('/api/admin/prune/undo', body, pruneUndoReplySchema, signal);
  }

  /** The runs on record, newest first. */
  runs(signal?: AbortSignal): Promise<z.infer<typeof runsReplySchema>> {
    return this.#list('/api/admin/runs', runsReplySchema, signal);
  }

  /** Writes the data into the archive or the export folder; resolves when that is done. */
  async lifecycle(action: 'archive' | 'export', signal?: AbortSignal): Promise<void> {
    await this.#post('/api/admin/lifecycle', { action }, lifecycleReplySchema, signal);
  }

  compact(signal?: AbortSignal): Promise<z.infer<typeof compactionReplySchema>> {
    return this.#post('/api/admin/compaction', {}, compactionReplySchema, signal);
  }

  pin(
    name: string,
    body: { readonly run: string; readonly ttl_ms: number; readonly discard?: boolean },
    signal?: AbortSignal,
  ): Promise<z.infer<typeof pinReplySchema>> {
    return this.#post(`/api/admin/backups/${part(name)}/pin`, body, pinReplySchema, signal);
  }

  /** Has the server upload a snapshot into a repository of its own settings file. */
  push(
    name: string,
    body: { readonly key: string; readonly repository: string },
    signal?: AbortSignal,
  ): Promise<z.infer<typeof pushReplySchema>> {
    return this.#post(`/api/admin/backups/${part(name)}/push`, body, pushReplySchema, signal);
  }

  plans(signal?: AbortSignal): Promise<z.infer<typeof plansReplySchema>> {
    return this.#get('/api/admin/plans', plansReplySchema, signal);
  }

  /** Resolves to the job as soon as that is on record. */
  runPlan(name: string, action: 'backup' | 'verify' | 'drill', signal?: AbortSignal): Promise<Job> {
    return this.#post(`/api/admin/plans/${part(name)}/run`, { action }, jobSchema, signal);
  }

  /** The newest attempts to back up, verify, drill or prune off the machine, newest first. */
  jobs(signal?: AbortSignal): Promise<z.infer<typeof jobsReplySchema>> {
    return this.#list('/api/admin/jobs', jobsReplySchema, signal);
  }

  job(id: string, signal?: AbortSignal): Promise<Job> {
    return this.#get(`/api/admin/jobs/${part(id)}`, jobSchema, signal);
  }

  /** Asks for its end; it reads as `interrupted` within seconds. */
  cancelJob(id: string, signal?: AbortSignal): Promise<Job> {
    return this.#delete(`/api/admin/jobs/${part(id)}`, jobSchema, signal);
  }

  /** The backups that the server remembers, newest first. */
  records(signal?: AbortSignal): Promise<z.infer<typeof recordsReplySchema>> {
    return this.#list('/api/admin/records', recordsReplySchema, signal);
  }

  repositories(signal?: AbortSignal): Promise<z.infer<typeof repositoriesReplySchema>> {
    return this.#get('/api/admin/repositories', repositoriesReplySchema, signal);
  }

  /** The backups of the server's database in a repository, oldest first. */
  storedBackups(repository: string, signal?: AbortSignal): Promise<z.infer<typeof storedBackupsReplySchema>> {
    const path = `/api/admin/repositories/${part(repository)}/backups`;
    return this.#list(path, storedBackupsReplySchema, signal);
  }

  hold(
    body: { readonly run: string; readonly epoch?: string; readonly dry?: boolean },
    signal?: AbortSignal,
  ): Promise<HoldReply> {
    return this.#post('/api/admin/hold', body, holdReplySchema, signal);
  }

  async release(run: string, signal?: AbortSignal): Promise<void> {
    await this.#post('/api/admin/release', { run }, releaseReplySchema, signal);
  }

  startRestore(
    body: { readonly key: string; readonly run: string; readonly source: string },
    signal?: AbortSignal,
  ): Promise<RestoreReply> {
    return this.#post('/api/admin/restore', body, restoreReplySchema, signal);
  }

  startUndo(
    body: { readonly key: string; readonly run: string },
    signal?: AbortSignal,
  ): Promise<RestoreReply> {
    return this.#post('/api/admin/restore/undo', body, restoreReplySchema, signal);
  }

  restore(handle: string, signal?: AbortSignal): Promise<RestoreReply> {
    return this.#get(`/api/admin/restore/${part(handle)}`, restoreReplySchema, signal);
  }

  /** How much of a file of an incoming snapshot has arrived. */
  async arrived(run: string, path: string, signal?: AbortSignal): Promise<number> {
    return (await this.#get(incomingFile(run, path), incomingFileReplySchema, signal)).bytes;
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
    return this.#post(`/api/admin/incoming/${part(run)}/prove`, {}, incomingReplySchema, signal);
  }

  async removeIncoming(run: string, signal?: AbortSignal): Promise<void> {
    await this.#delete(`/api/admin/incoming/${part(run)}`, releaseReplySchema, signal);
  }

  /** The bytes of a snapshot's manifest; `decodeManifest` tells whether they can be trusted. */
  async manifest(name: string, signal?: AbortSignal): Promise<Buffer> {
    const request: HttpRequest = { method: 'GET', path: `/api/admin/backups/${part(name)}/manifest`, signal };
    const reply = await this.#connection.call(request, MANIFEST_LIMIT_BYTES);
    if (reply.status === 200) return reply.bytes;
    throw failureOf(this.#connection.name, request, reply);
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
    if (status === 206) {
      stream.destroy();
      throw invalidReply(this.#connection.name, request, 'another range than was asked for');
    }
    const reply = await this.#connection.rest(request, stream, REPLY_LIMIT_BYTES);
    throw failureOf(this.#connection.name, request, reply);
  }

  #get<T>(path: string, schema: z.ZodType<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.#json({ method: 'GET', path, signal }, schema);
  }

  #list<T>(path: string, schema: z.ZodType<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.#json({ method: 'GET', path, signal }, schema, LIST_LIMIT_BYTES);
  }

  #post<T>(path: string, body: unknown, schema: z.ZodType<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.#json({ method: 'POST', path, body, signal }, schema);
  }

  #delete<T>(path: string, schema: z.ZodType<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.#json({ method: 'DELETE', path, signal }, schema);
  }

  async #json<T>(request: HttpRequest, schema: z.ZodType<T>, limitBytes = REPLY_LIMIT_BYTES): Promise<T> {
    return readReply(
      this.#connection.name,
      request,
      await this.#connection.call(request, limitBytes),
      schema,
    );
  }
}

const part = encodeURIComponent;

const incomingFile = (run: string, path: string): string =>
  `/api/admin/incoming/${part(run)}/files/${part(path)}`;
