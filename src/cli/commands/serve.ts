import { once } from 'node:events';
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { detectEngine } from '../../engine/index.ts';
import { readNamedFile } from '../../env/named-file.ts';
import { nodeFileSystem } from '../../env/node-file-system.ts';
import { StillpointError, systemCode } from '../../errors.ts';
import { directoryOf, Lifecycle } from '../../operation/lifecycle.ts';
import { leveldbBackend, lsmBackend, type RunningServer, startServer } from '../../server/index.ts';
import { serverOptions } from '../../server/options.ts';
import { tlsOptions } from '../../server/tls.ts';
import type { Cli } from '../cli.ts';
import { Flags, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { nonEmpty } from '../non-empty.ts';
import { recoverFirst } from '../recover-first.ts';
import { visible } from '../text.ts';

const BACKENDS = { lsm: lsmBackend, leveldb: leveldbBackend };
type BackendName = keyof typeof BACKENDS;
const DEFAULT_PORT = 4780;

const flags = new Flags(serverOptions.fields, [
  'port',
  'host',
  'apiKey',
  'plainHttp',
  'allowedSources',
  'settings',
]);
const tlsFlags = new Flags(tlsOptions.fields, ['keyFile', 'certFile']);

interface Options extends Given {
  readonly engine: 'auto' | BackendName;
  readonly apiKeyFile?: string;
}

const NOTE = `
The data directory is made if it is missing, and a new database in an empty one. One line with the URL is
printed once requests are taken; an audit line (JSON) for each admin action goes to stderr. SIGTERM (exit code
0) and Ctrl-C (130) both close the database before it ends. Any address but loopback needs a key, and TLS. A
key on the command line stays in the history of the shell, and other users can read it for a moment: prefer
the environment (STILLPOINT_API_KEY) or a file.`;

export function define(command: Command, cli: Cli): void {
  flags.addTo(command, '', {
    port: (option) => option.default(DEFAULT_PORT),
    apiKey: (option) => option.env('STILLPOINT_API_KEY'),
    plainHttp: (option) => option.conflicts(['tlsKey', 'tlsCert']),
  });
  tlsFlags.addTo(command);
  command
    .addOption(
      new Option(
        '--engine <engine>',
        'what opens the database; auto: the one that wrote it, lsm for a new one',
      )
        .choices(['auto', ...Object.keys(BACKENDS)])
        .default('auto'),
    )
    .addOption(
      new Option('--api-key-file <file>', 'a file whose only line is that key')
        .argParser(nonEmpty)
        .conflicts('apiKey'),
    )
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples(
        'serve ./data',
        'serve ./data --host 0.0.0.0 --api-key-file ./key --tls-key ./tls.key --tls-cert ./tls.crt',
        'serve ./data --settings stillpoint.json',
        'serve ./data --port 0 --json',
      )}`,
    )
    .action((dir: string, options: Options) => {
      // Takes the place of the command line in the list of processes, and with it the key.
      if (command.getOptionValueSource('apiKey') === 'cli') process.title = 'stillpoint serve';
      return serve(cli, dir, options);
    });
}

function serve(cli: Cli, dataDir: string, options: Options): Promise<void> {
  return cli.interruptible(async (signal) => {
    const engine = options.engine === 'auto' ? await findEngine(cli, dataDir) : options.engine;
    const server = await start(dataDir, engine, options).catch((error) => {
      throw explainListening(error, String(options.host));
    });
    const document = {
      url: server.url,
      port: server.port,
      dataDir: resolve(dataDir),
      engine,
      pid: process.pid,
    };
    cli.output.result(document, (style) => [
      `listening on ${style.bold(server.url)}  ${style.dim(`(${engine}, ${visible(resolve(dataDir))})`)}`,
    ]);
    if (!signal.aborted) await once(signal, 'abort');
    await server.close();
    cli.serviceEnded(signal);
  }, 'closing');
}

/** The engine of the database, after an interrupted restore has been finished. */
async function findEngine(cli: Cli, dataDir: string): Promise<BackendName> {
  const lifecycle = new Lifecycle({ dataDir });
  const find = async () =>
    (await detectEngine(nodeFileSystem, (await directoryOf(lifecycle).layout()).dataDir))?.name;
  try {
    let name = await find();
    if (name === undefined) {
      await recoverFirst(cli, lifecycle);
      name = await find();
    }
    return name === 'leveldb' ? 'leveldb' : 'lsm';
  } catch (error) {
    if (error instanceof StillpointError && error.code === 'NOT_FOUND') return 'lsm'; // a folder that is yet to be made
    throw error;
  }
}

async function start(dataDir: string, engine: BackendName, given: Options): Promise<RunningServer> {
  const { allowedSources, ...options } = flags.read(given);
  const { keyFile, certFile } = tlsFlags.read(given);
  if ((keyFile === undefined) !== (certFile === undefined)) {
    throw new StillpointError('INVALID_REQUEST', '`--tls-key` and `--tls-cert` go together', {
      hint: 'Give both, or none.',
    });
  }
  const apiKey = given.apiKeyFile === undefined ? options.apiKey : await readKey(given.apiKeyFile);
  return startServer({
    ...options,
    dataDir,
    apiKey,
    backend: BACKENDS[engine](),
    allowedSources: allowedSources?.map((dir) => resolve(dir)),
    ...(keyFile !== undefined && certFile !== undefined && { tls: { keyFile, certFile } }),
  });
}

const KEY_LIMIT_BYTES = 4096;

async function readKey(file: string): Promise<string> {
  const bytes = await readNamedFile(nodeFileSystem, 'API key file', file, KEY_LIMIT_BYTES);
  const key = bytes.toString('utf8').trim();
  if (key !== '' && !/[\r\n]/.test(key)) return key;
  const message = `the API key file ${file} ${key === '' ? 'is empty' : 'has more than one line'}`;
  throw new StillpointError('INVALID_REQUEST', message, {
    path: file,
    hint: 'Write the key, and nothing else, into its only line.',
  });
}

function explainListening(error: unknown, host: string): unknown {
  const code = systemCode((error as StillpointError).cause) ?? systemCode(error);
  if (code !== 'EADDRNOTAVAIL' && code !== 'ENOTFOUND') return error;
  const hint = 'Name an address of this machine with `--host`.';
  return new StillpointError('INVALID_REQUEST', `nothing can listen on ${host}`, { cause: error, hint });
}
