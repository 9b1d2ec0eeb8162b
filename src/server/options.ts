import type { Writable } from 'node:stream';
import * as z from 'zod/mini';
import { engineName } from '../coordinator/choose-engine.ts';
import { allowedSources } from '../coordinator/restore.ts';
import { standardError } from '../env/runtime.ts';
import { StillpointError } from '../errors.ts';
import { directoryOf, Lifecycle, lifecycleOption, requireSameFolder } from '../operation/lifecycle.ts';
import {
  OptionSet,
  type OptionsOf,
  optional,
  type ResolvedOf,
  required,
  withDefault,
  withoutDefaults,
} from '../options/option.ts';
import { hostSnapshotOptions } from '../options/snapshot.ts';
import {
  callback,
  folder,
  nested,
  path,
  text,
  trueOrFalse,
  wholeNumber,
  withMembers,
} from '../options/values.ts';
import { isLoopbackName } from '../rpc/loopback.ts';
import { type Environment, environmentOption, systemEnvironment } from '../snapshot/environment.ts';
import { lsmBackend } from './backends/lsm.ts';
import type { Backend } from './database.ts';
import type { LineTarget } from './line-writer.ts';
import { tlsOptions } from './tls.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

const bytes = (fallback: number, description: string) =>
  withDefault(wholeNumber(1), () => fallback, { description, unit: 'bytes' });
const time = (fallback: number, description: string) =>
  withDefault(wholeNumber(1), () => fallback, { description, unit: 'milliseconds' });
const count = (fallback: number, description: string) =>
  withDefault(wholeNumber(1), () => fallback, { description });

export const serverLimits = new OptionSet(() => ({
  bodyBytes: bytes(16 * MiB, 'The size of a value, and of a batch.'),
  adminBodyBytes: bytes(64 * KiB, 'The size of a request to the admin RPC.'),
  headerBytes: bytes(16 * KiB, 'The size of all headers and the URL of a request together.'),
  connections: count(
    1_000,
    'Open connections. For one more, the connection that has been idle for longest is cut off.',
  ),
  requests: count(
    128,
    'Requests that the server works on at once. Further ones are `UNAVAILABLE`. As many may be sending their bodies, and as many taking their replies; beyond that the slowest client is cut off. Times `bodyBytes`, this is the memory that bodies can take.',
  ),
  adminRequests: count(
    32,
    'Of these, requests to the admin RPC. Health, status and metrics do not count, nor does a request that looks after a run or cancels it.',
  ),
  followers: count(32, 'Clients that follow a run at once. Further ones are `UNAVAILABLE`.'),
  headerTimeoutMs: time(10_000, 'The time for URL and headers to arrive, and for the handshake of TLS.'),
  requestTimeoutMs: time(60_000, 'The time for a request to arrive whole.'),
  replyTimeoutMs: time(60_000, 'The time for a client to take anything of its reply. It is cut off then.'),
  idleTimeoutMs: time(60_000, 'How long a connection stays open without a request.'),
  shutdownMs: time(10_000, 'How long requests under way may take to end when the server is closed.'),
}));
export type ServerLimits = ResolvedOf<typeof serverLimits>;

const lineTarget = () =>
  z.custom<LineTarget>((value) => {
    const { write, writable } = (value ?? {}) as Partial<Writable>;
    return typeof value === 'function' || (typeof write === 'function' && typeof writable === 'boolean');
  }, 'must be a stream that can be written to, or a function');

export const serverOptions = new OptionSet(() => ({
  dataDir: required(folder(), { description: 'The folder that the database keeps its files in.' }),
  backend: withDefault(
    withMembers<Backend>('a Backend', { engine: engineName(), open: callback() }),
    () => lsmBackend(),
    { description: 'What opens the database: `lsmBackend()` unless given.' },
  ),
  host: withDefault(text(), () => '127.0.0.1', {
    description:
      'The address to listen on. Any address that is not loopback needs an `apiKey`, and `tls` or `plainHttp`.',
  }),
  port: withDefault(wholeNumber(0, 65_535), () => 0, {
    description: 'The port to listen on; 0 takes any free one.',
  }),
  apiKey: optional(text(), {
    description: 'The key that clients must send; needed on any address but loopback.',
    without: 'everybody who reaches the loopback address is admitted',
  }),
  tls: optional(nested(tlsOptions.fields), {
    description: 'Serves HTTPS, TLS 1.2 or later. The files are read once, at the start.',
    without: 'HTTP',
  }),
  plainHttp: withDefault(trueOrFalse(), () => false, {
    description:
      'Allows HTTP beyond loopback, for a proxy in front that ends TLS on a trusted network. Excludes `tls`.',
  }),
  createDataDir: withDefault(trueOrFalse(), () => true, {
    description: 'Makes a missing data directory. With false that is `NOT_FOUND`.',
  }),
  allowedSources: allowedSources(),
  backup: withDefault(nested(withoutDefaults(hostSnapshotOptions.fields)), () => ({}), {
    description: 'Defaults for every snapshot that the admin RPC starts.',
  }),
  settings: optional(path(), {
    description:
      'A settings file with plans: those of this data directory are run, and its repositories can be restored from.',
    without: 'no backup is made off the machine',
    flag: { value: 'file' },
  }),
  audit: withDefault(lineTarget(), () => standardError, {
    description: 'Gets one JSON line for each admin action that changes something or is refused.',
  }),
  log: withDefault(lineTarget(), () => standardError, {
    description: 'Gets one JSON line for each unexpected error.',
  }),
  limits: withDefault(nested(serverLimits.fields), () => serverLimits.resolve('startServer', {}), {
    description: 'What clients may take.',
  }),
  lifecycle: lifecycleOption(),
  environment: environmentOption(),
}));
export type ServerOptions = OptionsOf<typeof serverOptions>;

export type ResolvedOptions = ResolvedOf<typeof serverOptions> & {
  readonly lifecycle: Lifecycle;
  readonly environment: Environment;
};

/** Fills in the defaults; a `TypeError` names the option that is wrong. */
export function resolveOptions(options: ServerOptions): ResolvedOptions {
  const resolved = serverOptions.resolve('startServer', options);
  const { dataDir, lifecycle, tls, plainHttp } = resolved;
  requireSameFolder('startServer', dataDir, lifecycle);
  if (tls !== undefined && plainHttp)
    throw new TypeError('startServer: tls and plainHttp exclude each other');
  const environment =
    resolved.environment ?? (lifecycle && directoryOf(lifecycle).environment) ?? systemEnvironment;
  return Object.freeze({
    ...resolved,
    environment,
    lifecycle: lifecycle ?? new Lifecycle({ dataDir, environment }),
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
