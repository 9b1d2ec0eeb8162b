import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { StillpointError, systemCode, toStillpointError } from '../errors.ts';
import type { ResolvedOptions } from './options.ts';
import type { App } from './route-types.ts';

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

type Address = Pick<ResolvedOptions, 'host' | 'port' | 'tls'>;

/** Listens with an app, which is closed when that fails: `CONFLICT` when the port is in use. */
export async function listen(app: App, where: Address): Promise<RunningServer> {
  try {
    await app.listen({ host: where.host, port: where.port });
  } catch (error) {
    await app.close();
    throw explainListening(error, where);
  }
  const { address, port, family } = app.server.address() as AddressInfo;
  const host = family === 'IPv6' ? `[${address}]` : address;
  let closed: Promise<void> | undefined;
  return {
    url: `${where.tls === undefined ? 'http' : 'https'}://${host}:${port}`,
    port,
    close() {
      closed ??= app.close();
      return closed;
    },
  };
}

/** Listens for a moment before the database is opened: a port that is taken must leave no new database behind. */
export async function requireFreePort(where: Address): Promise<void> {
  const probe = createServer();
  try {
    probe.listen({ host: where.host, port: where.port });
    await once(probe, 'listening');
  } catch (error) {
    throw explainListening(error, where);
  }
  probe.close();
  await once(probe, 'close');
}

function explainListening(error: unknown, { host, port }: Address): StillpointError {
  if (systemCode(error) !== 'EADDRINUSE') return toStillpointError(error);
  const message = `another program listens on port ${port} of ${host}`;
  return new StillpointError('CONFLICT', message, { cause: error, hint: 'Choose another port.' });
}
