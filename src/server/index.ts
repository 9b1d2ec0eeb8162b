import type { FastifyInstance } from 'fastify';
import { warnOfRoot } from '../env/ownership.ts';
import { toStillpointError } from '../errors.ts';
import { createApp } from './app.ts';
import { assemble } from './assemble-server.ts';
import { listen, type RunningServer, requireFreePort } from './listen.ts';
import {
  type ResolvedOptions,
  requireSafetyBeyondLoopback,
  resolveOptions,
  type ServerOptions,
} from './options.ts';
import type { ServerSettings } from './plans.ts';
import type { App } from './route-types.ts';
import { readTls } from './tls.ts';

export { leveldbBackend } from './backends/leveldb.ts';
export { lsmBackend } from './backends/lsm.ts';
export type { Backend, Database, KeyRange, WriteOp, Written } from './database.ts';
export type { LineTarget } from './line-writer.ts';
export type { RunningServer } from './listen.ts';
export type { ServerLimits, ServerOptions } from './options.ts';
export type { TlsFiles } from './tls.ts';

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
  return listen((await buildServer(options)) as unknown as App, resolved);
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
  if (resolved.backend.engine !== 'lsm') warnOfRoot(resolved.dataDir); // ours gives its files to the owner
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
