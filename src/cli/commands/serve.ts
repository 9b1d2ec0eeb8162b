import { once } from 'node:events';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { StillpointError, systemCode } from '../../errors.ts';
import { leveldbBackend, lsmBackend, type RunningServer, startServer } from '../../server/index.ts';
import type { Cli } from '../cli.ts';
import { examples } from '../options.ts';
import { visible } from '../text.ts';

const BACKENDS = { lsm: lsmBackend, leveldb: leveldbBackend };
const DEFAULT_PORT = 4780;
const INTERRUPTED = 130;

interface Options {
  readonly port: number;
  readonly host: string;
  readonly engine: keyof typeof BACKENDS;
  readonly apiKey?: string;
  readonly allowSource?: readonly string[];
}

export function define(command: Command, cli: Cli): void {
  command
    .addOption(new Option('--port <n>', '0 takes any free one').argParser(portNumber).default(DEFAULT_PORT))
    .addOption(
      new Option('--host <host>', 'the address to listen on').argParser(nonEmpty).default('127.0.0.1'),
    )
    .addOption(
      new Option('--engine <engine>', 'what opens the database')
        .choices(Object.keys(BACKENDS))
        .default('lsm'),
    )
    .addOption(
      new Option('--api-key <key>', 'what clients must show; needed on any address but loopback')
        .env('STILLPOINT_API_KEY')
        .argParser(nonEmpty),
    )
    .addOption(
      new Option(
        '--allow-source <dir>',
        'a folder that a restore may come from, given as a path; repeatable',
      ).argParser((dir: string, previous: readonly string[] = []) => [...previous, resolve(nonEmpty(dir))]),
    )
    .addHelpText(
      'after',
      `
The data directory is made if it is missing. One line with the URL is printed once requests are taken; an audit line
(JSON) for each admin action goes to stderr. SIGTERM and Ctrl-C end it cleanly. A key on the command line can be read by
every user of the machine: prefer the environment.
${examples('serve ./data', 'STILLPOINT_API_KEY=… stillpoint serve ./data --host 0.0.0.0', 'serve ./data --port 0 --json')}`,
    )
    .action((dir: string, options: Options) => serve(cli, dir, options));
}

function serve(cli: Cli, dataDir: string, options: Options): Promise<void> {
  const { host, engine } = options;
  return cli.interruptible(async (signal) => {
    const server = await start(dataDir, options).catch((error) => {
      throw explainListening(error, host);
    });
    const document = {
      url: server.url,
      port: server.port,
      data_dir: resolve(dataDir),
      engine,
      pid: process.pid,
    };
    cli.output.result(document, (style) => [
      `listening on ${style.bold(server.url)}  ${style.dim(`(${engine}, ${visible(resolve(dataDir))})`)}`,
    ]);
    if (!signal.aborted) await once(signal, 'abort');
    await server.close();
    // To be terminated is how a server ends; to be interrupted is not.
    if (signal.reason !== 'SIGTERM') cli.exitCode = INTERRUPTED;
  }, 'closing');
}

function start(
  dataDir: string,
  { host, port, engine, apiKey, allowSource }: Options,
): Promise<RunningServer> {
  return startServer({
    dataDir,
    host,
    port,
    backend: BACKENDS[engine](),
    ...(apiKey !== undefined && { apiKey }),
    ...(allowSource !== undefined && { allowedSources: allowSource }),
  });
}

function explainListening(error: unknown, host: string): unknown {
  const code = systemCode((error as StillpointError).cause) ?? systemCode(error);
  if (code !== 'EADDRNOTAVAIL' && code !== 'ENOTFOUND') return error;
  const hint = 'Name an address of this machine with `--host`.';
  return new StillpointError('INVALID_REQUEST', `nothing can listen on ${host}`, { cause: error, hint });
}

function portNumber(text: string): number {
  const port = Number(text);
  if (/^\d+$/.test(text) && port <= 65_535) return port;
  throw new InvalidArgumentError('It must be a whole number from 0 to 65535.');
}

function nonEmpty(text: string): string {
  if (text !== '') return text;
  throw new InvalidArgumentError('It must not be empty.');
}
