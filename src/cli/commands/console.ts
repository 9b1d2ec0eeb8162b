import { once } from 'node:events';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { fromOptions } from '../../backup/list-backups.ts';
import { StillpointError } from '../../errors.ts';
import type { KeyedServer } from '../../server/elsewhere/elsewhere-app.ts';
import { startFleetConsole } from '../../server/elsewhere/fleet-console.ts';
import { startRepositoryConsole } from '../../server/elsewhere/repository-console.ts';
import { startFolderConsole } from '../../server/folders/folder-console.ts';
import { serverOptions } from '../../server/options.ts';
import { systemEnvironment as environment } from '../../snapshot/environment.ts';
import type { Cli } from '../cli.ts';
import { Flags, type Given } from '../flags.ts';
import { examples, paragraph } from '../help-text.ts';
import { addKeyFlags, keyOf } from '../key-flags.ts';
import { nonEmpty } from '../non-empty.ts';
import { visible } from '../text.ts';

const NOTE = `
Shows, in a browser on this machine, whether the data is safe, what can be brought back and what failed; takes,
verifies, restores and removes snapshots. Of several directories there is a list first. The databases are not
opened: a restore is refused while one is open elsewhere. Of a repository it shows the backups, and verifies, drills and
restores them into new folders; of a fleet the nodes, and with --sets its backups. The URL ends in a key that was made for this
session; the page takes it out of the address and forgets it with the tab. An audit line (JSON) for each
action that changes something goes to stderr. It runs until Ctrl-C or SIGTERM.`;

const flags = new Flags(serverOptions.fields, ['port']);
const fromFlags = new Flags(fromOptions.fields, ['from', 'limitDownload']);

interface Options extends Given {
  readonly fleet?: string;
  readonly sets?: string;
}

export function define(command: Command, cli: Cli): void {
  flags.addTo(command);
  fromFlags.addTo(command);
  addKeyFlags(command);
  command
    .option('--fleet <file>', 'a fleet file: shows its nodes', nonEmpty)
    .option(
      '--sets <dir>',
      'with --fleet: a folder with backups of the fleet, each in its own folder',
      nonEmpty,
    )
    .addHelpText(
      'after',
      `${paragraph(NOTE)}\n${examples(
        'console ./data',
        'console ./orders ./users --port 4790',
        'console --from s3://backups/orders --key-file ./repository.key',
        'console --fleet fleet.json --sets ./backups',
      )}`,
    )
    .action((dirs: string[], given: Options) => show(cli, dirs, given));
}

function show(cli: Cli, dirs: readonly string[], given: Options): Promise<void> {
  return cli.interruptible(async (signal) => {
    const { shows, start } = shownBy(dirs, given);
    const server = await start();
    const { key, url, port } = server;
    cli.output.result({ url, port, key, shows, pid: process.pid }, (style) => [
      `open in a browser: ${style.bold(`${url}/#key=${key}`)}`,
      style.dim(`  shows ${shows.map(visible).join(', ')}; Ctrl-C ends it`),
    ]);
    if (!signal.aborted) await once(signal, 'abort');
    await server.close();
    cli.serviceEnded(signal);
  }, 'closing');
}

function shownBy(
  dirs: readonly string[],
  given: Options,
): { readonly shows: readonly string[]; readonly start: () => Promise<KeyedServer> } {
  const { port = 0 } = flags.read(given) as { port?: number };
  const { from, ...limits } = fromFlags.read(given) as { from?: string };
  const { fleet, sets } = given;
  const named = [dirs[0], from, fleet].filter((name) => name !== undefined);
  if (named.length !== 1 || (sets !== undefined && fleet === undefined)) {
    const message =
      named.length === 1
        ? '`--sets` belongs to `--fleet`'
        : `${named.length === 0 ? 'nothing is named' : 'too much is named'} to be shown`;
    throw new StillpointError('INVALID_REQUEST', message, {
      hint: 'Name data directories, or a repository with `--from`, or a fleet with `--fleet`.',
    });
  }
  if (fleet !== undefined) {
    const setsDir = sets === undefined ? undefined : resolve(sets);
    return {
      shows: [fleet],
      start: () => startFleetConsole({ fleetFile: fleet, setsDir, port, environment }),
    };
  }
  if (from !== undefined) {
    const of = { ...limits, ...keyOf(given), from };
    return { shows: [from], start: () => startRepositoryConsole({ from: of, port, environment }) };
  }
  const dataDirs = dirs.map((dir) => resolve(dir));
  return { shows: dirs, start: () => startFolderConsole({ dataDirs, port, environment }) };
}
