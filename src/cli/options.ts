import { type Command, Option } from 'commander';
import type * as z from 'zod/mini';
import { backupCoordinatorOptions } from '../coordinator/backup.ts';
import { verifyOptions } from '../coordinator/snapshot-work.ts';
import { ENGINE_NAMES } from '../engine/index.ts';
import { restated } from '../options/option.ts';
import { oneOf } from '../options/values.ts';
import type { Cli } from './cli.ts';
import { commandEnvironment } from './environment.ts';
import { Flags } from './flags.ts';
import { nonEmpty } from './non-empty.ts';

/** Flags that several commands share and no function of the library takes. */

export const addDataDirFlag = (command: Command): Command =>
  command.addOption(
    new Option(
      '--data-dir <dir>',
      'the data directory whose snapshots are meant by "latest", a name or an id',
    ).argParser(nonEmpty),
  );

/** Tells that more threads than processors are of no use. */
export function noteConcurrency(cli: Cli, concurrency: number | undefined): void {
  const most = commandEnvironment.pool.concurrency;
  if (concurrency !== undefined && concurrency > most)
    cli.output.note(`--concurrency: ${most} at once, not ${concurrency}; more than processors is of no use`);
}

/** A command loads no engines of others. */
const engineFlagOf = (field: z.ZodMiniType) =>
  new Flags({ engine: restated(field, oneOf(['auto', ...ENGINE_NAMES])) }, ['engine']);

/** Of a command that takes a snapshot. */
export const engineFlag = engineFlagOf(backupCoordinatorOptions.fields.engine);
/** Of a command that proves a folder. */
export const proofEngineFlag = engineFlagOf(verifyOptions.fields.engine);
