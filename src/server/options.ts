import type { Writable } from 'node:stream';
import { SNAPSHOT, type StartBackupOptions } from '../coordinator/backup.ts';
import {
  aBoolean,
  aFolder,
  aFunction,
  aListOfPaths,
  aPath,
  aText,
  type Checks,
  checkOptions,
  must,
  optional,
  optionsOf,
  wholeNumber,
  withMembers,
} from '../env/checks.ts';
import { standardError } from '../env/runtime.ts';
import { StillpointError } from '../errors.ts';
import { Lifecycle } from '../operation/lifecycle.ts';
import { aLifecycle, anEngineName, anEnvironment, sameFolder } from '../operation/option-checks.ts';
import { isLoopbackName } from '../rpc/loopback.ts';
import { type Environment, systemEnvironment } from '../snapshot/environment.ts';
import { lsmBackend } from './backends/lsm.ts';
import type { Backend } from './database.ts';
import type { LineTarget } from './line-writer.ts';
import type { TlsFiles } from './tls.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

export interface ServerLimits {
  /** Of a value, and of a batch. Default 16 * 1024 * 1024. */
  readonly bodyBytes: number;
  /** Of a request to the admin RPC. Default 64 * 1024. */
  readonly adminBodyBytes: number;
  /** Of all headers and the URL of a request together. Default 16 * 1024. */
  readonly headerBytes: number;
  /** For one more, the connection that has been idle for longest is cut off. Default 1,000. */
  readonly connections: number;
  /**
   * Requests that the server works on at once; beyond, they are `UNAVAILABLE`. As many may be sending their bodies, and as many taking
   * their replies; beyond, the slowest client is cut off. Times `bodyBytes`, what bodies may occupy. Default 128.
   */
  readonly requests: number;
  /** Of these, requests to the admin RPC. Health, status and metrics, and to look after or cancel a run, count for neither. Default 32. */
  readonly adminRequests: number;
  /** Clients that follow a run at once; beyond, they are `UNAVAILABLE`. Default 32. */
  readonly followers: number;
  /** For URL and headers to arrive, and for the handshake of TLS. Default 10 seconds. */
  readonly headerTimeoutMs: number;
  /** For a request to arrive whole. Default one minute. */
  readonly requestTimeoutMs: number;
  /** For a client to take anything of its reply; it is cut off then. Default one minute. */
  readonly replyTimeoutMs: number;
  /** For a connection to stay open without a request. Default one minute. */
  readonly idleTimeoutMs: number;
  /** For requests under way to end when the server is closed. Default 10 seconds. */
  readonly shutdownMs: number;
}

export interface ServerOptions {
  /** The folder that the database keeps its files in. */
  readonly dataDir: string;
  /** What opens the database. Default `lsmBackend()`. */
  readonly backend?: Backend;
  /** Default `127.0.0.1`. Any address that is not loopback needs an `apiKey`, and `tls` or `plainHttp`. */
  readonly host?: string;
  /** Default 0: any free one. */
  readonly port?: number;
  /** What clients must show. Without it everybody who reaches the loopback address is admitted. */
  readonly apiKey?: string;
  /** HTTPS, TLS 1.2 or later. The files are read once, at the start. Default: HTTP. */
  readonly tls?: TlsFiles;
  /** Allows HTTP beyond loopback: for a proxy in front that ends TLS, on a network that is trusted. Not with `tls`. Default false. */
  readonly plainHttp?: boolean;
  /** Whether a missing data directory is made. Default true; with false it is `NOT_FOUND`. */
  readonly createDataDir?: boolean;
  /** Folders, besides the lifecycle folder, that a restore source given as a path may lie in. Default: none. */
  readonly allowedSources?: readonly string[];
  /** Defaults for every snapshot that the admin RPC starts. */
  readonly backup?: Omit<StartBackupOptions, 'kind' | 'signal'>;
  /** One JSON line for each admin action that changes something or is refused. Default: standard error. */
  readonly audit?: LineTarget;
  /** One JSON line for each error that nobody expected. Default: standard error. */
  readonly log?: LineTarget;
  readonly limits?: Partial<ServerLimits>;
  /** Share it to watch or set the mode. Default: one of its own. */
  readonly lifecycle?: Lifecycle;
  readonly environment?: Environment;
}

