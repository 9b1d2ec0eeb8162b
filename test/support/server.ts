import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { FastifyInstance, InjectOptions } from 'fastify';
import { onTestFinished } from 'vitest';
import {
  type Backend,
  buildServer,
  type Database,
  type RunningServer,
  type ServerOptions,
  startServer,
} from '../../src/server/index.ts';
import { smallLsm } from './small-lsm.ts';
import { temporaryFolder } from './temp.ts';

export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export { smallLsm };

/** The same database with some of its functions replaced, to stop it where a test wants to look. */
export function altered(backend: Backend, alter: (database: Database) => Partial<Database>): Backend {
  return {
    engine: backend.engine,
    async open(dir) {
      const database = await backend.open(dir);
      return Object.assign(database, alter(database));
    },
  };
}

export interface Barrier {
  /** Resolves when somebody waits. */
  readonly reached: Promise<void>;
  wait(): Promise<void>;
  open(): void;
}

export function barrier(): Barrier {
  const { promise: reached, resolve: reach } = withResolvers();
  const { promise: opened, resolve: open } = withResolvers();
  return {
    reached,
    open,
    wait() {
      reach();
      return opened;
    },
  };
}

/** A backend whose next hold waits at the barrier: a snapshot that is under way for as long as the test likes. */
export function withSlowHold(on = smallLsm()): { backend: Backend; atHold: Barrier } {
  const atHold = barrier();
  const backend = altered(on, (database) => {
    const hold = database.hold!.bind(database);
    return {
      async hold() {
        await atHold.wait();
        return hold();
      },
    };
  });
  return { backend, atHold };
}

interface Lines {
  /** What was written, parsed. */
  // biome-ignore lint/suspicious/noExplicitAny: each line has fields of its own
  readonly audit: any[];
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly log: any[];
}

async function testOptions(options: Partial<ServerOptions>): Promise<{ options: ServerOptions } & Lines> {
  const audit: Lines['audit'] = [];
  const log: Lines['log'] = [];
  const dataDir = options.dataDir ?? join(await temporaryFolder(), 'data');
  return {
    options: {
      backend: smallLsm(),
      audit: (line) => audit.push(JSON.parse(line)),
      log: (line) => log.push(JSON.parse(line)),
      ...options,
      dataDir,
    },
    audit,
    log,
  };
}

export interface Injected extends Lines {
  readonly app: FastifyInstance;
  readonly dataDir: string;
  rpc(
    method: InjectOptions['method'],
    url: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<Reply>;
}

export interface Reply {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: a body of any shape
  readonly json: any;
  readonly bytes: Buffer;
  readonly headers: Readonly<Record<string, unknown>>;
}

/** A server that does not listen; closed when the test ends. */
export async function injected(given: Partial<ServerOptions> = {}): Promise<Injected> {
  const { options, audit, log } = await testOptions(given);
  const app = await buildServer(options);
  onTestFinished(() => app.close());
  return {
    app,
    audit,
    log,
    dataDir: options.dataDir,
    async rpc(method, url, body, headers = {}) {
      const response = await app.inject({
        method: method!,
        url,
        headers,
        ...(body !== undefined && {
          payload: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
        }),
      });
      const isJson = String(response.headers['content-type'] ?? '').startsWith('application/json');
      return {
        status: response.statusCode,
        json: isJson ? response.json() : undefined,
        bytes: response.rawPayload,
        headers: response.headers,
      };
    },
  };
}

/** A server that listens; closed when the test ends. */
export async function listening(
  given: Partial<ServerOptions> = {},
): Promise<{ server: RunningServer; dataDir: string } & Lines> {
  const { options, audit, log } = await testOptions(given);
  const server = await startServer(options);
  onTestFinished(() => server.close());
  return { server, audit, log, dataDir: options.dataDir };
}

/** Asks until the run has ended; each question is a request, so this waits for the server and not for time. */
// biome-ignore lint/suspicious/noExplicitAny: a backup or a restore reply
export async function untilFinished(ask: () => Promise<any>): Promise<any> {
  for (;;) {
    const reply = await ask();
    if (!['queued', 'running'].includes(reply.state.status)) return reply;
    await setTimeout(5); // to ask without end would keep the processor from those who are waited for
  }
}

function withResolvers() {
  let resolve!: () => void;
  const promise = new Promise<void>((yes) => {
    resolve = yes;
  });
  return { promise, resolve };
}
