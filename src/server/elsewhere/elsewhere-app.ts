import { randomHex } from '../../env/random.ts';
import { standardError } from '../../env/runtime.ts';
import type { Environment } from '../../snapshot/environment.ts';
import { endConnectionsWithApp, newApp, readBodiesAsJson } from '../app.ts';
import { Audit } from '../audit.ts';
import { consolePage, type Page } from '../console-page.ts';
import type { LineTarget } from '../line-writer.ts';
import { listen, type RunningServer } from '../listen.ts';
import { Metrics } from '../metrics.ts';
import { serverLimits } from '../options.ts';
import type { App } from '../route-types.ts';

export interface ElsewhereOptions {
  /** 0 takes any free one. */
  readonly port: number;
  readonly environment: Environment;
  readonly audit?: LineTarget;
}

/** A page on loopback, and the key that it was given for this session. */
export interface KeyedServer extends RunningServer {
  readonly key: string;
}

export const LOOPBACK = '127.0.0.1';
const KEY_BYTES = 32;
export const newSessionKey = (): string => randomHex(KEY_BYTES);

/** Serves a page about something that has no data directory here. `close` ends what its routes wait for. */
export async function serveElsewhere(
  { port, environment, audit: lines = standardError }: ElsewhereOptions,
  page: Page,
  routes: (scope: App, audit: Audit) => void,
  close: () => Promise<void>,
): Promise<KeyedServer> {
  const key = newSessionKey();
  const limits = serverLimits.resolve('console', {});
  const audit = new Audit(lines, environment.clock);
  const metrics = new Metrics(environment.clock);
  const options = { limits, apiKey: key, log: standardError };
  const app = newApp({ options, environment, audit, metrics, prometheus: { answered() {} } }, undefined);
  endConnectionsWithApp(app, environment.clock, limits.shutdownMs);
  app.addHook('preClose', close); // what hangs has to end before the server can: it waits for each answer
  await app.register(async (scope: App) => {
    readBodiesAsJson(scope, limits.adminBodyBytes);
    consolePage(scope, page);
    routes(scope, audit);
  });
  await app.ready();
  return { ...(await listen(app, { host: LOOPBACK, port, tls: undefined })), key };
}