export type ResolvedOptions = Readonly<
  Required<Omit<ServerOptions, 'apiKey' | 'tls' | 'limits'>> & {
    apiKey: string | undefined;
    tls: TlsFiles | undefined;
    limits: ServerLimits;
  }
>;

const DEFAULT_LIMITS: ServerLimits = Object.freeze({
  bodyBytes: 16 * MiB,
  adminBodyBytes: 64 * KiB,
  headerBytes: 16 * KiB,
  connections: 1_000,
  requests: 128,
  adminRequests: 32,
  followers: 32,
  headerTimeoutMs: 10 * 1000,
  requestTimeoutMs: 60 * 1000,
  replyTimeoutMs: 60 * 1000,
  idleTimeoutMs: 60 * 1000,
  shutdownMs: 10 * 1000,
});

const LIMITS = Object.fromEntries(
  Object.keys(DEFAULT_LIMITS).map((name) => [name, optional(wholeNumber(1))]),
);
const TLS: Checks<TlsFiles> = { keyFile: aPath, certFile: aPath };
const aSink = optional(
  must('a stream that can be written to, or a function', (value) => {
    const { write, writable } = (value ?? {}) as Partial<Writable>;
    return typeof value === 'function' || (typeof write === 'function' && typeof writable === 'boolean');
  }),
);
const OPTIONS: Checks<ServerOptions> = {
  dataDir: aFolder,
  backend: optional(withMembers('a Backend', { engine: anEngineName, open: aFunction })),
  host: optional(aText),
  port: optional(wholeNumber(0, 65_535)),
  apiKey: optional(aText),
  tls: optional(optionsOf(TLS)),
  plainHttp: optional(aBoolean),
  createDataDir: optional(aBoolean),
  allowedSources: optional(aListOfPaths),
  backup: optional(optionsOf(SNAPSHOT)),
  audit: aSink,
  log: aSink,
  limits: optional(optionsOf(LIMITS)),
  lifecycle: optional(aLifecycle),
  environment: optional(anEnvironment),
};

/** Fills in the defaults; a `TypeError` names the option that is wrong. */
export function resolveOptions(options: ServerOptions): ResolvedOptions {
  checkOptions('startServer', options, OPTIONS);
  sameFolder('startServer', options.dataDir, options.lifecycle);
  if (options.tls !== undefined && options.plainHttp)
    throw new TypeError('startServer: tls and plainHttp exclude each other');
  const { dataDir, apiKey, tls } = options;
  const environment = options.environment ?? options.lifecycle?.environment ?? systemEnvironment;
  const given = Object.entries(options.limits ?? {}).filter(([, value]) => value !== undefined);
  return Object.freeze({
    dataDir,
    apiKey,
    tls,
    plainHttp: options.plainHttp ?? false,
    environment,
    backend: options.backend ?? lsmBackend(),
    host: options.host ?? '127.0.0.1',
    port: options.port ?? 0,
    createDataDir: options.createDataDir ?? true,
    allowedSources: options.allowedSources ?? [],
    backup: options.backup ?? {},
    audit: options.audit ?? standardError,
    log: options.log ?? standardError,
    lifecycle: options.lifecycle ?? new Lifecycle({ dataDir, environment }),
    limits: Object.freeze({ ...DEFAULT_LIMITS, ...Object.fromEntries(given) }),
  });
}

/** Without a key, or in clear text, only this machine may reach the server: `INVALID_REQUEST` for any other address. */
export function requireSafetyBeyondLoopback({ host, apiKey, tls, plainHttp }: ResolvedOptions): void {
  if (isLoopbackName(host)) return;
  const refuse = (what: string, hint: string) =>
    new StillpointError('INVALID_REQUEST', `a server without ${what} cannot listen on ${host}`, { hint });
  if (apiKey === undefined) throw refuse('an API key', 'Set a key, or listen on 127.0.0.1.');
  if (tls === undefined && !plainHttp) {
    throw refuse(
      'TLS',
      'Key and data would cross the network readable: give `tls` (`--tls-key`, `--tls-cert`), or `plainHttp` (`--plain-http`) when a proxy in front ends TLS.',
    );
  }
}
