import { InvalidArgumentError, Option } from 'commander';
import { ENGINE_NAMES } from '../engine/index.ts';
import { LEVELS } from '../engine/report.ts';

/** Options that several commands share. */

export const levelOption = (): Option =>
  new Option(
    '--level <level>',
    'how thoroughly: files (checksums), open (and tables and log), full (and every entry)',
  )
    .choices(LEVELS)
    .default('full');

export const engineOption = (): Option =>
  new Option('--engine <engine>', 'what wrote the files').choices(['auto', ...ENGINE_NAMES]).default('auto');

export const dataDirOption = (): Option =>
  new Option('--data-dir <dir>', 'the data directory whose snapshots are meant by "latest", a name or an id');

/** For `argParser`: a whole number above 0. */
export function positiveInteger(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a whole number above 0.');
}

/** What stands below the help of a command; a line without its own `stillpoint` gets it. */
export const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  $ ${line.includes('stillpoint ') ? line : `stillpoint ${line}`}`).join('\n')}`;
