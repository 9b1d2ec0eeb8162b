import { once } from 'node:events';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { startFolderConsole } from '../../server/folders/folder-console.ts';
import { serverOptions } from '../../server/options.ts';
import type { Cli } from '../cli.ts';
import { commandEnvironment } from '../environment.ts';
import { Flags, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { visible } from '../text.ts';

const NOTE = `
Shows, in a browser on this machine, whether the data is safe, what can be brought back and what failed; takes,
verifies, restores and removes snapshots. Of several directories there is a list first. The databases are not
opened: a restore is refused while one is open elsewhere. The URL ends in a key that was made for this
session; the page takes it out of the address and forgets it with the tab. An audit line (JSON) for each
action that changes something goes to stderr. It runs until Ctrl-C or SIGTERM.`;

const flags = new Flags(serverOptions.fields, ['port']);
const INTERRUPTED = 130;

export function define(command: Command, cli: Cli): void {
  flags.addTo(command);
  command
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples('console ./data', 'console ./orders ./users --port 4790')}`,
    )
    .action((dirs: string[], given: Given) => show(cli, dirs, given));
}

function show(cli: Cli, dataDirs: readonly string[], given: Given): Promise<void> {
  return cli.interruptible(async (signal) => {
    const { port = 0 } = flags.read(given) as { port?: number };
    const server = await startFolderConsole({
      dataDirs: dataDirs.map((dir) => resolve(dir)),
      port,
      environment: commandEnvironment,
    });
    const { key } = server;
    const document = { url: server.url, port: server.port, key, dataDirs, pid: process.pid };
    cli.output.result(document, (style) => [
      `open in a browser: ${style.bold(`${server.url}/#key=${key}`)}`,
      style.dim(`  shows ${dataDirs.map(visible).join(', ')}; Ctrl-C ends it`),
    ]);
    if (!signal.aborted) await once(signal, 'abort');
    await server.close();
    if (signal.reason !== 'SIGTERM') cli.exitCode = INTERRUPTED;
  }, 'closing');
}
