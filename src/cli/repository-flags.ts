import type { Command } from 'commander';
import { fromOptions } from '../backup/list-backups.ts';
import type { BackupProgress } from '../backup/options.ts';
import { commandEnvironment } from './environment.ts';
import { Flags, type Given, mandatory } from './flags.ts';
import { addKeyFlags, keyOf } from './key-flags.ts';
import type { Progress } from './progress.ts';
import type { Style } from './style.ts';

/** What the commands share that read a repository. */

export const BACKUP = { '<backup>': '"latest" or the id of a backup' };

const fromFlags = new Flags(fromOptions.fields, ['from', 'store', 'limitDownload']);

export function addFrom(command: Command): Command {
  fromFlags.addTo(command, '', { from: mandatory });
  addKeyFlags(command);
  return command;
}

export function fromOf(given: Given) {
  const { from, ...store } = fromFlags.read(given);
  return { environment: commandEnvironment, from: from!, ...store, ...keyOf(given) };
}

export const shown =
  (progress: Progress) =>
  ({ phase, bytesProcessed, bytesTotal }: BackupProgress): void =>
    progress.show(phase, bytesProcessed, bytesTotal);

/** That no data directory knows of what was read: `status` will not tell. */
export const unrecordedLine = (dataDir: string | undefined, style: Style): string[] =>
  dataDir === undefined ? [style.dim('  not on record for `status`: that takes `--data-dir DIR`')] : [];
