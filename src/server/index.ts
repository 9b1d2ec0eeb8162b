import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { StillpointError, systemCode, toStillpointError } from '../errors.ts';
import { createApp } from './app.ts';
import { assemble } from './assemble-server.ts';
import {
  type ResolvedOptions,
  requireSafetyBeyondLoopback,
  resolveOptions,
  type ServerOptions,
} from './options.ts';
import type { ServerSettings } from './plans.ts';
import { readTls } from './tls.ts';

export { leveldbBackend } from './backends/leveldb.ts';
export { lsmBackend } from './backends/lsm.ts';
export type { Backend, Database, KeyRange, WriteOp, Written } from './database.ts';
export type { LineTarget } from './line-writer.ts';
export type { ServerLimits, ServerOptions } from './options.ts';
export type { TlsFiles } from './tls.ts';

export interface RunningServer {
  /** `http://…` or `https://…`, without a slash at the end. */
  readonly url: string;
  readonly port: number;
  /**
   * Takes no more connections, cancels a snapshot under way, lets requests end (those that last longer than
   * `limits.shutdownMs` are cut off), and closes the database. Calling it again gives the same promise.
   */
  close(): Promise<void>;
}

/**
 * Opens the database of a data directory and serves it: key-value routes below `/kv`, the admin RPC below `/api/admin`;
 * `src/server/README.md` lists both. What a crash cut off is brought to its end first.
 *
 * Listens on 127.0.0.1 unless `host` says otherwise, which needs an `apiKey` and `tls`. Installs no signal handlers: on SIGTERM call `close`.
 *
 * Rejects with `INVALID_REQUEST` for a public address without a key or TLS, `CONFLICT` when the database or the port is in use, and
 * with what opening the database rejects with; nothing is left open then. A wrong option is a `TypeError`.
 *
 * ```ts
 * import { startServer } from 'stillpoint/server';
 *
 * const server = await startServer({ dataDir: './data', port: 4780 });
 * process.once('SIGTERM', () => server.close());
 * ```
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const resolved = resolveOptions(options);
  requireSafetyBeyondLoopback(resolved);
  await requireFreePort(resolved);
  const app = await buildServer(options);
  try {
    await app.listen({ host: resolved.host, port: resolved.port });
  } catch (error) {
    await app.close();
    throw explainListening(error, resolved);
  }
  const { address, port, family } = app.server.address() as AddressInfo;
  const host = family === 'IPv6' ? `[${address}]` : address;
  let closed: Promise<void> | undefined;
  return {
    url: `${resolved.tls === undefined ? 'http' : 'https'}://${host}:${port}`,
    port,
    close() {
      closed ??= app.close();
      return closed;
    },
  };
}

/** Listens for a moment before the database is opened: a port that is taken must leave no new database behind. */
async function requireFreePort(options: ResolvedOptions): Promise<void> {
  const probe = createServer();
  try {
    probe.listen({ host: options.host, port: options.port });
    await once(probe, 'listening');
  } catch (error) {
    throw explainListening(error, options);
  }
  probe.close();
  await once(probe, 'close');
}

function explainListening(error: unknown, { host, port }: ResolvedOptions): StillpointError {
  if (systemCode(error) !== 'EADDRINUSE') return toStillpointError(error);
  const message = `another program listens on port ${port} of ${host}`;
  return new StillpointError('CONFLICT', message, { cause: error, hint: 'Choose another port.' });
}

/**
 * The same without listening: a Fastify instance for `inject`, or to be listened with by the caller, who then answers for the
 * address. Its `close` closes the database too.
 */
export async function buildServer(options: ServerOptions): Promise<FastifyInstance> {
  const resolved = resolveOptions(options);
  const { environment } = resolved;
  // Before the database is opened: a file that is wrong must change nothing.
  const tls = resolved.tls && (await readTls(environment.fs, resolved.tls));
  const settings = await readSettingsOf(resolved);
  const parts = await assemble(resolved, settings).catch((error) => {
    throw toStillpointError(error);
  });
  try {
    const app = (await createApp(parts, tls)) as unknown as FastifyInstance;
    parts.plans?.begin();
    return app;
  } catch (error) {
    await parts.gate.close();
    throw error;
  }
}

/** Loads nothing of backups off the machine where there is no settings file. */
async function readSettingsOf(options: ResolvedOptions): Promise<ServerSettings | undefined> {
  const { settings, environment } = options;
  if (settings === undefined) return undefined;
  const { readServerSettings } = await import('./plans.ts');
  return readServerSettings(options, environment, settings).catch((error) => {
    throw toStillpointError(error);
  });
}
